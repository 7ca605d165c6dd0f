"""The settings of a watch list: what alerts are to be given of, by --watch or [[watch]], and why they could never come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vreid.models.errors import Refused, shown
from vreid.runtime.camera_names import nfc, stranger_text
from vreid.runtime.records import KIND_NAMES, kind_name

_KEYS = ("name", "vehicle", "kind", "plate", "camera")


@dataclass(frozen=True)
class Watch:
    """What an alert is to be given of: all that it names must hold (runtime/watch_list.py)."""

    name: str | None = None  # what alerts call it
    vehicle: str | None = None  # a name in any case, with * and ?, or id=ID
    kind: str | None = None
    plate: str | None = None  # with * and ?
    cameras: tuple[str, ...] = ()  # empty: any

    @property
    def text(self) -> str:
        """What it is called that has no name."""
        parts = {"vehicle": self.vehicle, "kind": self.kind, "plate": self.plate}
        return ", ".join(f"{key} {value}" for key, value in parts.items() if value is not None)


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


def faults_of_all(
    watches: Sequence[Watch],
    cameras: Sequence[str],
    to: Sequence[object],
    plates: str | None,
    flags: bool = False,
    shown_here: bool = False,
) -> list[str]:
    """A sentence for each reason why alerts can never come, in the words of the site's file or of the flags; with `shown_here` they
    need no output: the pages of a server show whom the entries fit."""
    faults = [
        stranger_text(name, cameras, _called(watch))
        for watch in watches
        for name in watch.cameras
        if name not in cameras
    ]
    if watches and not to and not shown_here:
        how = "--to, such as mqtt://broker/site" if flags else 'to = ["mqtt://broker/site"] in [outputs]'
        faults.append(
            f"a watch list gives its alerts to outputs; name one with {how}, or run the site by vreid serve, which shows them"
        )
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
