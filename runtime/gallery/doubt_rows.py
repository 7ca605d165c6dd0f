"""Rows of the audit that are doubts, and answers of people to them: what is in them, and how they leave a site's evidence."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

from vreid.models.errors import Refused
from vreid.runtime.gallery.records import Change, with_merged
from vreid.runtime.gallery.store import Store
from vreid.runtime.judged_pairs import JudgedPair, Way, judged_pair_of
from vreid.runtime.site_evidence import SITE_THRESHOLD, evidence_of

ANSWERS = ("confirm", "reject")  # of a person about a doubtful sighting, with the edits that they took (doubts.py)


@dataclass(frozen=True)
class Candidate:
    """A vehicle that a sighting might be: cameras of the vehicle's view and of the sighting, the score as it was compared, and
    the rate at which a new vehicle scores as high (None: the threshold was fixed)."""

    vehicle: int
    cameras: Way
    score: float
    rate: float | None


def is_sound(change: Change) -> bool:
    """Whether a row of the audit that is a doubt or an answer can be read; True for others, and where it was forgotten."""
    try:
        candidates_of(change)
        pairs_said_by(change)
        return type(change.detail.get("sighting", 1)) is int
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return False


def candidates_of(doubt: Change) -> list[Candidate]:
    """Those that a run wrote down, the best first, under the ids that they had then. Raises ValueError, TypeError and others for
    what no run writes; see `is_sound`."""
    if doubt.verb != "doubt":
        return []
    found = []
    for row in doubt.detail.get("candidates", ()):
        view, camera = row["cameras"]
        rate = row["rate"]
        pair = judged_pair_of([view, camera, row["score"], 1.0 if rate is None else rate, 1])
        if type(vehicle := row["vehicle"]) is not int:
            raise ValueError("a vehicle's id that is none")
        found.append(Candidate(vehicle, pair.cameras, pair.score, None if rate is None else pair.rate))
    return found


def pairs_said_by(change: Change) -> list[JudgedPair]:
    """The pairs that a person has settled by it."""
    if change.verb not in ANSWERS:
        return []
    return [judged_pair_of(row) for row in change.detail.get("pairs", ())]


def forget_judged(store: Store, vehicles: Collection[int], purged: bool = False) -> None:
    """What the thresholds rest on loses the judged pairs of `vehicles`, which are deleted, and of those merged into them; called
    before their rows are forgotten. `purged`: where one was only whom another's sighting might be, the pair stays."""
    text = store.setting(SITE_THRESHOLD)
    try:
        evidence = None if text is None else evidence_of(text)
    except Refused:  # damaged: no run rests on it
        return
    if evidence is None or not evidence.judged:
        return
    gone = with_merged(vehicles, store.changes(verbs=("merge",)))
    gone -= store.names(gone).keys() - {*vehicles}
    rows = [row for row in store.changes(verbs=("doubt", *ANSWERS)) if not row.undone and is_sound(row)]
    standing = {row.detail.get("sighting"): row for row in rows if row.verb == "doubt"}
    standing |= {row.detail.get("sighting"): row for row in rows if row.verb != "doubt"}  # an answer settles its doubt
    there = store.vehicles_of_sightings([number for number in standing if number is not None])
    lost = Counter(
        _key(pair) for number, row in standing.items()
        if (row.verb == "doubt" and number not in there)  # what only an edit has settled goes with its sighting
        or not gone.isdisjoint((row.vehicle,) if purged else (row.vehicle, *row.detail.get("vehicles", ())))
        for pair in _pairs_of(row)
    )  # fmt: skip
    kept = []
    for pair in evidence.judged:
        if lost[_key(pair)]:
            lost[_key(pair)] -= 1
        else:
            kept.append(pair)
    if len(kept) < len(evidence.judged):
        left = replace(evidence, judged=kept)
        store.set_setting(SITE_THRESHOLD, None if left.empty else left.as_text())


def _pairs_of(row: Change) -> list[JudgedPair]:
    """What an answer has settled, and what an edit may have settled of a doubt."""
    if row.verb != "doubt":
        return pairs_said_by(row)
    best = candidates_of(row)[:1] if row.detail.get("near") else []
    return [JudgedPair(one.cameras, one.score, one.rate, True) for one in best if one.rate is not None]


def _key(pair: JudgedPair) -> tuple[object, ...]:
    """All but the answer, as it is kept."""
    return tuple(pair.as_row()[:-1])
