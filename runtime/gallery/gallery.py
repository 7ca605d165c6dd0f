"""An open gallery: the world's vehicles in a store, searched through an index of their prototypes."""

import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from vreid.models.errors import NotFound, Refused
from vreid.models.picture import thumbnail_of
from vreid.models.preprocess import Image
from vreid.runtime.gallery import names, removal
from vreid.runtime.gallery.index.scores import vehicle_scores
from vreid.runtime.gallery.index.table import gallery_index
from vreid.runtime.gallery.prototypes import Rule, averaged, matching_prototype, surplus, unit
from vreid.runtime.gallery.records import (
    ENROLLED,
    EVERYTHING,
    WHOLE,
    Change,
    Compare,
    Filter,
    Part,
    Prototype,
    PrototypeInfo,
    RankedVehicle,
    SightingInfo,
    Stats,
    Vehicle,
    VehicleDetails,
    VehicleRow,
    VehicleScores,
    plain,
)
from vreid.runtime.gallery.sighting_row import sighting_row
from vreid.runtime.gallery.store import Store
from vreid.runtime.kept.folder import KeptRemovals
from vreid.runtime.login import login
from vreid.runtime.records import FinishedTrack, Floats
from vreid.runtime.site_evidence import SITE_THRESHOLD
from vreid.runtime.topology import Span


