"""What a gallery holds and returns: the frozen records that its store, its verbs and its users share.

Times are in seconds since 1970, unless a field's comment names the source's own clock.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vreid.runtime.records import Floats, Ints


@dataclass(frozen=True)
class About:
    """Whose features a gallery holds: the embedding space's fingerprint, its dimension, the model's name."""

    fingerprint: str
    dim: int
    model: str


@dataclass(frozen=True)
class Filter:
    """What is let through: of several of one field any, of several fields all; empty is everything.

    `names` and `plates` are patterns with * and ?, in any case; nothing else is special. A vehicle passes when one sighting
    of its passes by camera, time, kind, plate, run and zone at once; a vehicle that is itself of the kind passes by kind without.
    """

    ids: tuple[int, ...] = ()  # of vehicles
    cameras: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    plates: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()  # any of which the vehicle crossed
    since: float | None = None  # included
    until: float | None = None  # excluded


EVERYTHING = Filter()
SORTS = ("id", "name", "created", "last-seen", "sightings", "named-first")


Place = tuple[float | str, ...]  # what a list is sorted by, of one vehicle; the id comes last, unless names alone sort


@dataclass(frozen=True)
class Part:
    """How a list of vehicles is sorted, and which part of it: `limit` of them (None: all) behind the place `after`.

    By name and id they rise, by the others the newest, or the one most often seen, comes first; "named-first" are those that
    somebody named or enrolled, and then the others, each by when they were seen last.
    """

    sort: str = "id"  # of SORTS
    limit: int | None = None
    after: Place | None = (
        None  # `Store.place` of the last one of the part before, as it was then; None: from the first on
    )


WHOLE = Part()
ENROLLED = "enrolled"  # the view of prototypes that come from no camera


# Answers


@dataclass(frozen=True)
class RankedVehicle:
    """One vehicle that a search found; the score is the best cosine over its prototypes."""

    vehicle: int
    name: str
    score: float


@dataclass(frozen=True)
class Vehicle:
    """One vehicle of a gallery, as `Gallery.vehicles` lists it.

    Attributes:
        id: its number, which no other vehicle of the gallery ever gets.
        name: its name, unique without regard to case.
        created: when it was added, in seconds since 1970; a vehicle that a run enrolled, when it was first seen.
        kind: "car", "truck", "bus" or "motorcycle"; None where nobody said it and no sighting did.
        prototypes: how many features it is found by.
        sightings: how often it was seen.
        cameras: the names of the cameras that saw it.
        last_seen: the end of its newest sighting, on the source's own clock; None: never seen.
        last_at: the same moment in seconds since 1970.
        last_camera: where that was.
        thumbnail: a JPEG of its newest sighting or its enrolment; None where there is none or it was not requested.
    """

    id: int
    name: str
    created: float
    kind: str | None
    prototypes: int
    sightings: int
    cameras: tuple[str, ...]
    last_seen: float | None
    last_at: float | None
    last_camera: str | None
    thumbnail: bytes | None


@dataclass(frozen=True)
class PrototypeInfo:
    """One prototype without its feature. The weight is the sum of the qualities of `count` features."""

    id: int
    view: str
    weight: float
    count: int


@dataclass(frozen=True)
class SightingInfo:
    """One sighting without its feature and picture. `at` is its end; the other times are on its source's own clock."""

    id: int
    vehicle: int
    camera: str
    track: int
    run: str
    at: float
    first_time: float
    last_time: float
    kind: str | None
    plate: str | None
    quality: float
    score: float
    feature: int  # 1: it keeps one, 0: it does not
    picture: int
    zones: tuple[str, ...] = ()  # those of its camera that the vehicle crossed


@dataclass(frozen=True)
class SightingPicture:
    """The picture of one sighting, a JPEG."""

    sighting: int
    camera: str
    at: float
    jpeg: bytes


@dataclass(frozen=True)
class Change:
    """One row of the audit; `undone` is the change that took it back, 0 if none did."""

    id: int
    at: float
    who: str
    verb: str
    vehicle: int | None
    detail: Mapping[str, Any]
    undone: int

    @property
    def summary(self) -> dict[str, Any]:
        """The detail without the rows that only undoing needs."""
        return {key: value for key, value in self.detail.items() if key != "undo"}

    @property
    def undo_data(self) -> Mapping[str, Any] | None:
        """What undoing needs; None when there was nothing, or when it had to be forgotten."""
        data = self.detail.get("undo")
        return data if isinstance(data, dict) else None


