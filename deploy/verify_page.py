"""The page of a result: what was compared, every reason, and what the open-set threshold costs."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.deploy.precision import share_text
from vreid.deploy.threshold import OpenSet
from vreid.deploy.verify import Verification
from vreid.report.charts import COLOURS, Drawing, Line, axes_with, drawn
from vreid.report.page import pieces, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST = 1e-5  # of a rate, where the chart ends


def write_verify_page(result: Verification, path: Path) -> Path:
    """Write the page, complete or not at all. Raises Refused without matplotlib, and where it cannot be written."""
    return write_page(path, verify_page(result))


def verify_page(result: Verification) -> Iterator[str]:
    """The page, piece by piece. Raises Refused without matplotlib."""
    models = (
        (f"{result.reference} (reference)", result.before),
        (result.candidate, result.after),
    )
    return pieces(
        "verification.html.j2",
        result=result,
        found=_figures(result),
        retrieval=[
            [name, *(f"{value:.2f}" for value in (found.map, found.rank1, found.rank5, found.rank10, found.minp))]
            for name, found in models
        ],
        ways=[
            [way.name, way.pictures, way.moved, way.no_numbers, way.not_run, f"{way.distance:.2g}"]
            for way in result.ways
        ],
        curve=None if result.match is None else _curve(result.match),
    )


def _figures(result: Verification) -> list[tuple[str, str]]:
    found = [
        ("verification", "passed" if result.passed else "failed"),
        ("mAP", f"{result.after.map:.2f} %"),
        ("mAP lost", f"{result.before.map - result.after.map:.2f}"),
        ("same first answer", f"{100 * result.top1:.1f} %"),
    ]
    if result.agreement is not None:
        found.append(("mean cosine", f"{result.agreement.cosine_mean:.5f}"))
    if result.shares is not None:
        found.append(("MACs", share_text(result.shares)))
    if result.match is not None:
        found.append(("threshold", f"{result.match.threshold:.4f}"))
    return found


def _curve(found: OpenSet) -> Drawing:
    lines = [
        Line(f"strangers taken for one of {found.gallery:,}", [(t, max(rate, _LEAST)) for t, rate, _ in found.curve]),
        Line("known vehicles missed", [(t, max(missed, _LEAST)) for t, _, missed in found.curve], COLOURS[1]),
    ]
    chosen = Line(f"threshold {found.threshold:.4f}", [], COLOURS[2], dashed=True)

    def draw(figure: "Figure") -> None:
        axes = axes_with(figure, lines, across="threshold", up="share")
        axes.set_yscale("log")
        axes.set_ylim(_LEAST, 1.5)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.axvline(found.threshold, color=chosen.colour, linestyle=(0, (4, 2)))

    note = "Shares over the threshold; beyond what was seen, strangers follow a generalised Pareto tail."
    return drawn(Drawing("open-set", "Strangers taken in, known vehicles missed", note, [*lines, chosen]), draw)
