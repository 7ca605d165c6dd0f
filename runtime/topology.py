"""Where cameras stand to each other: which pairs of sightings cannot be one vehicle, whatever they look like.

A file `cameras.toml`, all of it optional:

    unlisted = "any"            # or "never": pairs that are not listed are not connected at all

    [[pair]]
    cameras = ["gate", "yard"]
    least_s = 4.0               # nobody gets from one to the other faster
    most_s = 90.0               # nor slower, if seen at nothing else between; leave it out where a vehicle may park

    [[pair]]
    cameras = ["yard", "ramp"]
    overlap = true              # both may see a vehicle at the same moment

A pair holds in both directions unless `one_way = true`. Where a way leads over other cameras the least times add up.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.runtime.camera_names import nfc
from vreid.runtime.records import FinishedTrack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CameraPair(BaseModel):
    """Two cameras between which a vehicle can go; see the file's form above."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cameras: tuple[Annotated[str, AfterValidator(nfc)], Annotated[str, AfterValidator(nfc)]]
    least_s: Seconds = 0.0
    most_s: Seconds | None = None
    overlap: bool = False
    one_way: bool = False


class Layout(BaseModel):
    """The file as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    unlisted: Literal["any", "never"] = "any"
    pair: tuple[CameraPair, ...] = ()


@dataclass(frozen=True)
class Window:
    """Seconds that a way takes; `most` is inf where a vehicle may stop."""

    least: float
    most: float = math.inf


@dataclass(frozen=True)
class Span:
    """A track's time in one camera, both ends included, in seconds; spans of two cameras are on one clock."""

    camera: str
    track: int
    first: float
    last: float


ANYWHERE = Window(-math.inf)
NOWHERE = Window(math.inf)


@dataclass(frozen=True)
class Ways:
    """A layout worked out: the windows of its pairs, those of all others, and the least times over several pairs."""

    direct: Mapping[tuple[str, str], Window]
    unlisted: Window
    least: Mapping[tuple[str, str], float]


def ways_of(layout: Layout) -> Ways:
    """The ways of a layout, in both directions unless it says otherwise."""
    direct: dict[tuple[str, str], Window] = {}
    for pair in layout.pair:
        one, other = pair.cameras
        window = Window(-math.inf if pair.overlap else pair.least_s, math.inf if pair.most_s is None else pair.most_s)
        direct[one, other] = window
        if not pair.one_way:
            direct[other, one] = window
    return Ways(direct, ANYWHERE if layout.unlisted == "any" else NOWHERE, _shortest(direct))


def _shortest(direct: Mapping[tuple[str, str], Window]) -> dict[tuple[str, str], float]:
    """Floyd and Warshall (1962) over the least times; overlapping views are no distance apart."""
    least = {ends: window.least for ends, window in direct.items()}
    cameras = {camera for pair in direct for camera in pair}
    for over in sorted(cameras):
        for one in sorted(cameras):
            for other in sorted(cameras - {one}):
                if (one, over) in least and (over, other) in least:
                    way = max(0.0, least[one, over]) + max(0.0, least[over, other])
                    if way < least.get((one, other), math.inf):
                        least[one, other] = way
    return least


class Topology:
    """Ways between cameras; without any, everything is possible except two tracks of one camera at one moment."""

    def __init__(self, layout: Layout | None = None) -> None:
        self._ways = ways_of(layout or Layout())

    @property
    def cameras(self) -> set[str]:
        """The names of the cameras in it."""
        return {camera for pair in self._ways.direct for camera in pair}

    def become(self, other: "Topology") -> None:
        """Be like `other` from the next question on, for all who have this one; from any thread."""
        self._ways = other._ways

    def least(self, one: str, other: str) -> float:
        """The least seconds from one camera to another; -inf where they may see it at once, inf where no way leads."""
        ways = self._ways
        found = ways.least.get((one, other))
        if found is not None:
            return found
        against = (other, one) in ways.direct  # the wrong way of a one-way street: at least not at the same moment
        return max(0.0, ways.unlisted.least) if against else ways.unlisted.least

    def all_apart(self, spans: Sequence[Span]) -> NDArray[np.bool_]:
        """(N, N): `apart` of every pair."""
        names, camera = np.unique([span.camera for span in spans], return_inverse=True)
        first, last = np.array([(span.first, span.last) for span in spans], np.float64).reshape(-1, 2).T
        track = np.array([span.track for span in spans], np.int64)
        least = np.array([[self.least(str(one), str(other)) for other in names] for one in names]).reshape(
            len(names), len(names)
        )
        soon = first[None] - last[:, None] < least[camera][:, camera]  # row i before column j, too soon
        before = (first[:, None] < first[None]) | ((first[:, None] == first[None]) & (last[:, None] <= last[None]))
        over = np.where(before, soon, soon.T)
        same = (track[:, None] != track[None]) & (first[:, None] <= last[None]) & (first[None] <= last[:, None])
        return np.asarray(np.where(camera[:, None] == camera[None], same, over), np.bool_)

    def apart(self, one: Span, other: Span) -> bool:
        """Whether two tracks cannot be one vehicle's, whatever it did between. A track is not apart from itself."""
        early, late = sorted((one, other), key=lambda span: (span.first, span.last))
        if early.camera == late.camera:
            return early.track != late.track and late.first <= early.last
        return late.first - early.last < self.least(early.camera, late.camera)

    def missed(self, before: Span, now: Span) -> bool:
        """Whether `now` comes too late for a vehicle that was seen last as `before`."""
        window = self._ways.direct.get((before.camera, now.camera))
        return window is not None and now.first - before.last > window.most


def span_of(sighting: FinishedTrack) -> Span:
    """Of one camera on its own clock; where `seen` is known, over cameras on the world's."""
    offset = sighting.seen - sighting.last_time if sighting.seen else 0.0
    return Span(sighting.camera, sighting.track, sighting.first_time + offset, sighting.last_time + offset)


def read_topology(path: Path, cameras: Sequence[str]) -> Topology:
    """The file at `path` for a run of these cameras. Raises Refused as `read_layout` and `topology_of` do."""
    return topology_of(read_layout(path), cameras, f"the topology {path}")


def read_layout(path: Path) -> Layout:
    """The file at `path` as it is written. Raises Refused for what is no such file."""
    try:
        return Layout.model_validate(tomllib.loads(regular(path).read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"the topology {path} cannot be read ({error}); check the path") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise Refused(
            f"the topology {path} has a wrong '{place}' ({first['msg'].lower()}); see docs/operations.md"
        ) from error
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise Refused(f"the topology {path} is not TOML ({error}); correct that line") from error


def topology_of(layout: Layout, cameras: Sequence[str], what: str) -> Topology:
    """The layout for a run of these cameras; `what` it is called in a message.

    Raises Refused for a pair that cannot be, and when it names none of the run's cameras: a name is misspelt then.
    """
    for pair in layout.pair:
        if pair.cameras[0] == pair.cameras[1]:
            raise Refused(f"{what} pairs '{pair.cameras[0]}' with itself; name two cameras")
        if pair.most_s is not None and pair.most_s < pair.least_s:
            names = "' and '".join(pair.cameras)
            raise Refused(f"{what} gives '{names}' at most {pair.most_s} s but at least {pair.least_s} s")
    topology = Topology(layout)
    if layout.pair and not topology.cameras & set(cameras):
        known, given = ", ".join(sorted(topology.cameras)), ", ".join(cameras)
        raise Refused(f"{what} knows {known} and none of this run's cameras, {given}; use the same names")
    return topology
