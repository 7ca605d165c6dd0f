"""The gate: a lowered model must retrieve as well as what it was lowered from, on pictures, through the runtime's own code.

Tensor differences say little about retrieval: a network that reads BGR for RGB finds other vehicles. So both models embed the
same crops, mAP and Rank-1 are measured of both, and a loss past the bound fails. Everything that is wrong is reported: every
reason, not only the first.

The least mean cosine goes by the precision that the manifest claims. It is there for what retrieval on small data does not
notice. Measured with vreid-s on 324 pictures of 16 training vehicles that it never saw (bench/planted_faults.py,
docs/verify.md): sound float32 1.00000, float16 0.99997, INT8 of `vreid quantize` 0.9968. Faults in float32 that retrieval hardly
notices lie under 0.997 (a dimension of the embedding lost; another resize has 0.987). INT8 of every layer has 0.975, of noise
0.975 and of black pictures 0.905. Two pictures of different vehicles have 0.40 in the mean there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vreid.deploy.compare import (
    Agreement,
    BatchRun,
    accuracy_from,
    agreement,
    batch_runs,
    failure_reasons,
    moved_reasons,
    nearest_vehicles,
    number_faults,
    spread_places,
    unit_rows,
)
from vreid.deploy.model import Model, open_lowered, open_model
from vreid.deploy.precision import Shares, claims, share_text, shares_in
from vreid.deploy.settings import Bounds
from vreid.deploy.threshold import FEWEST, OpenSet, calibrated, scores_of, tracks_of
from vreid.models.errors import Refused
from vreid.models.manifest import Manifest, Match, read_manifest, read_model, write_manifest
from vreid.models.picture import read_picture
from vreid.models.preprocess import Floats
from vreid.report.charts import COLOURS, Drawing, Line, axes_with, drawn
from vreid.report.page import pieces, write_page
from vreid.train.data.records import Dataset
from vreid.train.evaluate import Embedded, Retrieval, measured, one_of_each, parts_of, pictures_of, retrieval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAST_COSINES = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.985}
RATE = 0.01  # of strangers that may pass
MANY = 0.5  # of the known vehicles missed: a threshold that nobody would want by default
BATCH = 32  # pictures in memory at once


@dataclass(frozen=True)
class Verification:
    """`reasons` is empty when it passed. `top1` is the share of queries for which both models name the same vehicle: that of
    the best gallery picture under the data's protocol, right or wrong. `cross_map` is the mAP of queries by the candidate in
    a gallery by the reference, as where a site changes its model and keeps its gallery. `agreement` and `cross_map` are None
    where the dimensions differ, `match` where the numbers are of no use, `shares` (of the MACs in each precision) for an
    engine that was built. `ways` are the batch sizes and orders that were tried."""

    candidate: str
    sha256: str
    reference: str
    precision: str
    data: str
    pictures: int
    reasons: tuple[str, ...]
    agreement: Agreement | None
    top1: float
    before: Retrieval
    after: Retrieval
    min_cosine: float
    match: OpenSet | None
    cross_map: float | None
    shares: Shares | None
    ways: tuple[BatchRun, ...]
    match_is_of_use: bool  # it was requested, or misses less than half of the known vehicles

    @property
    def passed(self) -> bool:
        """Whether there is no reason against it."""
        return not self.reasons


def verify(
    path: Path,
    against: str,
    data: Dataset,
    bounds: Bounds,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verification:
    """The candidate whose manifest is at `path` against a checkpoint, a manifest or a bundled model, on the test part of `data`.

    Every picture is read once for both. Raises Refused for what cannot be compared: a model that does not load, data
    without a query that can be found, a reference that gives NaN or infinity.
    """
    _refuse_bounds(bounds, data)
    failures: dict[int, str] = {}
    candidate = open_lowered(path, threads, finite=False, failures=failures)
    reference = open_model(against, threads, finite=False)
    about = candidate.manifest
    paths = pictures_of(data)
    after_raw, before_raw = _both(candidate, reference, paths, progress)
    if not np.isfinite(before_raw).all():
        raise Refused(f"the reference {reference.name} gives NaN or infinity; verify against a sound one")
    before, after = (parts_of(data, unit_rows(raw)) for raw in (before_raw, after_raw))
    scores = measured(data, *before), measured(data, *after)
    least = LEAST_COSINES[about.precision] if bounds.min_cosine is None else bounds.min_cosine
    same = agreement(after_raw, before_raw) if after_raw.shape == before_raw.shape else None
    computed = ~np.isposinf(after_raw).all(1)  # rows of infinity are of a batch that did not run (deploy/compare.py)
    wrong = number_faults(after_raw[computed], before_raw[computed])
    places = spread_places(len(paths), about)
    near = unit_rows(before_raw[places]) if same is not None else None
    ways = batch_runs(candidate.embed, [read_picture(paths[place]) for place in places], about, near)
    engine = read_model(path)[1]
    shares = shares_in(engine.data, engine.path) if engine.path.suffix == ".onnx" else None
    reasons = [*_identity(candidate, reference), *claims(about.precision, shares), *wrong, *moved_reasons(ways)]
    reasons += failure_reasons(failures, about)
    reasons += _nearness(same, least, about) + _loss(*scores, bounds.max_map_loss)
    match = None if wrong or failures else _open_set(data, after, bounds)
    return Verification(
        candidate=about.name,
        sha256=about.sha256,
        reference=reference.name,
        precision=about.precision,
        data=data.name,
        pictures=len(after_raw),
        reasons=tuple(reasons),
        agreement=same,
        top1=_top1(data, before, after),
        before=scores[0],
        after=scores[1],
        min_cosine=least,
        match=match,
        cross_map=_cross(data, before, after) if same is not None else None,
        shares=shares,
        ways=tuple(ways),
        match_is_of_use=match is not None and (bounds.false_match_rate is not None or match.miss_rate <= MANY),
    )


def record(path: Path, result: Verification) -> Manifest:
    """Write accuracy and threshold of a result that passed into the manifest at `path`; the engine stays as it is, and so
    does the threshold that is there if the new one is of no use.

    Raises Refused for a result that failed, and where the engine is no longer the one that was verified.
    """
    manifest = read_manifest(path)
    if not result.passed or result.match is None or manifest.sha256 != result.sha256:
        raise Refused(f"the engine of {path} is not one that has passed; verify it again")
    open_set, accuracy = result.match, accuracy_from(result.data, result.after)
    match = Match(threshold=open_set.threshold, false_match_rate=open_set.false_match_rate, gallery=open_set.gallery)
    update = {"accuracy": accuracy, "match": match if result.match_is_of_use else manifest.match}
    manifest = manifest.model_copy(update=update)
    write_manifest(manifest, path)
    return manifest


def _both(
    candidate: Model, reference: Model, paths: list[Path], progress: Callable[[int, int], None]
) -> tuple[Floats, Floats]:
    """Embeddings of all pictures, as the two models gave them."""
    after, before = [], []
    for start in range(0, len(paths), BATCH):
        images = [read_picture(path) for path in paths[start : start + BATCH]]
        after.append(candidate.embed(images))
        before.append(reference.embed(images))
        progress(start + len(images), len(paths))
    return np.concatenate(after), np.concatenate(before)


def _refuse_bounds(bounds: Bounds, data: Dataset) -> None:
    """Before minutes are spent."""
    if not bounds.max_map_loss >= 0:
        raise Refused(f"--max-map-loss is in points of mAP from 0, not {bounds.max_map_loss}")
    if bounds.min_cosine is not None and not -1 <= bounds.min_cosine <= 1:
        raise Refused(f"--min-cosine is from -1 to 1, not {bounds.min_cosine}")
    if bounds.false_match_rate is not None and not 0 < bounds.false_match_rate < 1:
        raise Refused(f"--false-match-rate is between 0 and 1, such as 0.01, not {bounds.false_match_rate}")
    if bounds.gallery_size is not None and bounds.gallery_size < 1:
        raise Refused(f"--gallery-size is a number of vehicles from 1, not {bounds.gallery_size}")
    if len(data.query) < FEWEST:
        raise Refused(
            f"a threshold needs {FEWEST} queries, and '{data.name}' has {len(data.query)}; give more pictures"
        )


def _identity(candidate: Model, reference: Model) -> list[str]:
    if candidate.fingerprint == reference.fingerprint:
        return []
    return [
        f"{candidate.name} is an engine of another checkpoint (its fingerprint is {candidate.fingerprint}, that of "
        f"{reference.name} is {reference.fingerprint}): galleries of the one are of no use to the other; lower "
        f"{reference.name} again, or verify against the checkpoint that it was made from"
    ]


def _nearness(same: Agreement | None, least: float, about: Manifest) -> list[str]:
    if same is None:
        return [
            f"the embeddings have {about.output.dim} numbers and the reference's another length, so this is another "
            "network; lower the reference's own checkpoint"
        ]
    if same.cosine_mean >= least:
        return []
    return [
        f"the mean cosine to the reference is {same.cosine_mean:.5f} and must be {least:g} in {about.precision}: the two "
        "do not compute the same; look at colour order, mean and std, the resize, damaged weights, or the pictures that "
        "INT8 was calibrated on"
    ]


def _loss(before: Retrieval, after: Retrieval, most: float) -> list[str]:
    lost = before.map - after.map
    if lost <= most:
        return []
    return [
        f"{lost:.2f} points of mAP are lost ({before.map:.2f} to {after.map:.2f}) and {most:g} may be: it finds fewer vehicles "
        "again than its reference; keep sensitive layers in float, calibrate on pictures like these, or allow more"
    ]


def _open_set(data: Dataset, after: tuple[Embedded, Embedded], bounds: Bounds) -> OpenSet:
    """Of tracks, as a run compares them: the mean of a vehicle's pictures in one camera. Under "one_of_each", which knows no
    cameras, of the pictures of its first draw, which are thousands."""
    if data.protocol == "cameras":
        query, gallery = (tracks_of(part) for part in after)
        scores = scores_of(query, gallery)
    else:
        scores = scores_of(*next(one_of_each(after[1])), camera_rule=False)
    return calibrated(scores, bounds.false_match_rate or RATE, bounds.gallery_size)


def _top1(data: Dataset, before: tuple[Embedded, Embedded], after: tuple[Embedded, Embedded]) -> float:
    """Under "one_of_each" the mean over its draws, which are the same for both models."""
    if data.protocol == "cameras":
        return float((nearest_vehicles(*before) == nearest_vehicles(*after)).mean())
    draws = zip(one_of_each(before[1]), one_of_each(after[1]), strict=True)
    return float(
        np.mean([(nearest_vehicles(*one, False) == nearest_vehicles(*other, False)).mean() for one, other in draws])
    )


def _cross(data: Dataset, before: tuple[Embedded, Embedded], after: tuple[Embedded, Embedded]) -> float:
    """mAP in percent; under "one_of_each" the mean over its draws, which are the same for both models."""
    if data.protocol == "cameras":
        return retrieval(after[0], before[1]).map
    draws = zip(one_of_each(after[1]), one_of_each(before[1]), strict=True)
    return float(np.mean([retrieval(new[0], old[1], camera_rule=False).map for new, old in draws]))


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
        ("same first vehicle", f"{100 * result.top1:.1f} %"),
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
