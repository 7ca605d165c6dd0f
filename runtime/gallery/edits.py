"""What a person corrects: two vehicles that are one, one vehicle that is two, a name; and taking it back.

An undo puts rows back as they were, unless something later stands on them.
"""

import json
from base64 import b64decode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vreid.models.errors import GalleryDamaged, NameTaken, NotFound, Refused
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import names
from vreid.runtime.gallery.doubt_rows import ANSWERS
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.prototypes import rebuild, surplus, with_prototype
from vreid.runtime.gallery.records import Change, Prototype, VehicleRow
from vreid.runtime.gallery.store import Store

UNDOABLE = ("merge", "split", "rename", "confirm", "reject")
FINAL = (
    "enrol",
    "remove",
    "clean",
    "purge",
    "import",
    "calibrate",
    "forget threshold",
)  # what else people do to what is kept


@dataclass(frozen=True)
class Edited:
    """What was done: the audit's row, the vehicle that it is about, and how many sightings now belong to another vehicle."""

    change: int
    vehicle: int
    sightings: int


def merge(gallery: Gallery, kept: int, others: Sequence[int]) -> Edited:
    """All that belongs to `others` belongs to `kept` from now on, which keeps its id and name; the others are deleted.

    Raises Refused for a vehicle that is not there or that is named twice.
    """
    if not others or len({kept, *others}) != 1 + len(others):
        raise Refused("a merge needs two vehicles or more, each named once; name the one to keep first")
    with gallery.transaction() as store:
        rows = [names.existing(store, vehicle) for vehicle in (kept, *others)]
        before = _before(store, rows)
        moved = {str(vehicle): store.sighting_ids(vehicle) for vehicle in others}
        _pool(store, gallery, kept, others)
        merged = rows[0]
        for other in rows[1:]:
            store.move_sightings(other.id, kept)
            store.delete_vehicle(other.id)
            kind = other.kind if merged.kind is None else merged.kind
            merged = replace(merged, kind=kind, named=merged.named or other.named)
        store.update_vehicle(merged)
        count = sum(len(ids) for ids in moved.values())
        undo = {**before, "after": _prototype_ids(store, [kept]), "sightings": moved}
        detail = {
            "vehicles": [row.id for row in rows], "names": [row.name for row in rows], "sightings": count, "undo": undo
        }  # fmt: skip
        change = store.add_change(gallery.who, "merge", kept, detail)
    return Edited(change, kept, count)


def split(gallery: Gallery, vehicle: int, sightings: Sequence[int], name: str | None = None) -> Edited:
    """`sightings` of `vehicle` become a new vehicle, whose prototypes are made from their features.

    The old one's prototypes of its cameras are rebuilt from what stays; those that were enrolled by hand stay.
    Raises Refused for none or all of the sightings, another vehicle's, and where no feature was kept.
    """
    with gallery.transaction() as store:
        row, ids = names.existing(store, vehicle), sorted(set(sightings))
        own = {one.id: one for one in store.sightings(vehicle)}
        if unknown := [id_ for id_ in ids if id_ not in own]:
            raise NotFound(f"'{row.name}' has no sighting {unknown[0]}; 'vreid gallery show' lists its sightings")
        if not ids:
            raise Refused(f"no sighting of '{row.name}' is chosen; 'vreid gallery show' lists its sightings")
        before = _before(store, [row])
        cameras = {one.camera for one in own.values()}
        if len(ids) == len(own) and all(one.view in cameras for one in store.prototypes(vehicle)):
            raise Refused(f"these are all sightings of '{row.name}', and nothing of it would stay; name some of them")
        new = store.new_vehicle_id()
        chosen = names.new(store, new, name)
        kinds = Counter(sorted((own[id_].kind for id_ in ids), key=lambda kind: kind or ""))
        kind = max(kinds, key=lambda one: kinds[one])
        created = min(own[id_].at for id_ in ids)
        store.add_vehicle(VehicleRow(new, chosen, name is not None, created, kind))
        store.move_sightings(vehicle, new, ids)
        if not rebuild(store, gallery.rule, new):
            fix = "'vreid gallery reindex --model MODEL --out NEW.db' makes them from the pictures"
            raise Refused(f"these sightings of '{row.name}' hold no feature to find a vehicle by; {fix}")
        rebuild(store, gallery.rule, vehicle, cameras)
        undo = {**before, "after": _prototype_ids(store, [vehicle, new])}
        detail = {"vehicles": [vehicle, new], "names": [row.name, chosen], "sightings": ids, "undo": undo}
        change = store.add_change(gallery.who, "split", vehicle, detail)
    return Edited(change, new, len(ids))


