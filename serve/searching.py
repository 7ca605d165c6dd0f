"""Find a vehicle by a picture or a feature, with the answer of a run: known, doubtful, unknown, and how sure that is."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import BadInput, Refused
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.gallery.records import EVERYTHING, Compare, Filter, plain
from vreid.runtime.records import Floats, Ints
from vreid.runtime.scoring import DOUBTFUL
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.threshold import Compared, FixedThreshold, Level, Threshold
from vreid.runtime.topology import Topology
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.turns import Turns

Answer = Literal["known", "doubtful", "unknown"]
_DECODED = 2  # pictures at a time that were uploaded: one of them takes 120 MB
_WIDER = 4  # how many times as many vehicles are read when those were too few
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


class Searcher:
    """Searches of one gallery, from any thread."""

    def __init__(
        self,
        access: GalleryAccess,
        embedder: Embedder,
        false_match_rate: float,
        fixed: float | None = None,
        topology: Topology | None = None,
    ) -> None:
        """`fixed`: one threshold for all; None: that of the site. Raises WrongModel for a model that is not the gallery's."""
        self._access, self.embedder = access, embedder
        self.false_match_rate, self._fixed, self._topology = false_match_rate, fixed, topology or Topology()
        self._engine = threading.Lock()
        self.decoding = Turns("pictures", _DECODED)  # that were uploaded, and may be large
        self.detecting = threading.Lock()
        self._rule: tuple[str | None, Threshold] | None = None

    def feature_of(self, picture: Image) -> Floats:
        """(D,) of a crop (H, W, 3)."""
        with self._engine:
            feature: Floats = self.embedder.embed([picture])[0]
        return feature

    def rule(self) -> Threshold:
        """The threshold as the gallery has it now."""
        if self._fixed is not None:
            return FixedThreshold(self._fixed)
        text = self._access.searching.site_threshold()
        if self._rule is None or self._rule[0] != text:
            match, dim = self.embedder.match, self._access.about.dim
            self._rule = text, SiteThreshold(match, self.false_match_rate, self._topology, text, dim)
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
        gallery, rule = self._access.searching, self.rule()
        row = (feature / np.linalg.norm(feature)).astype(np.float32)[None]
        names = self._nearest(row, max(k, 2), only, views)
        compared = float(gallery.size()[0])
        if not names:
            return Found("unknown", rule.level(camera, camera, compared), [])
        vehicles = list(names)

        def compare(times: float) -> Any:
            def by_rule(rows: Floats, others: Floats, of: Sequence[str], owners: Ints) -> Compared:
                weights = np.full((len(rows), len(others)), times)
                return rule.compare(rows, [camera], others, of, compared, weights)

            return gallery.scores(row, vehicles, within(views, by_rule))

        exact, wide = compare(1.0), compare(DOUBTFUL)
        margins, cosines, best_views = exact.margins[0], exact.cosines[0], exact.views[0]
        passed = int((margins >= 0).sum())
        found = []
        for place in np.argsort(-margins, kind="stable")[:k].tolist():
            score, view = float(cosines[place]), str(best_views[place])
            answer: Answer = "unknown"
            if margins[place] >= 0:
                answer = "known" if passed == 1 else "doubtful"
            elif wide.margins[0][place] >= 0:
                answer = "doubtful"
            rate = rule.rate_of(camera, view, score, compared)
            vehicle = vehicles[place]
            found.append(
                FoundVehicle(vehicle, names[vehicle], score, score - float(margins[place]), view, rate, answer)
            )
        level = rule.level(camera, found[0].view, compared)._replace(threshold=found[0].threshold)
        return Found(found[0].answer, level, found)

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


def within(views: tuple[str, ...], compare: Compare) -> Compare:
    """`compare`, in which features of other views than these pass nothing; empty: `compare` itself."""

    def of_views(
        rows: Floats, others: Floats, names: Sequence[str], owners: Ints
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cosines, least = compare(rows, others, names, owners)
        return cosines, np.where([name in views for name in names], least, np.inf)

    return of_views if views else compare


def open_searcher(access: GalleryAccess, embedder: Embedder, **rules: Any) -> Searcher:
    """Raises Refused for a model that the gallery was not made with."""
    about, manifest = access.about, embedder.manifest
    if (about.fingerprint, about.dim) != (manifest.fingerprint, manifest.output.dim):
        raise Refused(
            f"the gallery {access.path} holds features of the model '{about.model}', not of '{manifest.name}'; give its own"
        )
    return Searcher(access, embedder, **rules)
