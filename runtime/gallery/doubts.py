"""Doubtful sightings, and what people say of them: yes, it is this vehicle, or no, it is another one.

A run writes down of each sighting that was doubtful which vehicles it might be, in the audit (verb `doubt`): cameras, score,
rate and ids, no feature. What a person says is a row of the audit too (`confirm`, `reject`), with the pairs that it settles,
which stay when the sighting is purged and go with the vehicle. A doubt is settled as well by edits: a merge says
that the two are the same, a split that the sighting is of another vehicle, and undoing either takes that back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from vreid.models.errors import GalleryDamaged, NotFound, Refused
from vreid.runtime.bias_gain import JudgedSighting, Seen, bias_gain
from vreid.runtime.gallery import names
from vreid.runtime.gallery.doubt_rows import ANSWERS, Candidate, candidates_of, is_sound, pairs_said_by
from vreid.runtime.gallery.edits import Edited, merge, split
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.prototypes import unit
from vreid.runtime.gallery.records import Change
from vreid.runtime.gallery.store import Store
from vreid.runtime.judged_pairs import FEWEST, JudgedPair
from vreid.runtime.score_norm import ROOM
from vreid.runtime.score_space import sound_rate
from vreid.runtime.site_evidence import SITE_THRESHOLD, BiasGain, Evidence, evidence_of

_PAGE = 256  # doubts that are read at once
_SEARCHED = 16  # pages in which those are looked for that count for the thresholds

Why = Literal["near", "second", "bias"]


@dataclass(frozen=True)
class Doubt:
    """A sighting that was doubtful, or known only just, and that nobody has judged: the vehicle that it belongs to now, when it
    was decided (seconds since 1970), and the candidates, the best first; others than its vehicle are who else it may be.

    `why`: the best score is "near" the threshold; or it is not, and a "second" vehicle passes too; or the answer is another one
    without what is taken off the features for the cameras' "bias". `counts`: whether an answer counts for the thresholds.
    """

    sighting: int
    vehicle: int
    at: float
    candidates: tuple[Candidate, ...]
    why: Why
    counts: bool


@dataclass(frozen=True)
class Calibrated:
    """How many judged pairs count from now on, how many of them are the same vehicle, and what the cameras' bias brings."""

    pairs: int
    same: int
    bias_gain: BiasGain


def add_doubt(gallery: Gallery, sighting: int, vehicle: int, candidates: Sequence[Candidate], near: bool) -> None:
    """Write down that a sighting, which was given to `vehicle`, might be any of the candidates, the best first; `near`: it is
    for how near that one is to the threshold, and not for a second one, so that what is said of it may move the threshold."""
    vehicles = [vehicle, *(one.vehicle for one in candidates if one.vehicle != vehicle)]
    rows = [asdict(one) for one in candidates]
    detail = {"sighting": sighting, "vehicles": vehicles, "near": near, "candidates": rows}
    with gallery.transaction() as store:
        store.add_change(gallery.who, "doubt", vehicle, detail)


def doubtful(gallery: Gallery, last: int | None = None) -> list[Doubt]:
    """At most `last` (None: all) doubtful sightings that nobody has judged yet, the oldest first: the newest of those whose answers
    count for the thresholds, then the newest others.

    Raises Refused for a `last` below 0, and GalleryDamaged, as all here do, for a doubt or an answer that cannot be read.
    """
    if last is not None and last < 0:
        raise Refused(f"the number of sightings must be 0 or more, not {last}")
    with gallery.reading() as store:
        state, found = _State(store), list[Doubt]()
        for number, page in enumerate(state.pages()):
            counting = sum(doubt.counts for doubt in found)
            if last is not None and (counting >= last or (number >= _SEARCHED and len(found) >= last)):
                break
            found += _waiting(store, state, page)
    places = sorted(range(len(found)), key=lambda place: not found[place].counts)[:last]
    return [found[place] for place in sorted(places, reverse=True)]


def _waiting(store: Store, state: "_State", page: Sequence[Change]) -> list[Doubt]:
    """Those of a page, the newest first, that nobody has judged."""
    found = [
        Doubt(sighting, own, doubt.at, tuple(state.candidates(doubt)), _why(doubt), bool(state.pairs(doubt, own)))
        for doubt in page for sighting in [doubt.detail["sighting"]]
        if sighting in state.vehicle and sighting not in state.said and not state.settled(doubt)
        for own in [state.vehicle[sighting]]
    ]  # fmt: skip
    there = store.names({one.vehicle for doubt in found for one in doubt.candidates})
    found = [replace(each, candidates=tuple(one for one in each.candidates if one.vehicle in there)) for each in found]
    return [each for each in found if each.candidates]


def _why(doubt: Change) -> Why:
    return "near" if doubt.detail.get("near") else "second" if len(candidates_of(doubt)) > 1 else "bias"


