"""What a gallery needs of the database that it is kept in.

Everything outside of a store's own folder is written against this protocol. A further database is a folder like sqlite/ with
one function like `open_store` there, and a line in STORES; its addresses are read by runtime/gallery_place.py.
"""

import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import WrongModel
from vreid.models.seam import open_seam
from vreid.models.zoo import bundled
from vreid.runtime.gallery.identities import Identities
from vreid.runtime.gallery.inbox import Inbox
from vreid.runtime.gallery.outbox import Outbox
from vreid.runtime.gallery.proposals import Proposals
from vreid.runtime.gallery.records import (
    EVERYTHING,
    WHOLE,
    About,
    Change,
    FeatureRows,
    Filter,
    Part,
    Place,
    Prototype,
    SightingInfo,
    SightingPicture,
    SightingRow,
    Stats,
    Vehicle,
    VehicleRow,
)
from vreid.runtime.gallery_place import DatabaseAddress, GalleryPlace
from vreid.runtime.records import Floats, Ints
from vreid.runtime.topology import Span

STORES = {
    "postgresql": "vreid.runtime.gallery.postgres.opening:open_postgres",
    "sqlite": "vreid.runtime.gallery.sqlite.opening:open_sqlite",
}


class FeatureSource(Protocol):
    """The features of all prototypes, and a log of their changes: each has a number, one more than the last.

    One thread at a time. Every method may raise what those of `Store` may.
    """

    name: str  # what messages call its gallery, without a password
    path: Path  # what the names of files begin with that belong to the gallery and lie on this machine
    dim: int

    def reader(self) -> "FeatureSource": ...  # another source of the same gallery, for another thread, which closes it
    def close(self) -> None: ...

    @property
    def in_transaction(self) -> bool: ...

    def reading(self) -> AbstractContextManager[None]:
        """All that is read inside is of one moment, whoever writes meanwhile."""

    def count(self) -> int: ...
    def vehicle_ids(self, only: Filter) -> list[int]: ...  # by rising id
    def of(self, prototypes: Ints) -> FeatureRows: ...  # those of `prototypes` (N,) that there are, ids rising

    def of_vehicles(self, vehicles: Ints) -> Iterator[tuple[Ints, Floats, NDArray[np.object_]]]:
        """The prototypes of those `vehicles` (N,), vehicle by vehicle: whose they are, features (N, D) and views (N,)."""

    def pages(self) -> Iterator[FeatureRows]:
        """All there are, ids rising; of no one moment, since each page is read when it is needed."""

    def last_change(self) -> int: ...

    def changes(self, after: int, last: int) -> Ints:
        """(N, 2) change and prototype; fewer than last - after where the log does not go back so far."""

    def stamp_of(self, change: int) -> tuple[str, int] | None:
        """What differs in a copy of this gallery that went another way before this change; None: no longer known."""


