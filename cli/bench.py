"""`vreid bench`: latency, throughput, memory, energy, cost and accuracy of several models in one table."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import refuse_read, test_part, warn_if_checkpoint_learnt
from vreid.deploy.settings import Turns
from vreid.models.errors import refuse_batch_size, refuse_beyond, refuse_threads

# what a terminal has no room for
LONG = ("params M", "FLOPs G", "Rank-1")


@dataclass(frozen=True)
class Args:
    """One table of models, timed by turns; exit code 1 when one of them fails. FLOPs = 2 x MACs of one image."""

    models: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Checkpoints .pt, manifests .json, or names of bundled models."""
    data: Path | None = None
    """Measure mAP, Rank-1 and the cosine to the first model on this data set's test part."""
    out: Path | None = None
    """Folder for bench.json, bench.md and bench.html (accuracy against latency, distributions of latencies)."""
    turns: tyro.conf.OmitArgPrefixes[Turns] = field(default_factory=Turns)
    json: bool = False
    """Print one JSON document on stdout instead of the table."""


def main(args: Args) -> int:
    """Measure and say; 0 when every model ran, else 1."""
    from vreid.deploy.bench import bench, no_faster
    from vreid.deploy.bench_page import COLUMNS, FILES, document_of, rows_of, write_bench
    from vreid.deploy.device import machine, versions

    refuse_threads(args.turns.threads)
    refuse_beyond(rounds=args.turns.rounds)
    for batch in args.turns.batches:
        refuse_batch_size(batch)
    data = None if args.data is None else test_part(args.data)
    if args.out is not None:
        for name in FILES:
            refuse_read(args.out / name, args.models, data, *([] if args.data is None else [args.data]))
    with output.progress() as bar:
        task = bar.add_task("bench", total=None)

        def report(text: str, done: int, total: int) -> None:
            bar.update(task, description=text, completed=done, total=total)

        results = bench(args.models, args.turns, data=data, report=report)
    for result in results:
        if data is not None and result.error is None:
            warn_if_checkpoint_learnt(result.model, data)
    here = machine()
    about = {"machine": here, "versions": versions(), "threads": args.turns.threads}
    written = [] if args.out is None else write_bench(results, about, args.out)
    failed = [result for result in results if result.error]
    if args.json:
        output.document(document_of(results, about))
        return 1 if failed else 0
    title = f"{here['cpu']}, {here['cores']} cores, Python {here['python']}; threads {args.turns.threads}"
    places = [place for place, column in enumerate(COLUMNS) if column not in LONG]
    rows = [[row[place] for place in places] for result in results if not result.error for row in rows_of(result)]
    rows += [[f"❌ {Path(result.model).name}", *[""] * (len(places) - 1)] for result in failed]
    filled = [place for place in range(len(places)) if place < 2 or any(row[place] not in ("", "-") for row in rows)]
    output.table(
        title, [COLUMNS[places[place]] for place in filled], [[row[place] for place in filled] for row in rows]
    )
    for result in failed:
        output.error(f"{result.model}: {result.error}")
    for sentence in no_faster(results):
        output.result(sentence)
    for path in written:
        output.result(f"wrote {path}")
    return 1 if failed else 0
