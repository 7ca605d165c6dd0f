"""`vreid eval`: retrieval accuracy of a checkpoint or a manifest."""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import test_part, warn_if_learnt
from vreid.models.errors import refuse_batch_size, refuse_threads


@dataclass(frozen=True)
class Args:
    """mAP, Rank-1/5/10 and mINP: image to image, same vehicle in the same camera left out, no re-ranking."""

    model: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt, manifest .json, the name of a bundled model, or the baseline hsv."""
    data: Path
    """A folder in a layout of docs/data.md, or a CSV file; a test part alone is enough. Of train.csv and test.csv, test.csv."""
    threads: int = 1
    """CPU threads."""
    device: str = "auto"
    """Where a checkpoint runs: auto, cpu or cuda."""
    batch: int = 32
    """Pictures at once."""
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    """Evaluate and print the figures."""
    from vreid.deploy.model import open_model
    from vreid.train.evaluate import evaluate, pictures_of

    refuse_batch_size(args.batch)
    refuse_threads(args.threads)
    dataset = test_part(args.data)
    pictures_of(dataset)  # refused before a model is opened
    model = open_model(args.model, args.threads, args.device)
    began = time.monotonic()
    with output.progress() as bar:
        task = bar.add_task("embedding")
        found = evaluate(
            dataset,
            model.embed,
            batch=args.batch,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    figures = asdict(found)
    trained = warn_if_learnt(args.model, model.trained, dataset)
    if args.json:
        output.document(
            {
                **figures,
                "trained_on": trained,
                "model": args.model,
                "backend": model.backend,
                "seconds": round(time.monotonic() - began, 2),
            }
        )
        return 0
    columns = ("data", "mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "queries", "gallery", "skipped")
    output.table(f"{args.model} ({model.backend})", columns, [(dataset.name, *figures.values())])
    return 0