class Store(Protocol):
    """An open gallery's rows. One thread at a time; whatever writes belongs inside `transaction`.

    Every method may raise GalleryLocked, GalleryDamaged or GalleryFull.
    """

    name: str  # what messages call it, without a password
    path: Path  # what the names of files begin with that belong to it and lie on this machine; of a file itself
    about: About
    writable: bool

    @property
    def features(self) -> FeatureSource: ...  # what indexes are made of
    def close(self) -> None: ...  # let go of it, and of the writer's lock; a second call does nothing

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside is kept together, on the disk when it ends, or nothing is. Nests."""

    def reading(self) -> AbstractContextManager[None]:
        """All that is read inside is of one moment, whoever writes meanwhile."""

    # Vehicles

    def new_vehicle_id(self) -> int:
        """The id of the next vehicle, never used before. Raises Refused when there is none left."""

    def reserve_vehicle_ids(self, last: int) -> None: ...  # no id up to `last` is given to a new vehicle
    def last_vehicle_id(self) -> int: ...  # the last id that was given; 0: none
    def add_vehicle(self, row: VehicleRow) -> None: ...
    def update_vehicle(self, row: VehicleRow) -> None: ...
    def delete_vehicle(self, vehicle: int) -> None: ...  # the vehicle with its prototypes and sightings
    def vehicle(self, vehicle: int) -> VehicleRow | None: ...
    def vehicle_rows(self, only: Filter = EVERYTHING) -> Iterator[VehicleRow]: ...  # by rising id
    def name_of(self, vehicle: int) -> str | None: ...
    def names(self, vehicles: Collection[int]) -> dict[int, str]: ...  # the names of those of `vehicles` that there are
    def vehicle_with_key(self, key: str) -> int | None: ...  # the vehicle whose name folds to `key`; see `names.key_of`
    def vehicle_ids(self, only: Filter = EVERYTHING) -> list[int]: ...  # by rising id

    def vehicles(self, only: Filter = EVERYTHING, thumbnails: bool = True, part: Part = WHOLE) -> list[Vehicle]:
        """A part of those that `only` lets through; without `thumbnails` no picture is read."""

    def place(self, vehicle: int, sort: str) -> Place:
        """Where a vehicle that is there stands in a list that is sorted so. Raises NotFound."""

    def count(self, only: Filter) -> int: ...  # of the vehicles that it lets through

    def stats(self) -> Stats: ...
    def size(self) -> tuple[int, int]: ...  # vehicles and prototypes

    # Prototypes

    def prototypes(self, vehicle: int) -> list[Prototype]: ...  # by rising id, which is the oldest first

    def add_prototype(self, vehicle: int, prototype: Prototype, same_id: bool = False) -> int:
        """Under a new id, which is returned, or under its own."""

    def update_prototype(self, prototype: Prototype) -> None: ...  # its feature, weight and count
    def delete_prototypes(self, ids: Iterable[int]) -> None: ...
    def move_prototypes(self, old: int, new: int) -> None: ...  # all of the vehicle `old` become those of `new`

    # Sightings

    def add_sighting(self, vehicle: int, row: SightingRow) -> int: ...  # returns its id

    def extend_sighting(self, vehicle: int, row: SightingRow) -> bool:
        """Let the newest sighting of this camera, track, run and first time end when `row` does -> whether there is one."""

    def begin_with(self, vehicle: int, moment: float) -> None:
        """A vehicle that nobody named and that has no sighting yet came to be at `moment`, if that is earlier."""

    def sighting_ids(self, vehicle: int) -> list[int]: ...
    def vehicles_of_sightings(self, ids: Collection[int]) -> dict[int, int]: ...  # of those of `ids` that there are
    def sightings(self, vehicle: int, only: Filter = EVERYTHING) -> list[SightingInfo]: ...  # by time
    def latest_sightings(
        self, only: Filter = EVERYTHING, before: tuple[float, int] | None = None, limit: int = 50
    ) -> list[SightingInfo]:
        """At most `limit` of those that `only` lets through, the newest first by (at, id), all strictly before that position.
        Ids and names of `only` are of their vehicles."""

    def sightings_after(
        self, sighting: int, limit: int
    ) -> list[SightingInfo]: ...  # those with higher ids, the lowest first
    def last_sighting_id(self) -> int: ...  # the last id that was given; 0: none
    def sighting(self, sighting: int) -> SightingInfo | None: ...
    def sightings_of_ids(self, ids: Collection[int]) -> list[SightingInfo]: ...  # those that there are, by rising id
    def have_picture(
        self, ids: Collection[int], jpeg: bytes
    ) -> bool: ...  # whether any of these sightings has this one
    def sighting_picture(
        self, sighting: int
    ) -> bytes | None: ...  # a JPEG; None: it has none, or there is no such sighting

    def sighting_feature(self, sighting: int) -> Floats | None:
        """(D,) of its whole track, to the precision of float16; None: it has none, or there is no such sighting."""

    def vehicle_picture(self, vehicle: int) -> bytes | None:
        """The JPEG of its newest sighting that has one, else its own; None: it has none, or there is no such vehicle."""

    def cameras(self) -> list[str]: ...  # those of all sightings, by name
    def kinds(self) -> list[str]: ...  # those of all sightings, by name

    def sighting_rows(self, vehicle: int) -> Iterator[SightingRow]: ...  # by rising id

    def pictures(self, vehicle: int, only: Filter = EVERYTHING, most: int | None = None) -> Iterator[SightingPicture]:
        """Of the vehicle's sightings, the newest first."""

    def move_sightings(self, old: int, new: int, ids: Sequence[int] | None = None) -> None:
        """Those of `ids` (None: all) that are of the vehicle `old` become those of `new`."""

    def delete_sightings(self, before: float) -> int: ...  # those that ended before `before`; how many
    def remove_sightings(self, ids: Collection[int]) -> None: ...  # those of `ids` that there are

    def seen_since(self, since: float) -> list[tuple[int, Span]]:
        """(vehicle, where and when on the world's clock) of the sightings that ended after `since`.

        Their tracks are of other runs: numbers below 0, which no track of this run has.
        """

    def vehicles_with_plates(self, plates: Iterable[str] | None) -> set[int]:
        """The vehicles on which one of these plates (None: any) was ever read."""

    def backup(self, path: Path) -> None:
        """Write all of it, of one moment, to the new file `path`, whoever writes meanwhile."""

    def outbox(self, make: bool = False) -> Outbox | None:
        """What waits for a centre; None: nothing is written for one. With `make` it is from now on, for good; a store that has
        no outbox then raises Refused."""

    def identities(self) -> Identities | None:
        """What a centre has said of the sightings; None: nothing is written for one, or the store keeps no answers."""

    def inbox(self) -> Inbox | None:
        """What boxes have sent; None: this store keeps nothing of boxes."""

    def proposals(self) -> Proposals | None:
        """Which vehicles may be vehicles of other regions; None: this store keeps nothing of regions."""

    # Retention

    def retention(self) -> float | None: ...  # for how many seconds sightings are kept; None: for ever
    def set_retention(self, seconds: float | None) -> None: ...
    def setting(self, key: str) -> str | None: ...  # what was kept under `key`; None: nothing
    def settings(self, prefix: str) -> dict[str, str]: ...  # those whose keys begin so
    def set_setting(self, key: str, value: str | None) -> None: ...

    def trim_settings(self, prefix: str, before: str, most: int) -> None:
        """Of the settings whose keys begin with `prefix` forget those with values that sort before `before`, and of more than
        `most` those whose values sort first."""

    def vehicles_without_sightings(self, before: float, named: bool) -> list[int]:
        """Those that were created before `before`; with `named` those that somebody named, too."""

    def delete_run_pictures(self, before: float) -> int:
        """The vehicles' own pictures that a run took before `before`; how many."""

    def compact(self) -> None: ...  # give the room of what was deleted back to the disk, where there is room to do so

    def wipe(self) -> None:
        """Overwrite what was deleted wherever a copy of it may be left; within a transaction that is put off."""

    # Audit

    def add_change(self, who: str, verb: str, vehicle: int | None, detail: Mapping[str, Any]) -> int:
        """Returns its id; bytes in `detail` become base64."""

    def changes(
        self,
        last: int | None = None,
        vehicle: int | None = None,
        verbs: Collection[str] | None = None,
        before: int | None = None,
    ) -> list[Change]:
        """The newest `last` (None: all), the oldest first; of one vehicle, those that it was any part of; of `verbs` only;
        only those before the one of the id `before`."""

    def changes_after(self, change: int, limit: int) -> list[Change]: ...  # those with higher ids, the lowest first

    def mark_undone(self, change: int, by: int) -> None:
        """It was taken back by the change `by`, and what that needed is dropped."""

    def drop_undo(
        self, changes: Collection[int]
    ) -> None: ...  # these can no longer be undone: what that needs is dropped

    def forget_changes(self, vehicles: Collection[int], verbs: Collection[str] | None = None) -> None:
        """No row holds a name, picture or feature of `vehicles`, which are deleted, or of what was merged into them, any longer;
        that there was a change, and whose, stays. `verbs`: only those rows, and only where they are about such a vehicle first."""

    def trim_changes(self, before: float) -> None:
        """Older changes can no longer be undone; runs' enrolments of vehicles that are gone are dropped, and what was doubtful of
        sightings that are."""