def undo(gallery: Gallery, change: int | None = None, own: bool = False) -> Change:
    """Take back the change of that id, or the last one, with `own` the last one of `gallery.who`, unless what a person did after
    it is final. Returns what was taken back, with the change that took it back in `undone`.

    Names, ids, prototypes and the vehicles of sightings are what they were. Later sightings stay with the vehicle that
    stays, and so do the prototypes that they added; what they averaged into older prototypes is lost. Raises Refused,
    with nothing changed, where there is no such change, where what undoing needs was deleted, and where a vehicle or
    a name that it needs is gone or taken.
    """
    with gallery.transaction() as store:
        every = store.changes()
        done = _change_to_undo([row for row in every if row.who == gallery.who] if own else every, change)
        if done.undone:
            raise Refused(f"change {done.id} is undone already, by change {done.undone}; do it again by hand")
        if done.undo_data is None:
            raise Refused(f"change {done.id} can no longer be undone: what it needs was deleted; do it by hand")
        if not can_be_read(done, gallery.about.dim):
            fix = "drop it with 'vreid gallery check --repair'"
            raise GalleryDamaged(f"the undo data of change {done.id} of {gallery.name} is damaged; {fix}")
        _refuse_later(every, done)
        if done.verb == "rename":
            _undo_rename(store, done, done.undo_data)
        elif done.verb not in ANSWERS:
            home, vehicles = (_undo_merge if done.verb == "merge" else _undo_split)(store, done, done.undo_data)
            _restore(store, gallery, done.undo_data, home, vehicles)
            if done.verb == "split":
                store.delete_vehicle(vehicles[1])
        detail = {"of": done.id, "verb": done.verb, "vehicles": done.detail.get("vehicles", [done.vehicle])}
        row = store.add_change(gallery.who, "undo", done.vehicle, detail)
        store.mark_undone(done.id, row)
        for part in reversed(done.undo_data["changes"] if done.verb in ANSWERS else ()):
            undo(gallery, part)
    return replace(done, undone=row)


def _pool(store: Store, gallery: Gallery, kept: int, others: Sequence[int]) -> None:
    """The prototypes of all stand for `kept`: near ones of one view averaged, the lightest dropped."""
    every = {vehicle: store.prototypes(vehicle) for vehicle in (kept, *others)}
    pool = every[kept]
    for vehicle in others:
        for prototype in every[vehicle]:
            pool = with_prototype(pool, prototype, gallery.rule.above)
    gone = {prototype.id for prototype in surplus(pool, gallery.rule.most)}
    staying = {prototype.id: prototype for prototype in pool if prototype.id not in gone}
    for vehicle, prototypes in every.items():
        store.delete_prototypes([old.id for old in prototypes if old.id not in staying])
        if vehicle != kept:
            store.move_prototypes(vehicle, kept)
        for old in prototypes:
            if (new := staying.get(old.id, old)) is not old:
                store.update_prototype(new)


# What undoing needs: the rows as they were, as lists in this order; bytes are base64. Schema 2 had fewer columns of vehicles.
_VEHICLE = ("id", "name", "key", "named", "created", "kind", "pictured", "thumbnail")
_VEHICLE_2 = ("id", "name", "created", "kind", "thumbnail")


# The same cells, checked strictly, so that undoing a damaged change makes nothing worse.
def _is_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


