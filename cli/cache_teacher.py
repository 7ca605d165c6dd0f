"""`vreid cache-teacher`: embed every picture of a training set by a teacher, once, and keep the embeddings in a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import training_part
from vreid.models.errors import Refused, refuse_batch_size, refuse_threads


@dataclass(frozen=True)
class Args:
    """A teacher cache takes a teacher's place in `vreid train student --teacher`: the teacher may be a black box, or elsewhere."""

    model: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt, manifest .json next to its ONNX, or the name of a bundled model."""
    data: Path
    """Data set whose training part is embedded."""
    out: Path
    """The file to write, such as features.npz. What was embedded before a stop is not embedded again."""
    threads: int = 1
    """CPU threads."""
    device: str = "auto"
    """Where a checkpoint runs: auto, cpu or cuda."""
    batch: int = 64
    """Pictures at once."""
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    from vreid.deploy.model import open_model
    from vreid.train.teacher_cache import build_cache

    refuse_batch_size(args.batch)
    refuse_threads(args.threads)
    if args.out.suffix != ".npz":
        raise Refused(f"a teacher cache is called .npz, not {args.out.name}; choose such an --out")
    dataset = training_part(args.data)
    if not dataset.train:
        raise Refused(f"{args.data} has no training part to embed")
    model = open_model(args.model, args.threads, args.device)
    with output.counting("embedding") as count:
        found = build_cache(model.embed, model.fingerprint, dataset.train, args.out, args.batch, count)
    pictures, width = found.features.shape
    sentence = f"{args.out}: {pictures} pictures, {width} numbers each; {found.queries} queries to {args.model}"
    numbers = {"pictures": pictures, "dim": width, "queries": found.queries}
    return output.outcome(args.json, sentence, {"out": str(args.out), **numbers, "backend": model.backend})