def confirm(gallery: Gallery, sighting: int, vehicle: int | None = None) -> Edited:
    """A person says whose a sighting is: of the vehicle that it belongs to, or of another one, `vehicle`, which gets it.

    A vehicle that nobody named and that began with this sighting is merged into `vehicle` as a whole; of any other one the
    sighting is split off first. Raises Refused for a sighting or a vehicle that is not there.
    """
    with gallery.transaction() as store:
        own, changes, moved = _vehicle_of(store, sighting), [], 0
        if vehicle is not None and vehicle != own:
            names.existing(store, vehicle)
            row, ids = names.existing(store, own), store.sighting_ids(own)
            if len(ids) > 1 and (row.named or ids[0] != sighting):
                edit = split(gallery, own, [sighting])
                own, changes = edit.vehicle, [edit.change]
            merged = merge(gallery, vehicle, [own])
            changes.append(merged.change)
            own, moved = vehicle, merged.sightings
        change = _write_answer(gallery, store, "confirm", sighting, [own], changes)
    return Edited(change, own, moved)


def reject(gallery: Gallery, sighting: int) -> Edited:
    """A person says that a sighting is not of the vehicle that it belongs to: it becomes a vehicle of its own.

    Raises Refused for a sighting that is not there, and for the only one of its vehicle, which is new.
    """
    with gallery.transaction() as store:
        own = _vehicle_of(store, sighting)
        if store.sighting_ids(own) == [sighting]:
            fix = f"say whose it is with 'vreid gallery confirm {sighting} --vehicle NAME', or that it is new without the flag"
            raise Refused(f"sighting {sighting} is the only one of '{names.of(store, own)}'; {fix}")
        edit = split(gallery, own, [sighting])
        change = _write_answer(gallery, store, "reject", sighting, [own, edit.vehicle], [edit.change])
    return Edited(change, edit.vehicle, 1)


def judged(gallery: Gallery) -> list[JudgedPair]:
    """The pairs of which people have said whether they are the same, the oldest first."""
    with gallery.reading() as store:
        state = _State(store)
        every = [doubt for page in state.pages() for doubt in page]
        said = [(change.id, pair) for change in state.said.values() for pair in pairs_said_by(change)]
        by_edits = [
            (doubt.id, pair) for doubt in every for number in [doubt.detail["sighting"]]
            if number not in state.said and state.settled(doubt) for pair in state.pairs(doubt, state.vehicle[number])
        ]  # fmt: skip
    return [pair for _, pair in sorted([*said, *by_edits], key=lambda item: item[0])]


def calibrate(gallery: Gallery, rate: float = 0.05) -> Calibrated:
    """Let the thresholds of this site rest on the judged pairs too, from the next run on (judged_pairs.py), and decide whether the
    cameras' bias is taken off, by what is found at a false-match `rate` (bias_gain.py). An earlier decision stands where too few
    confirmed sightings are left.

    Raises Refused for fewer than FEWEST, for a threshold that is frozen, and where what is kept of it is damaged.
    """
    sound_rate(rate)
    with gallery.transaction() as store:
        pairs = judged(gallery)
        text = store.setting(SITE_THRESHOLD)
        evidence = Evidence() if text is None else evidence_of(text, gallery.about.dim)
        gain = bias_gain(_sightings_of(store), evidence, _recent(store), rate, store.size()[0])
        if len(pairs) < FEWEST and not gain.decided:
            fix = "'vreid gallery doubtful' lists sightings to confirm or reject"
            raise Refused(f"{len(pairs)} judged pairs are too few, {FEWEST} are the least; {fix}")
        if evidence.frozen:
            raise Refused("this site's threshold is frozen; run 'vreid gallery threshold --unfreeze' first")
        if evidence.gain is not None and evidence.gain.decided and not gain.decided:
            gain = evidence.gain
        store.set_setting(SITE_THRESHOLD, replace(evidence, judged=pairs, gain=gain).as_text())
        done = Calibrated(len(pairs), sum(pair.same for pair in pairs), gain)
        store.add_change(gallery.who, "calibrate", None, asdict(done))
    return done


def _sightings_of(store: Store) -> list[JudgedSighting]:
    """The sightings that were judged and still have a feature, against the vehicles that they were judged against."""
    state = _State(store)
    tracks: dict[int, list[_Track]] = {}
    doubts = {doubt.detail["sighting"]: doubt for page in state.pages() for doubt in page}
    settled = {number for number, doubt in doubts.items() if state.settled(doubt)}
    own_of = store.vehicles_of_sightings(settled | state.said.keys())
    found = []
    for number, own in sorted(own_of.items()):
        answer, doubt = state.said.get(number), doubts.get(number)
        against = {one.vehicle for one in (state.candidates(doubt)[:1] if doubt is not None else ())}
        if answer is not None and answer.verb == "confirm":
            against.add(own)
        for vehicle in {own, *against} - tracks.keys():
            tracks[vehicle] = _tracks(store, vehicle)
        for at in tracks[own]:
            for vehicle in sorted(against) if at.sighting == number else ():
                views = [one.seen for one in tracks[vehicle] if one.moment < at.moment]
                every = [one.seen for each in {own, vehicle} for one in tracks[each]]
                found.append(JudgedSighting(at.seen, views, every, vehicle == own))
    return found


class _Track(NamedTuple):
    sighting: int
    moment: tuple[float, int]
    seen: Seen


