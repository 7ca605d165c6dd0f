"""Where vehicles were lately: one camera does not show a vehicle as two tracks at once."""

from dataclasses import dataclass

from vreid.runtime.records import Sighting


@dataclass(frozen=True)
class Span:
    """One track's time in one camera, both ends included, in seconds on the camera's clock."""

    track: int
    first: float
    last: float


class Presence:
    """The spans given to each vehicle in the last `remember_s` seconds of each camera: bounded memory for ever."""

    def __init__(self, remember_s: float = 3600.0) -> None:
        self._remember = remember_s
        self._spans: dict[tuple[int, str], list[Span]] = {}
        self._newest: dict[str, float] = {}
        self._since_swept = 0

    def __len__(self) -> int:
        return sum(len(spans) for spans in self._spans.values())

    def put(self, vehicle: int, sighting: Sighting) -> None:
        """Remember that this track was given to `vehicle`."""
        span = Span(sighting.track, sighting.first_time, sighting.last_time)
        self._spans.setdefault((vehicle, sighting.camera), []).append(span)
        self._newest[sighting.camera] = max(sighting.last_time, self._newest.get(sighting.camera, sighting.last_time))
        self._since_swept += 1
        if self._since_swept >= 1000:
            self._sweep()

    def bars(self, vehicle: int, sighting: Sighting) -> bool:
        """Whether `vehicle` was another track of the same camera at a moment of this one."""
        return any(
            span.track != sighting.track and span.first <= sighting.last_time and sighting.first_time <= span.last
            for span in self._spans.get((vehicle, sighting.camera), ())
        )

    def _sweep(self) -> None:
        kept = {}
        for (vehicle, camera), spans in self._spans.items():
            oldest = self._newest[camera] - self._remember
            if fresh := [span for span in spans if span.last >= oldest]:
                kept[vehicle, camera] = fresh
        self._spans, self._since_swept = kept, 0
