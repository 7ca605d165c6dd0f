"""What a centre's process has done and how a region stands, for metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class Counts:
    """What became of messages, each counted in one of the first eight, and what was done besides, by one process."""

    new: int = 0
    known: int = 0
    unknown: int = 0  # neither known nor new enough; nothing is written of it
    changed: int = 0  # it went on, or its box has given it to another of its own vehicles
    removed: int = 0  # a box's vehicle was, or it is about what was removed
    again: int = 0  # it was received before
    aside: int = 0  # it does not fit this gallery
    late: int = 0  # it is older than the gallery keeps sightings
    doubtful: int = 0  # of those that are new or known
    conflicts: int = 0  # of these: the box's own vehicle was another one here the last time
    identities: int = 0  # that the log has acknowledged
    pictures: int = 0
    bad_pictures: int = 0  # that were not what they should be, and are gone
    erased: int = 0  # removed sightings, overwritten in the log and in the object store


@dataclass(frozen=True)
class RegionStatus:
    """One region in this process; `epoch` None: it does not resolve there now, and `fault` says why."""

    epoch: int | None
    fault: str | None
    counts: Counts
    behind: int = 0  # messages that wait in the log
    lag_s: float = 0.0  # how old the last message was when it was resolved
    waiting: Mapping[str, int] = field(default_factory=dict)  # identities, pictures, removals and open proposals
    clocks: Mapping[str, float] = field(default_factory=dict)  # by box: seconds ahead of the log's
    wrong_clocks: tuple[str, ...] = ()  # boxes
    not_compared: Mapping[str, int] = field(default_factory=dict)  # by other region: passes that failed
