"""Whether a vehicle stands: for how long its box has stayed where it was."""

from dataclasses import dataclass

from vreid.runtime.records import Floats

SAME_PLACE = 0.5  # overlap (IoU) of a box with the place where it stands
AWAY_S = 2.0  # seconds for which it is elsewhere before it has left its place: what passes may hide half of it


@dataclass(frozen=True)
class StandingRules:
    """A vehicle stands when its box has stayed for `after` seconds; a sign of life is due every `sign` seconds."""

    after: float = 60.0
    sign: float = 3600.0


class Place:
    """Where a track is, and since when."""

    def __init__(self) -> None:
        self._edges: list[float] | None = None
        self._since = self._away = 0.0
        self._is_away = False

    def see(self, time: float, box: Floats) -> float:
        """Its box x1 y1 x2 y2 at a time -> for how many seconds it has been in this place."""
        edges = box.tolist()
        if self._edges is not None and _overlap(self._edges, edges) >= SAME_PLACE:
            self._is_away = False
        elif self._edges is not None and not self._is_away:
            self._is_away, self._away = True, time
        elif self._edges is None or time - self._away >= AWAY_S:
            self._edges, self._since, self._is_away = edges, time, False
        return time - self._since


def _overlap(one: list[float], other: list[float]) -> float:
    """Intersection over union of two boxes; of one pair, where NumPy costs more than it saves."""
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    areas = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / max(areas - shared, 1e-9)