class Gallery:
    """An open gallery; made by the functions of opening.py. Any thread may call it.

    Every call that writes is on the disk when it returns, unless it is inside `transaction`.
    The index is made at the first search, and catches up at each with what was written, by whoever it was.
    """

    def __init__(self, store: Store, index: str, rule: Rule) -> None:
        self._store = store
        self.name, self.path, self.about, self.writable = store.name, store.path, store.about, store.writable
        self.rule = rule
        self.who = login()  # is written with each change; a run calls itself run:NAME
        self.index = gallery_index(index, store.features)
        self._removals = KeptRemovals(store.path)
        self._mutex = threading.RLock()

    def __enter__(self) -> "Gallery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store and of the writer's lock; a second call does nothing."""
        with self._mutex:
            self.index.close()
            self._store.close()

    @contextmanager
    def transaction(self) -> Iterator[Store]:
        """All that is written inside is kept together, or nothing is, the index included. Nests.

        No other thread uses the store inside. Raises Refused for a gallery that was opened for reading.
        """
        if not self.writable:
            raise Refused(f"the gallery {self.name} was opened for reading; open it for writing")
        with self._mutex:
            waiting = len(self._removals)
            try:
                with self._store.transaction():
                    yield self._store
            except BaseException:
                self._removals.rolled_back(waiting)
                self.index.rolled_back()
                raise
            if not self._store.features.in_transaction:
                self.index.committed()
                self._removals.committed()

    @contextmanager
    def acting_as(self, who: str) -> Iterator[None]:
        """What is changed inside stands in the audit as done by `who`. No other thread uses the gallery inside."""
        with self._mutex:
            before, self.who = self.who, who
            try:
                yield
            finally:
                self.who = before

    @contextmanager
    def reading(self) -> Iterator[Store]:
        """All that is read inside is of one moment, whoever writes meanwhile. No other thread uses the store inside."""
        with self._mutex, self._store.reading():
            yield self._store

    # Writing

    def add_vehicle(
        self, name: str | None = None, picture: Image | None = None, kind: str | None = None, vehicle: int | None = None
    ) -> int:
        """The new vehicle's id, never used before, or `vehicle`, an id that was reserved; without a name it is "vehicle-0001"
        after its id.

        Raises Refused for a name that is taken, empty, too long or not printable.
        """
        with self.transaction() as store:
            new, now = store.new_vehicle_id() if vehicle is None else vehicle, time.time()
            jpeg = None if picture is None else thumbnail_of(picture)
            chosen = names.new(store, new, name)
            taken_at = now if name is None and jpeg else None
            store.add_vehicle(VehicleRow(new, chosen, name is not None, now, kind, taken_at, jpeg))
            store.add_change(self.who, "enrol", new, {"name": chosen})
        return new

    def enrol(
        self, name: str | None, features: Floats, picture: Image | None = None, kind: str | None = None
    ) -> tuple[int, int]:
        """Add a vehicle that is known by features (N, D) of its crops, all or none: its id, and how many prototypes it has.

        Raises Refused as `add_vehicle` does.
        """
        with self.transaction():
            vehicle = self.add_vehicle(name, picture, kind)
            kept = {self.add_prototype(vehicle, ENROLLED, feature) for feature in features} - {None}
        return vehicle, len(kept)

    def add_prototype(self, vehicle: int, view: str, feature: Floats, weight: float = 1.0) -> int | None:
        """Let a feature (D,) stand for `vehicle`, seen from `view` with a quality of `weight` > 0.

        It is averaged into the nearest prototype of the view when near enough, otherwise a new one, and beyond the
        cap the lightest goes. Returns the prototype that holds it; None when it was itself the lightest.
        """
        if not (np.isfinite(weight) and weight > 0):
            raise Refused(f"a prototype's weight must be above 0, not {weight}; pass the crop's quality")
        row = unit(np.asarray(feature)[None], self.about.dim)[0]
        view = names.readable(view, "a prototype's view")
        with self.transaction() as store:
            names.of(store, vehicle)
            kept = store.prototypes(int(vehicle))
            home = matching_prototype(kept, view, row, self.rule.above)
            mean = averaged(home, row, weight) if home else None
            if mean is not None:
                store.update_prototype(mean)
                return mean.id
            new = store.add_prototype(int(vehicle), Prototype(0, view, row, float(weight), 1))
            dropped = [old.id for old in surplus([*kept, Prototype(new, view, row, weight, 1)], self.rule.most)]
            store.delete_prototypes(dropped)
        return None if new in dropped else new

    def add_sighting(self, vehicle: int, sighting: FinishedTrack, score: float, run: str = "") -> int:
        """Write down where and when `vehicle` was seen, with a small picture; returns the sighting's id.

        One that does not say when it was gets this moment. A vehicle that nobody named came to be with the first sighting,
        and so did its picture, whenever that is processed. Raises Refused for a time that is not in seconds.
        """
        with self.transaction() as store:
            names.of(store, vehicle)
            row = sighting_row(sighting, score, run)
            store.begin_with(int(vehicle), row.seen)
            return store.add_sighting(int(vehicle), row)

    def extend_sighting(self, vehicle: int, sighting: FinishedTrack, score: float, run: str = "") -> None:
        """Write down that what `add_sighting` wrote of this track has gone on since; anew where a purge has taken it, and not where
        it was removed for good."""
        with self.transaction() as store:
            if store.vehicle(int(vehicle)) is None:
                return
            row = sighting_row(sighting, score, run)
            if not store.extend_sighting(int(vehicle), row) and not removal.was_removed(store, int(vehicle), row):
                store.add_sighting(int(vehicle), row)

    def rename(self, vehicle: int, name: str) -> int | None:
        """Give `vehicle` another name; returns the audit's row, None where it has it. Raises Refused for one that is taken."""
        with self.transaction() as store:
            row = names.existing(store, vehicle)
            new = names.valid_name(store, name, row.id)
            if new == row.name and row.named:
                return None
            store.update_vehicle(replace(row, name=new, named=True))
            undo = {"name": row.name, "named": int(row.named)}
            return store.add_change(self.who, "rename", row.id, {"from": row.name, "to": new, "undo": undo})

    def remove(self, vehicle: int) -> int:
        """Forget `vehicle` for good: prototypes, sightings, their kept pictures, and what the audit and the site's thresholds kept
        of it; only that it was removed stays, the row of the audit that is returned.

        Its id is never given again. A kept picture that cannot be removed is logged; the vehicle is gone all the same.
        """
        with self.transaction() as store:
            names.of(store, vehicle)
            removal.note_merged(store, [int(vehicle)])
            self.forget([int(vehicle)])
            return store.add_change(self.who, "remove", int(vehicle), {})

    def forget(self, vehicles: Sequence[int]) -> None:
        """Delete all that `remove` deletes, and write nothing in the audit; kept pictures go when it is committed."""
        with self.transaction() as store:
            removal.forget(store, self._removals, vehicles)

    def remove_sightings(self, sightings: Collection[int]) -> int | None:
        """Forget these sightings for good, with their kept pictures; the row of the audit, None: there are none of them.

        Prototypes of the cameras that saw them are made anew of what stays; enrolled ones stay. A vehicle that nobody named or
        enrolled goes with its last sighting, as `remove` does it, and a picture that a run took of a vehicle goes with the sighting
        that it is of. Merges and splits of these vehicles can no longer be undone: what that needs holds features of the sightings.
        """
        with self.transaction() as store:
            done = removal.remove_sightings(store, self.rule, self._removals, sightings)
            return None if done is None else store.add_change(self.who, removal.VERB, None, done)

    def compact(self) -> None:
        """Give the room of what was deleted back to the disk; takes as long as copying the gallery, and as much room.

        Where there is none the file stays as large as it was, without what was deleted, and a warning is logged.
        """
        with self._mutex:
            self._store.compact()

    def wipe(self) -> None:
        """Overwrite what was deleted wherever a copy is left; a reader, or an outer transaction, may put that off."""
        with self._mutex:
            self._store.wipe()

    # Reading

    def search(
        self, features: Floats, k: int, vehicles: Sequence[int] | None = None, only: Filter = EVERYTHING
    ) -> list[list[RankedVehicle]]:
        """(B, D) -> for each row the best k vehicles (fewer in a small gallery), falling; of equals the older first.

        `vehicles`: only these ids, those that the gallery does not hold passed over; None: those that `only` lets through.
        """
        if k < 1:
            raise Refused(f"k must be at least 1, not {k}")
        rows = unit(features, self.about.dim)
        with self._mutex:
            found = self.index.search(rows, min(k, names.LAST_ID), vehicles, only)
            called = self._store.names({vehicle for best in found for vehicle, _ in best})
        # a reader may be a moment behind its gallery
        return [[RankedVehicle(one, called.get(one, names.given(one)), score) for one, score in best] for best in found]

    def scores(self, features: Floats, vehicles: Sequence[int], compare: Compare = plain) -> VehicleScores:
        """Features (B, D) against each of V vehicles, by plain cosines unless `compare` says otherwise."""
        rows = unit(features, self.about.dim)
        with self._mutex:
            return vehicle_scores(self._store.features, rows, vehicles, compare)

    def site_threshold(self) -> str | None:
        """What `keep_site_threshold` kept."""
        with self._mutex:
            return self._store.setting(SITE_THRESHOLD)

    def keep_site_threshold(self, text: str | None) -> None:
        """Keep what a threshold has learnt at this site; None: forget it."""
        with self.transaction() as store:
            store.set_setting(SITE_THRESHOLD, text)

    def name_of(self, vehicle: int) -> str:
        """The name of a vehicle. Raises NotFound for an id that the gallery does not hold."""
        with self._mutex:
            return names.of(self._store, vehicle)

    def find(self, text: str) -> int:
        """The id of the vehicle called `text`: a name in any case, an id, or id=ID.

        Raises Refused when none or two are meant.
        """
        with self._mutex:
            return names.found(self._store, text)

    def vehicles(self, thumbnails: bool = True, only: Filter = EVERYTHING, part: Part = WHOLE) -> list[Vehicle]:
        """A part of the vehicles that `only` lets through; without `thumbnails` no picture is read."""
        with self._mutex:
            return self._store.vehicles(only, thumbnails, part)

    def details(self, vehicle: int, only: Filter = EVERYTHING) -> VehicleDetails:
        """All that is known of `vehicle`; of its sightings those that `only` lets through."""
        with self.reading() as store:
            names.of(store, vehicle)
            (found,) = store.vehicles(Filter(ids=(int(vehicle),)), thumbnails=False)
            prototypes = sorted(store.prototypes(vehicle), key=lambda one: (one.view, one.id))
            return VehicleDetails(
                found,
                [PrototypeInfo(one.id, one.view, one.weight, one.count) for one in prototypes],
                store.sightings(vehicle, only),
                store.changes(vehicle=vehicle),
            )

    def prototypes(self, vehicle: int) -> list[Prototype]:
        """What stands for `vehicle`, the oldest first."""
        with self._mutex:
            return self._store.prototypes(vehicle)

    def sightings(self, vehicle: int, only: Filter = EVERYTHING) -> list[SightingInfo]:
        """The sightings of `vehicle` that `only` lets through, by time."""
        with self._mutex:
            return self._store.sightings(vehicle, only)

    def latest_sightings(
        self, only: Filter = EVERYTHING, before: tuple[float, int] | None = None, limit: int = 50
    ) -> list[SightingInfo]:
        """Those of all vehicles that `only` lets through, the newest first, strictly before a position (at, id)."""
        if limit < 0:
            raise Refused(f"the number of sightings must be 0 or more, not {limit}")
        with self.reading() as store:
            return store.latest_sightings(only, before, limit)

    def sighting(self, sighting: int) -> SightingInfo:
        """One sighting. Raises NotFound for an id that the gallery does not hold."""
        with self._mutex:
            found = self._store.sighting(sighting)
        if found is None:
            raise NotFound(f"there is no sighting {sighting}; the list of a vehicle's sightings has its")
        return found

    def sighting_picture(self, sighting: int) -> bytes | None:
        """The JPEG of a sighting; None where there is none, or no such sighting."""
        with self._mutex:
            return self._store.sighting_picture(sighting)

    def sighting_feature(self, sighting: int) -> Floats | None:
        """(D,) of a sighting's whole track, kept as float16; None where there is none, or no such sighting."""
        with self._mutex:
            return self._store.sighting_feature(sighting)

    def vehicle_picture(self, vehicle: int) -> bytes | None:
        """The JPEG of the newest sighting of `vehicle` that has one, else that of its enrolment; None where there is none."""
        with self._mutex:
            return self._store.vehicle_picture(vehicle)

    def cameras(self) -> list[str]:
        """The cameras of all sightings, by name."""
        with self._mutex:
            return self._store.cameras()

    def kinds(self) -> list[str]:
        """The kinds of all sightings, by name."""
        with self._mutex:
            return self._store.kinds()

    def changes(
        self,
        last: int | None = None,
        vehicle: int | None = None,
        verbs: Collection[str] | None = None,
        before: int | None = None,
    ) -> list[Change]:
        """The newest `last` changes (None: all), the oldest first; of one vehicle, those that it was any part of; of `verbs`
        only; only those before the one of the id `before`."""
        with self._mutex:
            return self._store.changes(last, vehicle, verbs, before)

    def stats(self) -> Stats:
        """The gallery in numbers."""
        with self._mutex:
            return self._store.stats()

    def size(self) -> tuple[int, int]:
        """Vehicles and prototypes."""
        with self._mutex:
            return self._store.size()

    def retention(self) -> float | None:
        """For how many seconds sightings are kept; None: for ever."""
        with self._mutex:
            return self._store.retention()

    def seen_since(self, since: float) -> list[tuple[int, Span]]:
        """(vehicle, where and when) of the sightings that ended after `since`, seconds since 1970; see `Store`."""
        with self._mutex:
            return self._store.seen_since(since)

    def with_plates(self, plates: Iterable[str | None]) -> set[int]:
        """The vehicles on which one of these licence plates was ever read."""
        with self._mutex:
            return self._store.vehicles_with_plates({plate for plate in plates if plate is not None})

    def with_other_plates(self, plates: Iterable[str | None]) -> set[int]:
        """The vehicles on which plates were read, and none of these; nobody when `plates` has none."""
        wanted = {plate for plate in plates if plate is not None}
        if not wanted:
            return set()
        with self._mutex:
            return self._store.vehicles_with_plates(None) - self._store.vehicles_with_plates(wanted)
