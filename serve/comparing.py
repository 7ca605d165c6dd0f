"""How alike two vehicles of the gallery are, and how long the model takes for one picture."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vreid.runtime.records import Floats, Ints
from vreid.runtime.scoring import DOUBTFUL
from vreid.runtime.threshold import Compared
from vreid.serve.rights import Person
from vreid.serve.searching import Answer, Searcher, within
from vreid.serve.service import Service

_WARMING, _TIMED = 2, 12  # pictures


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


def between(service: Service, person: Person, one: int, other: int) -> Likeness | None:
    """The features of `one` against those of `other` that the person may see, by the rule of a search; None where one of them has
    no such feature."""
    gallery, rule = service.access.searching, service.searcher.rule()
    own, others = ([each for each in gallery.prototypes(vehicle) if person.sees(each.view)] for vehicle in (one, other))
    if not own or not others:
        return None
    rows = np.stack([prototype.feature for prototype in own])  # (P, D)
    cameras = [prototype.view for prototype in own]
    compared = float(gallery.size()[0])

    def margins(times: float) -> tuple[Floats, Floats, list[str]]:
        def by_rule(features: Floats, others: Floats, views: Sequence[str], owners: Ints) -> Compared:
            weights = np.full((len(features), len(others)), times)
            return rule.compare(features, cameras, others, views, compared, weights)

        found = gallery.scores(rows, [other], within(person.cameras, by_rule))
        return found.cosines[:, 0], np.asarray(found.margins[:, 0]), [str(view) for view in found.views[:, 0]]

    cosines, over, views = margins(1.0)
    best = int(np.argmax(over))
    answer: Answer = "unknown"
    if over[best] >= 0:
        answer = "known"
    elif float(np.max(margins(DOUBTFUL)[1])) >= 0:
        answer = "doubtful"
    level = rule.level(cameras[best], views[best], compared)
    score = float(cosines[best])
    return Likeness(score, score - float(over[best]), (cameras[best], views[best]), level.origin, level.pairs, answer)


def latency_of(searcher: Searcher) -> tuple[float, float]:
    """p50 and p90 in milliseconds of one picture through the embedder, its resize included, as it is on this machine now; measured
    once a minute at most."""
    return _measured(searcher, int(time.monotonic() / 60))


@lru_cache(maxsize=4)
def _measured(searcher: Searcher, minute: int) -> tuple[float, float]:
    size = searcher.embedder.manifest.input
    picture = np.zeros((size.height, size.width, 3), np.uint8)
    times = []
    for _ in range(_WARMING + _TIMED):
        began = time.perf_counter()
        searcher.feature_of(picture)
        times.append(1000 * (time.perf_counter() - began))
    p50, p90 = np.percentile(times[_WARMING:], (50, 90)).tolist()
    return p50, p90
