"""`vreid demo`: three synthetic cameras, one gallery, one report; no download, no GPU, no torch."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Args:
    """Re-identify the vehicles of a synthetic scene over three cameras and score the result against the scene itself."""

    out: Path = Path("runs/demo")
    """Folder for the report."""
    model: str = "vreid-s"
    """Manifest .json, or the name of a bundled model."""
    seed: int = 7
    """Of the scene."""
    cameras: int = 3
    """How many cameras stand along the road."""
    seconds: float = 20.0
    """How long the scene lasts, at 10 frames a second."""
    vehicles: int = 12
    """How many drive in it."""
    detector: str = "motion"
    """motion, or model:FILE."""
    annotate: bool = False
    """Also write the videos with boxes and ids."""
    json: bool = False
    """Print report.json's content on stdout."""


def main(args: Args) -> int:
    """Run the demo with a gallery of its own and say where the report lies."""
    from vreid.cli.run import done
    from vreid.models.errors import Refused, refuse_beyond, refuse_seed
    from vreid.runtime.public_models import models_folder, with_public_model
    from vreid.runtime.session import Session, site_of

    if args.cameras < 1:
        raise Refused(f"a demo needs at least 1 of the --cameras, not {args.cameras}")
    refuse_beyond(1000, cameras=args.cameras)
    refuse_seed(args.seed)
    scene = f"seed={args.seed}&cameras={args.cameras}&seconds={args.seconds}&vehicles={args.vehicles}"
    session = Session(
        sources=[f"synth://city?camera={number + 1}&{scene}" for number in range(args.cameras)],
        model=args.model,
        detector=with_public_model(args.detector, models_folder(os.environ)),
        out=args.out,
        enrol_unknown=True,
        annotate=args.annotate,
    )
    return done(site_of(session), args.json)
