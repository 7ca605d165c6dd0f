"""`vreid bench`: latency, throughput, memory, params, MACs and FLOPs of several models in one table."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output

if TYPE_CHECKING:
    from vreid.deploy.bench import Result

COLUMNS = (
    "model",
    "backend",
    "params M",
    "MACs G",
    "FLOPs G",
    "file MB",
    "memory MB",
    "mAP %",
    "batch",
    "min ms",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "p90/p50",
    "images/s",
)


@dataclass(frozen=True)
class Args:
    """One table of models, timed by turns; exit code 1 when one of them fails. FLOPs = 2 x MACs of one image."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Checkpoints .pt, manifests .json, or names of bundled models."""
    threads: int = 1
    """CPU threads of each model."""
    batches: tuple[int, ...] = (1, 8)
    """Batch sizes."""
    rounds: int = 10
    """Turns of each model; a turn is up to 10 batches of each size, a second at most."""
    json: bool = False
    """Print one JSON document on stdout instead of the table."""


def main(args: Args) -> int:
    """Measure and say; 0 when every model ran, else 1."""
    from vreid.deploy.bench import bench, machine

    with output.progress() as bar:
        task = bar.add_task("bench", total=len(set(args.models)) * (args.rounds + 1))

        def told(text: str) -> None:
            bar.update(task, description=text, advance=1)

        results = bench(args.models, args.threads, args.batches, args.rounds, told=told)
    here = machine()
    failed = [result for result in results if result.error]
    if args.json:
        output.document({"machine": here, "threads": args.threads, "models": [_plain(result) for result in results]})
        return 1 if failed else 0
    title = f"{here['cpu']}, {here['cores']} cores, Python {here['python']}; threads {args.threads}"
    output.table(title, COLUMNS, [row for result in results for row in _rows(result)])
    for result in failed:
        output.error(f"{result.model}: {result.error}")
    return 1 if failed else 0


def _rows(result: "Result") -> list[tuple[str, ...]]:
    """A row for each batch size, what holds for all of them in the first; ❌ for a model that failed."""
    if result.error or result.cost is None:
        return [(f"❌ {Path(result.model).name}", *[""] * (len(COLUMNS) - 1))]
    about = (
        result.name or result.model,
        f"{result.backend} {result.precision}",
        f"{result.cost.params / 1e6:.2f}",
        f"{result.cost.macs / 1e9:.3f}",
        f"{result.cost.flops / 1e9:.3f}",
        f"{(result.file_bytes or 0) / 1e6:.1f}",
        f"{(result.memory_bytes or 0) / 1e6:.0f}",
        f"{result.accuracy.map:.2f}" if result.accuracy else "-",
    )
    rows = []
    for place, timing in enumerate(result.timings):
        times = (timing.min_ms, timing.p50_ms, timing.p90_ms, timing.p99_ms, timing.spread, timing.images_per_s)
        rows.append((*(about if place == 0 else ("",) * len(about)), str(timing.batch), *(f"{x:.2f}" for x in times)))
    return rows


def _plain(result: "Result") -> dict[str, object]:
    """Fields for JSON; params, MACs and FLOPs beside the others."""
    cost = result.cost.model_dump() if result.cost else {"params": None, "macs": None, "flops": None}
    accuracy = result.accuracy.model_dump() if result.accuracy else None
    fields = {key: value for key, value in asdict(result).items() if key != "cost"}
    return {**fields, **cost, "accuracy": accuracy}