_Id = Annotated[int, Field(ge=1, lt=1 << 63)]
_Flag = Annotated[int, Field(ge=0, le=1)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Base64 = Annotated[str, AfterValidator(_is_base64)]
_VehicleCells = tuple[_Id, str, str, _Flag | bool, _Number, str | None, _Number | None, _Base64 | None]
_VehicleCells2 = tuple[_Id, str, _Number, str | None, _Base64 | None]
_PrototypeCells = tuple[_Id, _Id, str, _Base64, Annotated[_Number, Field(gt=0)], _Id]


class _Data(BaseModel):
    model_config = ConfigDict(strict=True)


class _Split(_Data):
    vehicles: list[_VehicleCells | _VehicleCells2]
    prototypes: list[_PrototypeCells]
    after: list[_Id]


class _Merge(_Split):
    sightings: dict[str, list[_Id]]


class _Answer(_Data):
    changes: list[_Id]


class _Rename(_Data):
    name: str
    named: _Flag | bool | None = None


def _before(store: Store, rows: Sequence[VehicleRow]) -> dict[str, list[list[Any]]]:
    """The rows of vehicles, by id, and of their prototypes, as they are."""
    kept = sorted(((one.id, row.id, one) for row in rows for one in store.prototypes(row.id)), key=lambda each: each[0])
    prototypes = [[id_, vehicle, one.view, one.feature.tobytes(), one.weight, one.count] for id_, vehicle, one in kept]
    vehicles = [
        [row.id, row.name, names.key_of(row.name), int(row.named), row.created, row.kind, row.pictured, row.thumbnail]
        for row in sorted(rows, key=lambda row: row.id)
    ]
    return {"vehicles": vehicles, "prototypes": prototypes}


def _vehicle_before(cells: Sequence[Any]) -> VehicleRow:
    """A vehicle's row that the audit keeps; one of schema 2 gets the columns of 3 as an upgrade gives them."""
    row = dict(zip(_VEHICLE if len(cells) == len(_VEHICLE) else _VEHICLE_2, cells, strict=True))
    name = nfc(row["name"])
    row.setdefault("named", names.was_named(name))
    row.setdefault("pictured", names.was_pictured(name, row["created"], row["thumbnail"]))
    jpeg = None if row["thumbnail"] is None else b64decode(row["thumbnail"])
    return VehicleRow(row["id"], name, bool(row["named"]), row["created"], row["kind"], row["pictured"], jpeg)


def _prototype_ids(store: Store, vehicles: Sequence[int]) -> list[int]:
    return sorted(prototype.id for vehicle in vehicles for prototype in store.prototypes(vehicle))


def _change_to_undo(every: Sequence[Change], change: int | None) -> Change:
    if change is None:
        open_ = [row for row in every if row.verb in UNDOABLE and not row.undone and row.undo_data is not None]
        if not open_:
            raise NotFound("there is nothing to undo; the audit lists what was changed, and by whom")
        _refuse_final(every, open_[-1])
        return open_[-1]
    for row in every:
        if row.id == change:
            if row.verb not in UNDOABLE:
                raise Refused(f"change {change} ({row.verb}) is final; only {', '.join(UNDOABLE)} are undone")
            return row
    raise NotFound(f"there is no change {change}; the audit lists them")


def _refuse_final(every: Sequence[Change], done: Change) -> None:
    """Who asks for the last change does not mean an older one than what a person did last and for good."""
    final = [row for row in every if row.id > done.id and row.verb in FINAL and not row.who.startswith("run:")]
    if final:
        last = f"the last change, {final[-1].id} ({final[-1].verb}), is final"
        raise Refused(f"{last}; undo change {done.id} by its id to take the {done.verb} before it back")


def _refuse_later(every: Sequence[Change], done: Change) -> None:
    """Changes of one vehicle are taken back in turn, the last first."""
    if done.verb == "rename" or done.verb in ANSWERS:  # an answer's edits are looked at when they are undone
        return
    vehicles = set(done.detail["vehicles"])
    for later in every:
        if later.id <= done.id or later.undone or later.verb not in UNDOABLE:
            continue
        others = set(later.detail.get("vehicles", ()))
        if later.verb == "rename":  # of a vehicle that would vanish
            others = {later.vehicle} if done.verb == "split" and later.vehicle == done.detail["vehicles"][1] else set()
        if vehicles & others:
            raise Refused(f"change {later.id} ({later.verb}) stands on change {done.id}; undo {later.id} first")


Undone = tuple[int, list[int]]  # the vehicle that stays, and those whose prototypes are to be put back


def _undo_merge(store: Store, done: Change, data: Any) -> Undone:
    kept, *others = done.detail["vehicles"]
    now = names.existing(store, kept)
    for cells in data["vehicles"]:
        row = _vehicle_before(cells)
        if row.id == kept:
            named = row.named or now.name != row.name  # somebody renamed it since
            store.update_vehicle(replace(now, kind=row.kind, named=named))
        else:
            _refuse_taken(store, row.name)
            store.add_vehicle(row)
    for vehicle in others:
        store.move_sightings(kept, vehicle, data["sightings"][str(vehicle)])
    return kept, [kept]


def _undo_split(store: Store, done: Change, data: Any) -> Undone:
    old, new = done.detail["vehicles"]
    names.existing(store, old)
    names.existing(store, new)
    store.move_sightings(new, old)
    return old, [old, new]


def _undo_rename(store: Store, done: Change, data: Any) -> None:
    row, now = names.existing(store, done.vehicle or 0), done.detail["to"]
    if row.name != now:
        raise Refused(f"vehicle {row.id} is no longer called '{now}'; undo the later renaming first")
    old = data["name"]
    if names.key_of(old) != names.key_of(now):
        _refuse_taken(store, old)
    store.update_vehicle(replace(row, name=old, named=bool(data.get("named", names.was_named(old)))))


def _refuse_taken(store: Store, name: str) -> None:
    if store.vehicle_with_key(names.key_of(name)) is not None:
        raise NameTaken(f"the name '{name}' was given to another vehicle since; rename that one first")


def _restore(store: Store, gallery: Gallery, data: Any, home: int, vehicles: Sequence[int]) -> None:
    """The prototypes as they were before; those that `vehicles` got since then stay, with `home`."""
    store.delete_prototypes(data["after"])
    for vehicle in vehicles:
        if vehicle != home:
            store.move_prototypes(vehicle, home)
    for id_, vehicle, view, feature, weight, count in data["prototypes"]:
        row = np.frombuffer(b64decode(feature), "<f4").astype(np.float32)
        store.add_prototype(vehicle, Prototype(id_, view, row, weight, count), same_id=True)
    store.delete_prototypes([extra.id for extra in surplus(store.prototypes(home), gallery.rule.most)])


def can_be_read(change: Change, dim: int) -> bool:
    """Whether the undo data of `change`, of prototypes of `dim`, is what a merge, a split or a renaming writes."""
    detail, data = change.detail, change.undo_data
    vehicles = detail.get("vehicles", [])
    try:
        if change.verb == "rename":
            _read(_Rename, data)
            return isinstance(detail.get("to"), str) and change.vehicle is not None
        if change.verb in ANSWERS:
            return all(one < change.id for one in _read(_Answer, data).changes)
        if change.verb == "split":
            rows = _read(_Split, data)
            there = {cells[0] for cells in rows.vehicles}
            return len(vehicles) == 2 and there == {vehicles[0]} and _are_features(rows, dim)
        rows = _read(_Merge, data)
        there = {cells[0] for cells in rows.vehicles}
        moved = {*rows.sightings} == {str(vehicle) for vehicle in vehicles[1:]}
        return len(vehicles) > 1 and there == set(vehicles) and moved and _are_features(rows, dim)
    except (ValidationError, ValueError, OverflowError, RecursionError):
        return False


def _read(model: type[Any], data: Any) -> Any:
    return model.model_validate_json(json.dumps(data))  # which takes a list for a tuple


def _are_features(rows: _Split, dim: int) -> bool:
    blobs = [b64decode(cells[3]) for cells in rows.prototypes]
    if {len(blob) for blob in blobs} - {4 * dim}:
        return False
    lengths = [float(np.linalg.norm(np.frombuffer(blob, "<f4"))) for blob in blobs]
    return all(abs(length - 1) <= 1e-3 for length in lengths)
