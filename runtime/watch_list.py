"""A watch list: alerts for vehicles, kinds of vehicles and licence plates, once for each time in view."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from vreid.runtime.gallery.names import key_of
from vreid.runtime.plates import plate_fits
from vreid.runtime.records import Match, Notice, TrackEvent, kind_name
from vreid.runtime.sinks.jsonl import event_fields
from vreid.runtime.watches import Watch

QUIET_S = 60.0  # for which a vehicle was away from a camera, at least, before it is alerted of there again
_MOST = 10_000  # tracks and vehicles that are remembered


class WatchList:
    """A follower of tracks that gives notices. One thread uses it."""

    def __init__(
        self, watches: Sequence[Watch], notify: Callable[[Notice], None], name_of: Callable[[int], str | None]
    ) -> None:
        """`name_of` gives the name of a vehicle of the gallery."""
        self._watches, self._notify, self._name_of = watches, notify, name_of
        self._alerted: dict[tuple[int, str], None] = {}  # a watch and a track's key
        self._seen: dict[tuple[int, str, int], float] = {}  # a watch, a camera and a vehicle: when, since 1970

    def event(self, event: TrackEvent) -> None:
        """Alert of a track the first time that it fits a watch. Its plate is known only at its end."""
        if event.state == "appeared":
            return
        for number, watch in enumerate(self._watches):
            track = event.track
            fitting = fits(watch, track.camera, kind_name(track.kind), track.plate, self._called(event.match))
            if fitting and not self._already_alerted(number, event):
                fields = {key: value for key, value in event_fields(event).items() if key not in ("camera", "seen")}
                fields |= {"watch": watch.name or watch.text, "plate": event.track.plate}
                self._notify(Notice("alerts", event.track.camera, event.track.seen, fields))

    def _called(self, match: Match) -> list[tuple[int, str | None]]:
        """The vehicle, and the one that it may be, if it is doubtful, with their names."""
        called = [(match.vehicle, match.name)] if match.vehicle is not None else []
        return called + ([(match.maybe, self._name_of(match.maybe))] if match.maybe is not None else [])

    def _already_alerted(self, number: int, event: TrackEvent) -> bool:
        """Whether there was an alert of this track, or lately of this vehicle there; it counts as one from now on."""
        key, vehicle, now = (number, event.key), event.match.vehicle, event.track.seen
        alerted = key in self._alerted
        if vehicle is not None:
            place = (number, event.track.camera, vehicle)
            alerted = alerted or abs(now - self._seen.get(place, -float("inf"))) < QUIET_S  # a clock may be set back
            self._seen[place] = now
        self._alerted[key] = None
        for kept in (self._alerted, self._seen):
            if len(kept) > _MOST:
                del kept[next(iter(kept))]  # type: ignore[arg-type]
        return alerted


def fits(
    watch: Watch, camera: str, kind: str | None, plate: str | None, vehicles: Sequence[tuple[int, str | None]]
) -> bool:
    """Whether all that the watch says holds for what a camera has seen; `vehicles` are the ids and names of those that it is, or
    may be."""
    if watch.cameras and camera not in watch.cameras:
        return False
    if watch.kind is not None and kind != watch.kind:
        return False
    if watch.plate is not None and not plate_fits(plate, watch.plate):
        return False
    if watch.vehicle is None:
        return True
    wanted = key_of(watch.vehicle).replace("[", "[[]")
    return any(
        watch.vehicle == f"id={vehicle}" or (name is not None and fnmatchcase(key_of(name), wanted))
        for vehicle, name in vehicles
    )