def open_store(place: GalleryPlace, write: bool, about: About | None = None) -> Store:
    """The store at `place`, for reading or writing; a file has one writer at a time.

    `about`: only one of this model, and with `write` it is made if there is none; None: whatever its model.
    Raises WrongModel, GalleryLocked (another writer), GalleryDamaged, and Refused for a missing one or another file.
    """
    kind = place.kind if isinstance(place, DatabaseAddress) else "sqlite"
    store: Store = open_seam("kind of gallery", STORES, kind, "postgres")(place, write, about)
    return store


def refuse_other_model(found: About, wanted: About, name: str) -> None:
    """Raises WrongModel for a gallery of another embedding space, with the command that makes one of the wanted one of it."""
    if (found.fingerprint, found.dim) != (wanted.fingerprint, wanted.dim):
        stored = f"'{found.model}' ({found.dim}-d, {found.fingerprint})"
        given = f"'{wanted.model}' ({wanted.dim}-d, {wanted.fingerprint})"
        model = wanted.model if wanted.model in bundled() else "MANIFEST.json"
        raise WrongModel(
            f"the gallery {name} holds features of the model {stored}, not of {given}; use that model, or embed the pictures that"
            f" it keeps anew: vreid gallery reindex --gallery {shlex.quote(name)} --model {model} --out NEW.db"
        )
