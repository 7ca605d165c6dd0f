"""The rows of the audit as sentences for people."""

from collections.abc import Sequence
from typing import Any

from vreid.report.formats import number
from vreid.runtime.gallery.edits import UNDOABLE
from vreid.runtime.gallery.records import ENROLLED
from vreid.serve.days import moment
from vreid.serve.documents import Change, Doubt

_FIXED = {
    "remove": "removed {vehicle} for good",
    "reindex": "made the index anew",
    "reembed": "made the features anew with another model",
    "repair": "repaired the gallery",
    "import": "imported vehicles",
    "freeze threshold": "froze the threshold of this site",
    "unfreeze threshold": "let the threshold of this site learn again",
    "forget threshold": "made this site forget its threshold",
}


def undoable(change: Change) -> bool:
    """Whether taking it back may be offered."""
    return change.verb in UNDOABLE and not change.undone


def sentence(change: Change) -> str:
    """What was done, without who did it and when."""
    text = _sentence(change.verb, change.vehicle, change.detail)
    return text[0].upper() + text[1:]


def _sentence(verb: str, vehicle: int | None, detail: dict[str, Any]) -> str:
    vehicles: Sequence[Any] = detail.get("vehicles") or [vehicle]
    names = [str(name) for name in detail.get("names", ())]
    called = [_called(one, names[place] if place < len(names) else "") for place, one in enumerate(vehicles)]
    if verb in _FIXED:
        return _FIXED[verb].format(vehicle=_called(vehicle))
    if verb == "enrol":
        return f"enrolled {_called(vehicle, str(detail.get('name', '')))}"
    if verb == "rename":
        return f"named {_called(vehicle)} '{detail.get('to')}', before '{detail.get('from')}'"
    if verb == "merge":
        return f"merged {', '.join(called[1:])} into {called[0]}"
    if verb == "split":
        count = counted(len(detail.get("sightings", ())), "sighting")
        return f"split {count} off {called[0]} as {called[-1]}"
    if verb == "undo":
        return f"took back the {detail.get('verb')} of {', '.join(called)} (change {detail.get('of')})"
    if verb in ("confirm", "reject", "doubt"):
        return _of_a_doubt(verb, f"sighting {detail.get('sighting')}", called)
    if verb in ("purge", "remove sightings"):
        gone = detail.get("sightings")
        what = counted(gone, "sighting") if isinstance(gone, int) else "sightings"
        if verb == "remove sightings":
            return f"removed {what} of {', '.join(called)} for good"
        return f"purged {what} before {moment(detail['before'])}" if "before" in detail else f"purged {what}"
    if verb == "calibrate":
        return f"let {counted(detail.get('pairs', 0), 'judged pair')} count for the thresholds"
    if verb == "clean":
        return f"removed {counted(detail.get('removed', 0), 'vehicle')} that nobody named, by a rule"
    if verb == "retain":
        seconds = detail.get("seconds")
        return "keeps sightings for ever" if seconds is None else f"keeps sightings for {seconds / 86400:g} days"
    return f"{verb} {_called(vehicle)}" if vehicle is not None else verb


def _of_a_doubt(verb: str, sighting: str, called: Sequence[str]) -> str:
    if verb == "confirm":
        return f"said that {sighting} is of {called[-1]}"
    if verb == "reject":
        own = f"; the sighting is {called[-1]} now" if len(called) > 1 else ""
        return f"said that {sighting} is not of {called[0]}{own}"
    others = f", or {' or '.join(called[1:])}" if len(called) > 1 else ""
    return f"was in doubt about {sighting}: {called[0]}{others}"


def why_doubtful(doubt: Doubt, vehicle: int) -> str:
    """Why a sighting is doubtful, next to the candidate `vehicle`, and whether an answer counts for the thresholds."""
    others = [
        f"{one.name} passes too, with a score of {number(one.score, 3)}"
        for one in doubt.candidates
        if one.vehicle != vehicle
    ]
    reasons = {
        "near": ["its best score is near the threshold", *others],
        "second": others or ["a second vehicle passes too"],
        "bias": ["the answer is another one without what is taken off the features for the cameras' bias"],
    }
    counts = "counts" if doubt.counts else "puts the gallery right, but does not count"
    return f"Doubtful since {' and '.join(reasons[doubt.why])}; an answer {counts} for the thresholds."


def view_name(view: str) -> str:
    """Of a view of a vehicle: its camera; "" is one that the person may not see."""
    return {ENROLLED: "enrolment", "": "another camera"}.get(view, view)


def known_type(kind: str | None) -> str:
    """A type of vehicles; "" where none is known, or only that it is a vehicle."""
    return "" if kind is None or kind == "vehicle" else kind


def comes_from(origin: str, pairs: int) -> str:
    """Where a threshold comes from, and how many pairs of strangers it rests on."""
    if pairs:
        return f"comes from: {origin}, resting on {counted(pairs, 'pair')} of strangers"
    if origin == "fixed":
        return "was fixed by the operator"
    return f"comes from: {origin}, not from strangers that were seen here"


def _called(vehicle: object, name: str = "") -> str:
    return "the gallery" if vehicle is None else f"#{vehicle} ({name})" if name else f"#{vehicle}"


def counted(count: int, thing: str) -> str:
    """1 sighting, 1,200 sightings."""
    return f"{number(count)} {thing}{'' if count == 1 else 's'}"