@dataclass(frozen=True)
class VehicleDetails:
    """One vehicle with its prototypes by view, its sightings by time and what was done to it."""

    vehicle: Vehicle
    prototypes: list[PrototypeInfo]
    sightings: list[SightingInfo]
    changes: list[Change]


@dataclass(frozen=True)
class Stats:
    """A gallery in numbers; `bytes` is the size of its file without the write-ahead log.

    `oldest` and `newest` are sightings; `retention` is in seconds, None: sightings are kept.
    """

    vehicles: int
    prototypes: int
    sightings: int
    cameras: int
    dim: int
    model: str
    fingerprint: str
    bytes: int
    oldest: float | None
    newest: float | None
    retention: float | None
    changes: int  # rows of the audit


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: what kind of thing, which row (None: not of a row), and the sentence for a person."""

    kind: str
    row: int | None
    text: str


# Rows, as a store keeps them


@dataclass(frozen=True)
class VehicleRow:
    """A vehicle. `named`: somebody named or enrolled it; `pictured`: when a run took its picture, a JPEG."""

    id: int
    name: str
    named: bool
    created: float
    kind: str | None = None
    pictured: float | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True)
class Prototype:
    """A unit feature (D,) of a vehicle from one view; `weight` sums the qualities of the `count` it was made of."""

    id: int
    view: str
    feature: Floats
    weight: float
    count: int


@dataclass(frozen=True)
class SightingRow:
    """A sighting; `seen` is its end, `first_time` and `last_time` are on its source's own clock."""

    camera: str
    track: int
    first_time: float
    last_time: float
    first_frame: int
    last_frame: int
    score: float  # -inf: there was nobody to compare with
    thumbnail: bytes | None
    run: str
    seen: float
    kind: str | None
    plate: str | None
    quality: float
    feature: NDArray[np.float16] | None  # (D,) of the whole track
    zones: tuple[str, ...] = ()  # those of its camera that it crossed


LAST_MOMENT = 1e10  # seconds since 1970; more are milliseconds or nanoseconds


def is_moment(seconds: object) -> bool:
    """Whether it is a time in seconds since 1970, before 2286: not a NaN, and not milliseconds or nanoseconds."""
    return isinstance(seconds, int | float) and 0 <= seconds < LAST_MOMENT


def is_clock(seconds: object) -> bool:
    """Whether it is a time in seconds on a source's own clock, which may be below 0: not infinite, and not milliseconds."""
    return isinstance(seconds, int | float) and abs(seconds) < LAST_MOMENT


def is_score(score: object) -> bool:
    """Whether it is a cosine, with room for rounding, or -inf: there was nobody to compare with."""
    return isinstance(score, int | float) and (abs(score) <= 2 or score == -math.inf)


def is_quality(quality: object) -> bool:
    """Whether it is the quality of a crop, 0 to 1."""
    return isinstance(quality, int | float) and 0 <= quality <= 1


class VehicleScores(NamedTuple):
    """B features against V vehicles, each by the prototype that is furthest over the least cosine that is enough."""

    cosines: Floats  # (B, V); -1 for a vehicle without prototypes
    margins: NDArray[np.float64]  # (B, V): cosine less the least score; -inf for a vehicle without prototypes
    views: NDArray[np.object_]  # (B, V) of that prototype; "" for a vehicle without prototypes


# Features (B, D), others (N, D) from N views of N vehicles -> cosines (B, N), and the least that is enough (B, N)
Compare = Callable[[Floats, Floats, Sequence[str], Ints], tuple[NDArray[np.float64], NDArray[np.float64]]]
FeatureRows = tuple[Ints, Ints, Floats]  # prototypes: ids (N,), their vehicles (N,), features (N, D)


def plain(
    features: Floats, others: Floats, views: Sequence[str], vehicles: Ints
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Cosines (B, N) of unit features (B, D) and (N, D), of which any is enough."""
    cosines = (features @ others.T).astype(np.float64)
    return cosines, np.zeros_like(cosines)


def with_merged(vehicles: Iterable[int], merges: Iterable[Change]) -> set[int]:
    """`vehicles`, and those that were merged into them, and into those; a merge that was undone says nothing."""
    into: dict[int, list[int]] = {}
    for merge in merges:
        if not merge.undone and (both := merge.detail.get("vehicles")):
            into.setdefault(both[0], []).extend(both[1:])
    found, waiting = set[int](), [*vehicles]
    while waiting:
        if (vehicle := waiting.pop()) not in found:
            found.add(vehicle)
            waiting += into.get(vehicle, [])
    return found
