"""Takes a merge, a split or a renaming back: rows as they were, unless something later stands on them."""

from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from vreid.models.errors import Refused
from vreid.runtime.camera_names import nfc
from vreid.runtime.gallery import audit, names
from vreid.runtime.gallery.audit import UNDOABLE, Change
from vreid.runtime.gallery.edits import PROTOTYPE, VEHICLE
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.prototypes import surplus
from vreid.runtime.gallery.sqlite.upgrade import was_named, was_pictured


def undo(gallery: Gallery, change: int | None = None) -> Change:
    """Take back the change of that id, or the last one that can be. Returns what was taken back.

    Names, ids, prototypes and the vehicles of sightings are what they were. Sightings of later stay with the vehicle that
    stays, and so do the prototypes that they added; what they averaged into older prototypes is lost. Raises Refused,
    with nothing changed, where there is no such change, where what undoing needs was forgotten, and where a vehicle or
    a name that it needs is gone or taken.
    """
    with gallery.transaction():
        done = _meant(gallery, change)
        if done.undone:
            raise Refused(f"change {done.id} is undone already, by change {done.undone}; do it again by hand")
        if done.kept is None:
            raise Refused(f"change {done.id} can no longer be undone: what it needs was forgotten; do it by hand")
        _refuse_later(gallery, done)
        {"merge": _unmerge, "split": _unsplit, "rename": _unname}[done.verb](gallery, done)
        detail = {"of": done.id, "verb": done.verb, "vehicles": done.detail.get("vehicles", [done.vehicle])}
        by = audit.noted(gallery.run, gallery.who, "undo", done.vehicle, detail)
        gallery.run("UPDATE audit SET undone = ?, detail = json_remove(detail, '$.undo') WHERE id = ?", by, done.id)
    return done


def _meant(gallery: Gallery, change: int | None) -> Change:
    every = audit.changes(gallery.run)
    if change is None:
        open_ = [row for row in every if row.verb in UNDOABLE and not row.undone and row.kept is not None]
        if not open_:
            raise Refused("there is nothing to undo; 'vreid gallery audit' lists what was changed")
        return open_[-1]
    for row in every:
        if row.id == change:
            if row.verb not in UNDOABLE:
                raise Refused(f"change {change} ({row.verb}) is final; only {', '.join(UNDOABLE)} are undone")
            return row
    raise Refused(f"there is no change {change}; 'vreid gallery audit' lists them")


def _refuse_later(gallery: Gallery, done: Change) -> None:
    """Changes of one vehicle are taken back in turn, the last first."""
    if done.verb == "rename":
        return
    ours = set(done.detail["vehicles"])
    for later in audit.changes(gallery.run):
        if later.id <= done.id or later.undone or later.verb not in UNDOABLE:
            continue
        theirs = set(later.detail.get("vehicles", ()))
        if later.verb == "rename":  # of a vehicle that would vanish
            theirs = {later.vehicle} if done.verb == "split" and later.vehicle == done.detail["vehicles"][1] else set()
        if ours & theirs:
            raise Refused(f"change {later.id} ({later.verb}) stands on change {done.id}; undo {later.id} first")


def _unmerge(gallery: Gallery, done: Change) -> None:
    kept, *others = done.detail["vehicles"]
    gallery.name_of(kept)
    rows = [_vehicle(row) for row in _kept(done)["vehicles"]]
    for row in rows:
        if row["id"] == kept:
            now = gallery.run("SELECT name FROM vehicles WHERE id = ?", kept).fetchone()
            named = row["named"] or now != (row["name"],)  # somebody renamed it since
            gallery.run("UPDATE vehicles SET kind = ?, named = ? WHERE id = ?", row["kind"], named, kept)
            continue
        _refuse_taken(gallery, row["name"])
        row["thumbnail"] = _bytes(row["thumbnail"])
        marks = ", ".join("?" * len(VEHICLE))
        gallery.run(f"INSERT INTO vehicles ({', '.join(VEHICLE)}) VALUES ({marks})", *row.values())
    for vehicle in others:
        for sighting in _kept(done)["sightings"][str(vehicle)]:
            gallery.run("UPDATE sightings SET vehicle = ? WHERE id = ? AND vehicle = ?", vehicle, sighting, kept)
    _restore(gallery, done, kept, [kept])


def _unsplit(gallery: Gallery, done: Change) -> None:
    old, new = done.detail["vehicles"]
    for vehicle in (old, new):
        gallery.name_of(vehicle)
    gallery.run("UPDATE sightings SET vehicle = ? WHERE vehicle = ?", old, new)
    _restore(gallery, done, old, [old, new])
    gallery.run("DELETE FROM vehicles WHERE id = ?", new)


def _unname(gallery: Gallery, done: Change) -> None:
    vehicle, now = done.vehicle or 0, done.detail["to"]
    if gallery.name_of(vehicle) != now:
        raise Refused(f"vehicle {vehicle} is no longer called '{now}'; undo the later renaming first")
    old = _kept(done)["name"]
    if names.key_of(old) != names.key_of(now):
        _refuse_taken(gallery, old)
    named = _kept(done).get("named", was_named(old))
    statement = "UPDATE vehicles SET name = ?, key = ?, named = ? WHERE id = ?"
    gallery.run(statement, old, names.key_of(old), named, vehicle)


def _refuse_taken(gallery: Gallery, name: str) -> None:
    if gallery.run("SELECT 1 FROM vehicles WHERE key = ?", names.key_of(name)).fetchone():
        raise Refused(f"the name '{name}' was given to another vehicle since; rename that one first")


def _vehicle(row: Sequence[Any]) -> dict[str, Any]:
    """A vehicle's row that an audit keeps; one of schema 2 gets the columns of 3 as an upgrade gives them."""
    if len(row) == len(VEHICLE):
        return dict(zip(VEHICLE, row, strict=True))
    cells = dict(zip(("id", "name", "created", "kind", "thumbnail"), row, strict=True))
    name = nfc(cells["name"])
    pictured = was_pictured(name, cells["created"], cells["thumbnail"])
    whole = {**cells, "name": name, "key": names.key_of(name), "named": int(was_named(name)), "pictured": pictured}
    return {column: whole[column] for column in VEHICLE}


def _restore(gallery: Gallery, done: Change, home: int, vehicles: Sequence[int]) -> None:
    """The prototypes as they were before; those that `vehicles` were taught since then stay, with `home`."""
    for id_ in _kept(done)["after"]:
        gallery.run("DELETE FROM prototypes WHERE id = ?", id_)
    for vehicle in vehicles:
        gallery.run("UPDATE prototypes SET vehicle = ? WHERE vehicle = ? AND vehicle != ?", home, vehicle, home)
    for row in _kept(done)["prototypes"]:
        cells = dict(zip(PROTOTYPE, row, strict=True))
        cells["feature"] = _bytes(cells["feature"])
        marks = ", ".join("?" * len(PROTOTYPE))
        gallery.run(f"INSERT INTO prototypes ({', '.join(PROTOTYPE)}) VALUES ({marks})", *cells.values())
    for extra in surplus(gallery.prototypes(home), gallery.most):
        gallery.run("DELETE FROM prototypes WHERE id = ?", extra.id)


def _kept(done: Change) -> Any:
    return done.kept


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else b64decode(text)