def _tracks(store: Store, vehicle: int) -> list[_Track]:
    """The sightings of a vehicle of which the feature is kept, by id."""
    rows = zip(store.sighting_ids(vehicle), store.sighting_rows(vehicle), strict=True)
    kept = [(number, row, row.feature.astype(np.float32)) for number, row in rows if row.feature is not None]
    return [
        _Track(number, (row.seen, number), (row.camera, unit(feature[None], len(feature))[0]))
        for number, row, feature in kept
    ]


def _recent(store: Store) -> list[Seen]:
    """The last tracks of the newest vehicles, as many as a neighbourhood holds."""
    found: list[_Track] = []
    for vehicle in reversed(store.vehicle_ids()):
        found += _tracks(store, vehicle)
        if len(found) >= ROOM:
            break
    return [one.seen for one in sorted(found, key=lambda one: one.moment)[-ROOM:]]


class _State:
    """What the audit and the sightings say now of doubts, which are read page by page."""

    def __init__(self, store: Store) -> None:
        self._store = store
        rows = [change for change in store.changes(verbs=("merge", *ANSWERS)) if not change.undone]
        self._merged: dict[int, int] = {}
        for change in rows:
            if change.verb == "merge" and (vehicles := change.detail.get("vehicles")):  # none where it was lost
                self._merged.update(dict.fromkeys(vehicles[1:], vehicles[0]))
        answers = self._sound(change for change in rows if change.verb != "merge")
        self.said = {change.detail["sighting"]: change for change in answers}
        self.vehicle: dict[int, int] = {}  # of the sightings of doubts that were read

    def pages(self) -> Iterator[list[Change]]:
        """All doubts, the newest first; of a sighting the newest one only."""
        before, read = None, set[int]()
        while page := self._store.changes(_PAGE, verbs=("doubt",), before=before):
            before = page[0].id
            new = {doubt.detail["sighting"]: doubt for doubt in self._sound(page)}  # the newest stays
            new = {number: doubt for number, doubt in new.items() if number not in read}
            read |= new.keys()
            self.vehicle |= self._store.vehicles_of_sightings(new)
            yield sorted(new.values(), key=lambda doubt: -doubt.id)

    def _sound(self, changes: Iterable[Change]) -> list[Change]:
        """Those that stand and were not forgotten. Raises GalleryDamaged."""
        standing = [change for change in changes if not change.undone and "sighting" in change.detail]
        for change in standing:
            if not is_sound(change):
                fix = "drop it with 'vreid gallery check --repair'"
                raise GalleryDamaged(f"change {change.id} ({change.verb}) of {self._store.name} cannot be read; {fix}")
        return standing

    def candidates(self, doubt: Change) -> list[Candidate]:
        """Under the ids that they have now."""
        return [replace(one, vehicle=self._now(one.vehicle)) for one in candidates_of(doubt)]

    def pairs(self, doubt: Change, vehicle: int) -> list[JudgedPair]:
        """The pair that is settled if the sighting is of `vehicle`: with the best candidate; none that a fixed threshold or a
        second candidate brought about, since which of those are doubtful does not depend on their rate alone."""
        best = self.candidates(doubt)[:1] if doubt.detail.get("near") else []
        return [
            JudgedPair(one.cameras, one.score, one.rate, one.vehicle == vehicle) for one in best if one.rate is not None
        ]

    def settled(self, doubt: Change) -> bool:
        """Whether a merge or a split since has made one of its pairs the same, or different."""
        vehicle = self.vehicle.get(doubt.detail["sighting"])
        both = zip(candidates_of(doubt), self.candidates(doubt), strict=True)
        return vehicle is not None and any(
            (was.vehicle == doubt.vehicle) != (one.vehicle == vehicle) for was, one in both
        )

    def _now(self, vehicle: int) -> int:
        been = set()  # a damaged merge may lead back to where it came from
        while vehicle in self._merged and vehicle not in been:
            been.add(vehicle)
            vehicle = self._merged[vehicle]
        return vehicle


def _write_answer(
    gallery: Gallery, store: Store, verb: str, sighting: int, vehicles: Sequence[int], changes: Sequence[int]
) -> int:
    """The id of the audit's new row: a sighting is of the last of `vehicles` by what a person said, for which the edits `changes`
    were made."""
    state = _State(store)
    doubts = (doubt for page in state.pages() for doubt in page if doubt.detail["sighting"] == sighting)
    doubt = next(doubts, None)
    rows = [] if doubt is None else [pair.as_row() for pair in state.pairs(doubt, vehicles[-1])]
    detail: Mapping[str, object] = {
        "sighting": sighting, "vehicles": vehicles, "pairs": rows, "undo": {"changes": list(changes)}
    }  # fmt: skip
    return store.add_change(gallery.who, verb, vehicles[0], detail)


def _vehicle_of(store: Store, sighting: int) -> int:
    found = store.vehicles_of_sightings([sighting]).get(sighting)
    if found is None:
        raise NotFound(f"there is no sighting {sighting}; the lists of doubtful sightings and of a vehicle's have all")
    return found
