"""The page of a verdict: what was compared, every reason, and what the open-set threshold costs; no script, nothing fetched."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.deploy.precision import share_text
from vreid.deploy.threshold import OpenSet
from vreid.deploy.verify import Verdict
from vreid.report.charts import COLOURS, Drawing, Line, axes_with, drawn
from vreid.train.report import figure_of, page_of, table_of, tiles_of, write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEAST = 1e-5  # of a rate, where the drawing ends


def write_proof(verdict: Verdict, path: Path) -> Path:
    """Write the page, whole or not at all. Raises Refused without matplotlib, and where it cannot be written."""
    return write_page(path, proof_of(verdict))


def proof_of(verdict: Verdict) -> str:
    """The page as HTML."""
    said = "passed" if verdict.passed else "failed"
    against = f"against {verdict.reference}, on {verdict.pictures:,} pictures of {verdict.data}"
    body = [f'<p class="soft">{escape(f"{said} {against}")}</p>', tiles_of(_figures(verdict))]
    if verdict.reasons:
        body.append("<h2>Why it failed</h2>")
        body += [f'<p class="panel">{escape(reason)}</p>' for reason in verdict.reasons]
    body += ["<h2>Retrieval</h2>", table_of(("", "mAP", "Rank-1", "Rank-5", "Rank-10", "mINP"), _retrieval(verdict))]
    if verdict.cross_map is not None:
        said = f"Queries by the candidate in a gallery by the reference: {verdict.cross_map:.2f} mAP."
        body.append(f'<p class="panel">{said}</p>')
    ways = [
        [way.name, str(way.pictures), str(way.moved), str(way.no_numbers), str(way.not_run), f"{way.distance:.2g}"]
        for way in verdict.ways
    ]
    columns = ("", "pictures", "moved", "no numbers", "not run", "largest distance")
    body += ["<h2>The same pictures at other batches</h2>", table_of(columns, ways)]
    if verdict.agreement is not None:
        near = verdict.agreement
        row = [f"{near.cosine_min:.5f}", f"{near.cosine_p1:.5f}", f"{near.cosine_mean:.5f}", f"{near.error_max:.5f}"]
        head = ("", "least", "1st percentile", "mean", "largest error of a number")
        body += ["<h2>Cosine to the reference</h2>", table_of(head, [["", *row]])]
    if verdict.match is not None:
        body += ["<h2>Known or unknown</h2>", table_of(("", "value"), _open_set(verdict.match))]
        body += ["<h2>The threshold's curve</h2>", figure_of(_drawing(verdict.match))]
    return page_of(verdict.candidate, f"{said} by vreid verify", "\n".join(body))


def _figures(verdict: Verdict) -> list[tuple[str, str]]:
    found = [
        ("verdict", "passed" if verdict.passed else "failed"),
        ("mAP", f"{verdict.after.map:.2f} %"),
        ("mAP lost", f"{verdict.before.map - verdict.after.map:.2f}"),
        ("same first answer", f"{100 * verdict.top1:.1f} %"),
    ]
    if verdict.agreement is not None:
        found.append(("mean cosine", f"{verdict.agreement.cosine_mean:.5f}"))
    if verdict.shares is not None:
        found.append(("MACs", share_text(verdict.shares)))
    if verdict.match is not None:
        found.append(("threshold", f"{verdict.match.threshold:.4f}"))
    return found


def _retrieval(verdict: Verdict) -> Iterable[list[str]]:
    for name, side in ((f"{verdict.reference} (reference)", verdict.before), (verdict.candidate, verdict.after)):
        yield [name, *(f"{value:.2f}" for value in (side.map, side.rank1, side.rank5, side.rank10, side.minp))]


def _open_set(found: OpenSet) -> list[list[str]]:
    return [
        ["strangers taken for a known vehicle, at most", f"{100 * found.false_match_rate:.4g} %"],
        ["in a gallery of", f"{found.gallery:,} vehicles"],
        ["threshold that is enough in 95 of 100 draws of the data's vehicles", f"{found.threshold:.4f}"],
        ["best estimate of it", f"{found.estimate:.4f}"],
        ["known vehicles missed at the threshold", f"{100 * found.miss_rate:.1f} %"],
        ["measured with", f"{found.queries:,} queries of a gallery of {found.vehicles:,} vehicles"],
    ]


def _drawing(found: OpenSet) -> Drawing:
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
