"""Find a vehicle by a picture or a feature, or compare two, with the answer of a run: known, doubtful, unknown, and how sure that
is."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import BadInput
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.gallery.records import EVERYTHING, About, Compare, Filter, VehicleScores, plain
from vreid.runtime.gallery.store import refuse_other_model
from vreid.runtime.records import Floats, Ints
from vreid.runtime.scoring import DOUBTFUL
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.threshold import FixedThreshold, Level, Threshold
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.turns import Turns

Answer = Literal["known", "doubtful", "unknown"]
_DECODED = 2  # pictures at a time that were uploaded: one of them takes 120 MB
_WIDER = 4  # how many times as many vehicles are read when those were too few
_WARMING, _TIMED = 2, 12  # pictures by which the latency is measured
NO_CAMERA = ""  # of an uploaded picture: thresholds of pairs of cameras do not hold for it


@dataclass(frozen=True)
class FoundVehicle:
    """One vehicle like the picture: the best cosine, the least that is enough against the view that it is best in, and the share of
    new vehicles that score as high, as far as this site has shown (None: not yet)."""

    vehicle: int
    name: str
    score: float
    threshold: float
    view: str
    rate: float | None
    answer: Answer


@dataclass(frozen=True)
class Found:
    """What a search has come to, the best first; `level` is what counted for the best, or for nobody in particular."""

    answer: Answer
    level: Level
    vehicles: list[FoundVehicle]


@dataclass(frozen=True)
class Likeness:
    """The best score between two vehicles: `views` are the cameras of the two features, `threshold` is the least between those,
    which comes from `origin` and rests on so many pairs of strangers."""

    score: float
    threshold: float
    views: tuple[str, str]
    origin: str
    pairs: int
    answer: Answer


class Searcher:
    """Searches of one gallery, from any thread."""

    def __init__(
        self, access: GalleryAccess, embedder: Embedder, false_match_rate: float, fixed: float | None = None
    ) -> None:
        """`fixed`: one threshold for all; None: that of the site. Raises WrongModel for a model that is not the gallery's."""
        self._access, self.embedder = access, embedder
        self.false_match_rate, self._fixed = false_match_rate, fixed
        self._engine = threading.Lock()
        self.decoding = Turns("pictures", _DECODED)  # that were uploaded, and may be large
        self.detecting = threading.Lock()
        self._rule: tuple[str | None, Threshold] | None = None
        self._latency: tuple[int, tuple[float, float]] | None = None

    def feature_of(self, picture: Image) -> Floats:
        """(D,) of a crop (H, W, 3)."""
        with self._engine:
            feature: Floats = self.embedder.embed([picture])[0]
        return feature

    def latency(self) -> tuple[float, float]:
        """p50 and p90 in milliseconds of one picture through the embedder, its resize included, as it is on this machine now;
        measured once a minute at most."""
        minute = int(time.monotonic() / 60)
        if self._latency is None or self._latency[0] != minute:
            size = self.embedder.manifest.input
            picture = np.zeros((size.height, size.width, 3), np.uint8)
            times = []
            for _ in range(_WARMING + _TIMED):
                began = time.perf_counter()
                self.feature_of(picture)
                times.append(1000 * (time.perf_counter() - began))
            p50, p90 = np.percentile(times[_WARMING:], (50, 90)).tolist()
            self._latency = minute, (p50, p90)
        return self._latency[1]

    def level(self, camera: str, view: str) -> Level:
        """What counts now between a camera and a view of a vehicle."""
        return self._rule_now().level(camera, view, self._compared())

    def summary(self) -> dict[str, Any]:
        """What the threshold says of itself, for a report."""
        return self._rule_now().summary(self._compared())

    def _compared(self) -> float:
        """With how many vehicles a picture is compared."""
        return float(self._access.searching.size()[0])

    def _rule_now(self) -> Threshold:
        """The threshold as the gallery has it now."""
        if self._fixed is not None:
            return FixedThreshold(self._fixed)
        text = self._access.searching.site_threshold()
        if self._rule is None or self._rule[0] != text:
            match, dim = self.embedder.match, self._access.about.dim
            self._rule = text, SiteThreshold(match, self.false_match_rate, kept=text, dim=dim)
        return self._rule[1]

    def search(
        self,
        feature: Floats,
        camera: str = NO_CAMERA,
        k: int = 10,
        only: Filter = EVERYTHING,
        views: tuple[str, ...] = (),
    ) -> Found:
        """The `k` vehicles most like a feature (D,) that a camera gave, by their features of `views` (empty: all).

        Raises BadInput for a feature that is none.
        """
        if not np.isfinite(feature).all() or not float(np.linalg.norm(feature)) > 0:
            raise BadInput("a feature has NaN, is infinite, or is all zeros; send what the model gave")
        rule, compared = self._rule_now(), self._compared()
        row = (feature / np.linalg.norm(feature)).astype(np.float32)[None]
        names = self._nearest(row, max(k, 2), only, views)
        if not names:
            return Found("unknown", rule.level(camera, camera, compared), [])
        vehicles = list(names)
        exact, near = self._scores(_by(rule, [camera], compared), row, vehicles, views)
        margins, cosines, best_views = exact.margins[0], exact.cosines[0], exact.views[0]
        passed = int((margins >= 0).sum())
        found = []
        for place in np.argsort(-margins, kind="stable")[:k].tolist():
            score, view = float(cosines[place]), str(best_views[place])
            answer: Answer = "unknown"
            if margins[place] >= 0:
                answer = "known" if passed == 1 else "doubtful"
            elif near[0, place]:
                answer = "doubtful"
            rate = rule.rate_of(camera, view, score, compared)
            vehicle = vehicles[place]
            found.append(
                FoundVehicle(vehicle, names[vehicle], score, score - float(margins[place]), view, rate, answer)
            )
        level = rule.level(camera, found[0].view, compared)._replace(threshold=found[0].threshold)
        return Found(found[0].answer, level, found)

    def between(self, one: int, other: int, views: tuple[str, ...] = ()) -> Likeness | None:
        """How alike two vehicles are: the features of `one` against those of `other`, both of `views` (empty: all), by the rule of
        a search; None where one of them has no such feature."""
        gallery, rule, compared = self._access.searching, self._rule_now(), self._compared()
        own, others = (
            [each for each in gallery.prototypes(vehicle) if not views or each.view in views]
            for vehicle in (one, other)
        )
        if not own or not others:
            return None
        rows, cameras = np.stack([each.feature for each in own]), [each.view for each in own]
        exact, near = self._scores(_by(rule, cameras, compared), rows, [other], views)
        best = int(np.argmax(exact.margins[:, 0]))
        score, over, view = float(exact.cosines[best, 0]), float(exact.margins[best, 0]), str(exact.views[best, 0])
        answer: Answer = "known" if over >= 0 else "doubtful" if near.any() else "unknown"
        level = rule.level(cameras[best], view, compared)
        return Likeness(score, score - over, (cameras[best], view), level.origin, level.pairs, answer)

    def _scores(
        self, by: Callable[[float], Compare], rows: Floats, vehicles: Sequence[int], views: tuple[str, ...]
    ) -> tuple[VehicleScores, NDArray[np.bool_]]:
        """Features (B, D) against each of V vehicles, by their features of `views`; and which (B, V) pass, or nearly do."""
        gallery = self._access.searching
        exact, wide = (gallery.scores(rows, vehicles, within(views, by(times))) for times in (1.0, DOUBTFUL))
        return exact, wide.margins >= 0

    def _nearest(self, row: Floats, k: int, only: Filter, views: tuple[str, ...]) -> dict[int, str]:
        """The names of the `k` vehicles with the best cosines to (1, D), by their features of `views`.

        The index has all features, so what it finds is an upper bound, and more is read until nobody further down can be better.
        """
        gallery, reach = self._access.searching, k
        while True:
            hits = gallery.search(row, reach, only=only)[0]
            if not views or not hits:
                return {hit.vehicle: hit.name for hit in hits}
            found = gallery.scores(row, [hit.vehicle for hit in hits], within(views, plain))
            cosines, has_one = found.cosines[0], np.isfinite(found.margins[0])
            best = [place for place in np.argsort(-cosines, kind="stable")[:k].tolist() if has_one[place]]
            if len(hits) < reach or (len(best) == k and cosines[best[-1]] >= hits[-1].score):
                return {hits[place].vehicle: hits[place].name for place in best}
            reach *= _WIDER


def _by(rule: Threshold, cameras: Sequence[str], compared: float) -> Callable[[float], Compare]:
    """Weight -> the rule with that weight for tracks of these cameras, each compared with that many vehicles."""

    def of_weight(times: float) -> Compare:
        return lambda rows, others, views, owners: rule.compare(
            rows, cameras, others, views, compared, np.full((len(rows), len(others)), times)
        )

    return of_weight


def within(views: tuple[str, ...], compare: Compare) -> Compare:
    """`compare`, in which features of other views than these pass nothing; empty: `compare` itself."""

    def of_views(
        rows: Floats, others: Floats, names: Sequence[str], owners: Ints
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cosines, least = compare(rows, others, names, owners)
        return cosines, np.where([name in views for name in names], least, np.inf)

    return of_views if views else compare


def open_searcher(access: GalleryAccess, embedder: Embedder, **rules: Any) -> Searcher:
    """Raises WrongModel for a model that the gallery was not made with."""
    manifest = embedder.manifest
    wanted = About(manifest.fingerprint, manifest.output.dim, manifest.name)
    refuse_other_model(access.about, wanted, str(access.place))
    return Searcher(access, embedder, **rules)
