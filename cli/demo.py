"""`vreid demo`: three synthetic cameras, one gallery, one report; no download, no GPU, no torch."""

import threading
from dataclasses import dataclass
from pathlib import Path

from vreid.cli import output


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
    detector: str = "motion"
    """motion, or yolox:FILE."""
    annotate: bool = False
    """Also write the videos with boxes and ids."""
    json: bool = False
    """Print report.json's content on stdout."""


def main(args: Args) -> int:
    """Run the demo with a gallery of its own and say where the report lies."""
    from vreid.cli.run import tell
    from vreid.models.bundled import manifest_path
    from vreid.runtime.session import Session, run_session

    session = Session(
        sources=[f"synth://city?camera={number + 1}&seed={args.seed}" for number in range(args.cameras)],
        model=manifest_path(args.model),
        detector=args.detector,
        out=args.out,
        enrol_unknown=True,
        annotate=args.annotate,
    )
    with output.progress() as bar:
        task = bar.add_task("frames", total=None)
        summary = run_session(session, threading.Event(), lambda frames: bar.update(task, completed=frames))
    if args.json:
        output.document(summary)
    else:
        tell(summary, args.out)
    return 0
