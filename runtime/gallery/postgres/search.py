"""Searching a gallery in its database: every prototype that a filter lets through, or those that an index says are near.

An index of neighbours does not see filters, and one that is followed until enough rows pass finds few of the true ones where a
filter goes against looks. So near prototypes are taken without the filter, and those that pass are
kept; where too few do, all that pass are compared.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.scores import vehicle_scores
from vreid.runtime.gallery.index.table import Found, Progress
from vreid.runtime.gallery.postgres.features import PrototypeFeatures
from vreid.runtime.gallery.postgres.hnsw import HnswIndex
from vreid.runtime.gallery.postgres.rows import numbers, vehicles_where
from vreid.runtime.gallery.records import EVERYTHING, Filter, plain
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Floats, Ints

EXACT = 20_000  # prototypes up to which all that pass are compared
MOST = 500  # near prototypes that are looked at, before all are: half of what pgvector keeps candidates of, for the last are unsure
_FIRST = 8  # prototypes that a vehicle mostly has at most, as in VehicleIndex


class Nearest(Protocol):
    """An index that says which prototypes are near a feature."""

    def nearest(self, features: Floats, count: int) -> Sequence[Ints] | None:
        """Unit features (B, D) -> for each the ids of the `count` nearest prototypes, or of fewer; None: nothing is indexed."""

    def build(self, progress: Progress) -> None: ...  # as of `GalleryIndex`, and so are these two
    def drop(self) -> None: ...
    def close(self) -> None: ...


class Passing(NamedTuple):
    """What a row `p` of prototypes must fulfil: as it is quick to look at in a few rows, and to find all of; and the values."""

    each: str
    every: str
    values: list[Any]


class DatabaseSearch:
    """A `GalleryIndex` of which nothing is in this process. What it sees is what its connection sees."""

    def __init__(self, source: PrototypeFeatures, near: Nearest) -> None:
        self._source, self._database, self._near = source, source.database, near

    def search(
        self, features: Floats, k: int, vehicles: Sequence[int] | None, only: Filter = EVERYTHING
    ) -> list[list[Found]]:
        passing = _passing(vehicles, only)
        found: list[list[int]] = [[] for _ in features]
        if k <= MOST and not self._few(passing):
            self._look_near(features, k, passing, found)
        for feature, best in zip(features, found, strict=True):
            if len(best) < k:
                best[:] = self._best(feature, k, passing)
        return self._scored(features, found)

    def committed(self) -> None:
        """The database has kept it."""

    def rolled_back(self) -> None:
        """The database has undone it."""

    def forget(self) -> None:
        """The database does that: the gallery is wiped."""

    def build(self, progress: Progress) -> None:
        self._near.build(progress)

    def drop(self) -> None:
        self._near.drop()

    def close(self) -> None:
        self._near.close()

    def _scored(self, features: Floats, found: list[list[int]]) -> list[list[Found]]:
        """By the cosines of this process, as other indexes have them; without those that were removed just now."""
        every = sorted({vehicle for best in found for vehicle in best})
        cosines, there, _ = vehicle_scores(self._source, features, every, plain)
        ranked = []
        for best, row, margins in zip(found, cosines, there, strict=True):
            scores = {one: float(row[at]) for at, one in enumerate(every) if np.isfinite(margins[at])}
            ranked.append(
                sorted(((one, scores[one]) for one in best if one in scores), key=lambda one: (-one[1], one[0]))
            )
        return ranked

    def _few(self, passing: Passing) -> bool:
        """Counted, unless the planner's estimate leaves no doubt: counting takes longer than the search then."""
        query = f"SELECT 1 FROM prototypes p WHERE {passing.each}"
        if self._database.row(f"EXPLAIN (FORMAT JSON) {query}", *passing.values)[0][0]["Plan"]["Plan Rows"] > 4 * EXACT:
            return False
        counted = f"SELECT count(*) FROM ({query} LIMIT {EXACT + 1}) few"
        return int(self._database.row(counted, *passing.values)[0]) <= EXACT

    def _look_near(self, features: Floats, k: int, passing: Passing, found: list[list[int]]) -> None:
        """Fill `found` with `k` vehicles each from near prototypes, as far as so many of these pass. The first k different
        vehicles of the nearest prototypes are the nearest vehicles."""
        left = np.arange(len(features))
        for count in (min(_FIRST * (k - 1) + 1, MOST), MOST):
            near = self._near.nearest(features[left], count) if len(left) else None
            if near is None:
                return
            for place, ids in zip(left.tolist(), near, strict=True):
                found[place] = self._best(features[place], k, passing, ids)
            left = left[[len(found[place]) < k for place in left]]

    def _best(self, feature: Floats, k: int, passing: Passing, among: Ints | None = None) -> list[int]:
        """The `k` vehicles with the best prototypes of those that pass."""
        condition, values = passing.every, passing.values
        if among is not None:
            condition, values = f"p.id = ANY(%s::bigint[]) AND {passing.each}", [among.tolist(), *values]
        return self._database.column(
            f"SELECT p.vehicle FROM prototypes p WHERE {condition} GROUP BY p.vehicle"
            " ORDER BY min(p.feature <#> %s::float8[]::vector), p.vehicle LIMIT %s",
            *values, numbers(feature), k,
        )  # fmt: skip


def pgvector_index(
    source: FeatureSource, address: str = "", *, m: int = 16, built: int = 64, ef: int = 200
) -> DatabaseSearch:
    """Searches by pgvector: exact, or through the HNSW index that 'vreid gallery index' has made.

    m, built: neighbours of a row, and candidates while it is made; ef: candidates while searching, 1000 at most.
    """
    if address:
        raise Refused("the index 'pgvector' is in the gallery's own database; write it without an address")
    database = source_in_postgres(source, "pgvector")
    return DatabaseSearch(database, HnswIndex(database, m, built, ef))


def source_in_postgres(source: FeatureSource, kind: str) -> PrototypeFeatures:
    """`source` itself. Raises Refused for a gallery that is not in PostgreSQL."""
    if not isinstance(source, PrototypeFeatures):
        raise Refused(
            f"the index '{kind}' is for a gallery in PostgreSQL, and {source.name} is a file; 'flat' works there"
        )
    return source


def _passing(vehicles: Sequence[int] | None, only: Filter) -> Passing:
    if vehicles is not None:
        return Passing("p.vehicle = ANY(%s::bigint[])", "p.vehicle = ANY(%s::bigint[])", [[*map(int, vehicles)]])
    if only == EVERYTHING:
        return Passing("true", "true", [])
    where, values = vehicles_where(only)
    ids = f"SELECT v.id FROM vehicles v WHERE {where}"
    return Passing(f"p.vehicle IN ({ids})", f"p.vehicle = ANY(ARRAY({ids}))", values)
