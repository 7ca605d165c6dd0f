"""What a bench leaves behind: JSON for machines, Markdown for a README, and one HTML page for people who would rather look."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vreid.deploy.bench import Result, no_faster
from vreid.models.errors import Refused
from vreid.report.charts import COLOURS, Drawing, Line, axes_with, drawn
from vreid.report.page import pieces, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("bench.json", "bench.md", "bench.html")
COLUMNS = (
    "model",
    "engine",
    "params M",
    "MACs G",
    "FLOPs G",
    "file MB",
    "memory MB",
    "load ms",
    "mAP",
    "Rank-1",
    "cosine",
    "mJ/image",
    "batch",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "images/s",
    "% of peak",
)


def rows_of(result: Result) -> list[tuple[str, ...]]:
    """A row for each batch size, what holds for all of them in the first; a failed model has its reason in the second cell."""
    if result.error or result.cost is None:
        return [(f"❌ {Path(result.model).name}", result.error or "", *[""] * (len(COLUMNS) - 2))]
    about = (
        result.name or result.model,
        f"{result.backend} {result.precision}",
        f"{result.cost.params / 1e6:.2f}",
        f"{result.cost.macs / 1e9:.3f}",
        f"{result.cost.flops / 1e9:.3f}",
        f"{(result.file_bytes or 0) / 1e6:.1f}",
        f"{(result.memory_bytes or 0) / 1e6:.0f}",
        _digits(result.load_ms, 0),
        _digits(result.accuracy.map if result.accuracy else None, 2),
        _digits(result.accuracy.rank1 if result.accuracy else None, 2),
        _digits(result.cosine_mean, 4),
        _digits(result.energy_mj, 1),
    )
    rows = []
    for place, timing in enumerate(result.timings):
        times = (timing.p50_ms, timing.p90_ms, timing.p99_ms)
        rows.append(
            (
                *(about if place == 0 else ("",) * len(about)),
                str(timing.batch),
                *(f"{one:.2f}" for one in times),
                f"{timing.images_per_s:.1f}",
                _digits(None if timing.peak_share is None else 100 * timing.peak_share, 0),
            )
        )
    return rows


def document_of(results: Sequence[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """What --json prints and bench.json holds; `about` is the machine, threads and versions."""
    return {**about, "models": [_plain(result) for result in results], "warnings": no_faster(results)}


def markdown_of(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """The table, with what it was measured on."""
    lines = [f"Measured {_said(about)}.", "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [
        f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for result in results for row in rows_of(result)
    ]
    lines += ["", *(f"* {sentence}" for sentence in no_faster(results))]
    return "\n".join(lines).rstrip() + "\n"


def bench_page(results: Sequence[Result], about: Mapping[str, Any]) -> Iterator[str]:
    """The page, piece by piece: accuracy against latency, the distributions of latencies, the table.

    Raises Refused without matplotlib.
    """
    measured = [result for result in results if result.timings]
    drawings = [
        _against(measured),
        *(_distribution(measured, place) for place in range(len(measured[0].timings) if measured else 0)),
    ]
    return pieces(
        "bench.html.j2",
        measured=_said(about),
        drawings=[drawing for drawing in drawings if drawing is not None],
        warnings=no_faster(results),
        head=COLUMNS,
        rows=[row for result in results if not result.error for row in rows_of(result)],
        failed=[(Path(result.model).name, result.error) for result in results if result.error],
    )


def write_bench(results: Sequence[Result], about: Mapping[str, Any], out: Path) -> list[Path]:
    """bench.json, bench.md and bench.html in the folder `out`. Raises Refused where they cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"cannot make the folder {out} ({error.strerror}); choose another --out") from error
    text = json.dumps(document_of(results, about), indent=1) + "\n"
    document, table, page = (out / name for name in FILES)
    written = [write_page(document, text), write_page(table, markdown_of(results, about))]
    return [*written, write_page(page, bench_page(results, about))]  # which needs matplotlib


def _against(sound: Sequence[Result]) -> Drawing | None:
    """mAP over the p50 of the first batch size, a dot for each model; None where no accuracy is known."""
    dots = [
        Line(_label(result), [(result.timings[0].p50_ms, result.accuracy.map)], COLOURS[place % len(COLOURS)])
        for place, result in enumerate(sound)
        if result.accuracy is not None
    ]
    if not dots:
        return None

    def draw(figure: "Figure") -> None:
        axes = axes_with(figure, [], f"p50 of a batch of {sound[0].timings[0].batch}, ms", "mAP, %")
        for dot in dots:
            (x, y), *_ = dot.points
            axes.plot([x], [y], "o", color=dot.colour, markersize=6)
        axes.set_xlim(left=0)

    return drawn(Drawing("accuracy", "Accuracy against latency", "up and to the left is better", dots), draw)


def _distribution(sound: Sequence[Result], place: int) -> Drawing:
    """The share of batches that were done within a time."""
    lines = []
    for number, result in enumerate(sound):
        times = np.sort(result.timings[place].samples)
        shares = 100 * (np.arange(len(times)) + 1) / max(1, len(times))
        points = list(zip(times.tolist(), shares.tolist(), strict=True))
        lines.append(Line(_label(result), points, COLOURS[number % len(COLOURS)]))
    batch = sound[0].timings[place].batch
    note = "share of batches done within the time; a tail to the right is what p99 shows"
    return drawn(
        Drawing(f"latency-{batch}", f"Latency, batch {batch}", note, lines),
        lambda figure: axes_with(figure, lines, "ms", "%"),
    )


def _label(result: Result) -> str:
    return f"{result.name}, {result.backend} {result.precision}"


def _said(about: Mapping[str, Any]) -> str:
    machine, libraries = about["machine"], ", ".join(f"{name} {text}" for name, text in about["versions"].items())
    return f"on {machine['cpu']}, {about['threads']} threads of {machine['cores']} cores, {date.today()}; {libraries}"


def _plain(result: Result) -> dict[str, Any]:
    """Fields for JSON; params, MACs and FLOPs among the others."""
    cost = result.cost.model_dump() if result.cost else {"params": None, "macs": None, "flops": None}
    accuracy = result.accuracy.model_dump() if result.accuracy else None
    fields = {key: value for key, value in asdict(result).items() if key != "cost"}
    return {**fields, **cost, "accuracy": accuracy}


def _digits(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
