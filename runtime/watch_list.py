"""A watch list: alerts for vehicles, kinds of vehicles and licence plates, once for each time in view."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from vreid.models.errors import Refused, shown
from vreid.runtime.camera_names import nfc, stranger_text
from vreid.runtime.gallery.names import key_of
from vreid.runtime.plates import plate_fits
from vreid.runtime.records import KIND_NAMES, Notice, TrackEvent, kind_name
from vreid.runtime.session import Watch
from vreid.runtime.sinks.jsonl import event_fields

QUIET_S = 60.0  # for which a vehicle was away from a camera, at least, before it is alerted of there again
_MOST = 10_000  # tracks and vehicles that are remembered
_KEYS = ("name", "vehicle", "kind", "plate", "camera")
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def watch_of(text: str) -> Watch:
    """vehicle=taxi or plate=B-XY*, kind=truck,camera=gate. Raises Refused."""
    given: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals or key.strip() not in _KEYS or not value.strip():
            raise Refused(
                f"--watch {text} cannot be read; write vehicle=NAME, kind=truck or plate=B-XY*, with commas between"
            )
        if key.strip() in given:
            raise Refused(f"--watch {text} has {key.strip()} twice; give a --watch of its own for each")
        given[key.strip()] = value.strip()
    camera = given.pop("camera", None)
    watch = Watch(**given, cameras=() if camera is None else (nfc(camera),))
    if (fault := fault_of(watch)) is not None:
        raise Refused(f"--watch {text} {fault}")
    return watch


def fault_of(watch: Watch) -> str | None:
    """What is wrong with it; None: nothing."""
    if watch.vehicle is None and watch.kind is None and watch.plate is None:
        return "says nothing to look for; give it a vehicle, a kind or a plate"
    if watch.kind is not None and watch.kind not in KIND_NAMES:
        return f"has no kind '{watch.kind}'; write {', '.join(KIND_NAMES)}"
    return None


def place_of(table: str, index: int) -> str:
    """What the [[table]] at `index` from 0 is called in a message."""
    return f"the {_PLACES[index]} [[{table}]]" if index < len(_PLACES) else f"[[{table}]] number {index + 1}"


def faults_of_all(
    watches: Sequence[Watch], cameras: Sequence[str], to: Sequence[object], plates: str | None, flags: bool = False
) -> list[str]:
    """A sentence for each reason why alerts can never come, in the words of the site's file or of the flags."""
    faults = [
        stranger_text(name, cameras, _called(watch))
        for watch in watches
        for name in watch.cameras
        if name not in cameras
    ]
    if watches and not to:
        how = "--to, such as mqtt://broker/site" if flags else 'to = ["mqtt://broker/site"] in [outputs]'
        faults.append(f"a watch list gives its alerts to outputs; name one with {how}")
    if plates is None and any(watch.plate is not None for watch in watches):
        how = "--plates module:function" if flags else 'plates = "module:function"'
        faults.append(f"a watch list with plates needs a reader of plates; give {how}")
    return faults


def missing_kinds(watches: Sequence[Watch], kinds: Mapping[str, frozenset[int] | None]) -> list[str]:
    """A sentence for each entry whose kind the detector of none of its cameras can tell; `kinds` by camera, None: any."""
    faults = []
    for watch in watches:
        possible = [kinds[name] for name in watch.cameras or kinds if name in kinds]
        if watch.kind is None or not possible or None in possible:
            continue
        names = {kind_name(kind) for each in possible for kind in each or ()}
        if watch.kind not in names:
            faults.append(
                f"{_called(watch)} looks for the kind '{watch.kind}', and the detectors of its cameras only tell: "
                f"{', '.join(sorted(names))}; take another detector (docs/detectors.md) or leave the kind out"
            )
    return faults


def _called(watch: Watch) -> str:
    """An entry as its alerts call it."""
    return f"the watch '{shown(watch.name or watch.text)}'"


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
            if fits(watch, event, self._name_of) and not self._already_alerted(number, event):
                fields = {key: value for key, value in event_fields(event).items() if key not in ("camera", "seen")}
                fields |= {"watch": watch.name or watch.text, "plate": event.track.plate}
                self._notify(Notice("alerts", event.track.camera, event.track.seen, fields))

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


def fits(watch: Watch, event: TrackEvent, name_of: Callable[[int], str | None]) -> bool:
    """Whether all that the watch says holds for the track now. A vehicle is also one that it may be, if it is doubtful."""
    track, match = event.track, event.match
    if watch.cameras and track.camera not in watch.cameras:
        return False
    if watch.kind is not None and kind_name(track.kind) != watch.kind:
        return False
    if watch.plate is not None and not plate_fits(track.plate, watch.plate):
        return False
    if watch.vehicle is None:
        return True
    called = [(match.vehicle, match.name)] if match.vehicle is not None else []
    called += [(match.maybe, name_of(match.maybe))] if match.maybe is not None else []
    wanted = key_of(watch.vehicle).replace("[", "[[]")
    return any(
        watch.vehicle == f"id={vehicle}" or (name is not None and fnmatchcase(key_of(name), wanted))
        for vehicle, name in called
    )
