"""What a person corrects: two vehicles that are one, one vehicle that is two. Both can be undone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vreid.models.errors import Refused
from vreid.runtime.gallery import audit, names, writing
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.prototypes import Prototype, home_of, merged, surplus
from vreid.runtime.gallery.rebuilding import rebuild

VEHICLE = ("id", "name", "key", "named", "created", "kind", "pictured", "thumbnail")
PROTOTYPE = ("id", "vehicle", "view", "feature", "weight", "count")


@dataclass(frozen=True)
class Edited:
    """What was done: the audit's row, the vehicle that it is about, and how many sightings changed theirs."""

    change: int
    vehicle: int
    sightings: int


def merge(gallery: Gallery, kept: int, others: Sequence[int]) -> Edited:
    """All that belongs to `others` belongs to `kept` from now on, which keeps its id and name; the others are no more.

    Raises Refused for a vehicle that is not there or that is named twice.
    """
    if not others or len({kept, *others}) != 1 + len(others):
        raise Refused("a merge needs two vehicles or more, each named once; name the one to keep first")
    with gallery.transaction():
        called = {vehicle: gallery.name_of(vehicle) for vehicle in (kept, *others)}
        before = _rows(gallery, list(called))
        moved = {str(vehicle): _sightings(gallery, vehicle) for vehicle in others}
        _pool(gallery, kept, others)
        for vehicle in others:
            gallery.run("UPDATE sightings SET vehicle = ? WHERE vehicle = ?", kept, vehicle)
            gallery.run(
                "UPDATE vehicles SET kind = coalesce(kind, (SELECT kind FROM vehicles WHERE id = ?1)),"
                " named = max(named, (SELECT named FROM vehicles WHERE id = ?1)) WHERE id = ?2",
                vehicle, kept,
            )  # fmt: skip
            gallery.run("DELETE FROM vehicles WHERE id = ?", vehicle)
        count = sum(len(ids) for ids in moved.values())
        undo = {**before, "after": _prototype_ids(gallery, [kept]), "sightings": moved}
        detail = {"vehicles": list(called), "names": list(called.values()), "sightings": count, "undo": undo}
        change = audit.noted(gallery.run, gallery.who, "merge", kept, detail)
    return Edited(change, kept, count)


def split(gallery: Gallery, vehicle: int, sightings: Sequence[int], name: str | None = None) -> Edited:
    """`sightings` of `vehicle` become a new vehicle, whose prototypes are made from their features.

    The old one's prototypes of its cameras are made anew from what stays; those that were enrolled by hand stay.
    Raises Refused for none or all of the sightings, another vehicle's, and where no feature was kept.
    """
    with gallery.transaction():
        called, ids = gallery.name_of(vehicle), sorted(set(sightings))
        own = set(_sightings(gallery, vehicle))
        if strange := [id_ for id_ in ids if id_ not in own]:
            raise Refused(f"'{called}' has no sighting {strange[0]}; 'vreid gallery show' lists its sightings")
        if not ids:
            raise Refused(f"no sighting of '{called}' is meant; 'vreid gallery show' lists its sightings")
        before = _rows(gallery, [vehicle])
        cameras = {row[0] for row in gallery.run("SELECT DISTINCT camera FROM sightings WHERE vehicle = ?", vehicle)}
        if len(ids) == len(own) and all(prototype.view in cameras for prototype in gallery.prototypes(vehicle)):
            raise Refused(f"these are all sightings of '{called}', and nothing of it would stay; name some of them")
        new = writing.new_id(gallery.run, gallery.path)
        chosen = names.free(gallery.run, names.given(new)) if name is None else names.checked(gallery.run, name)
        gallery.run(
            "INSERT INTO vehicles (id, name, key, named, created) VALUES (?, ?, ?, ?, 0)",
            new, chosen, names.key_of(chosen), name is not None,
        )  # fmt: skip
        for id_ in ids:
            gallery.run("UPDATE sightings SET vehicle = ? WHERE id = ?", new, id_)
        gallery.run(
            "UPDATE vehicles SET created = (SELECT min(seen) FROM sightings WHERE vehicle = ?1), kind = (SELECT kind FROM"
            " sightings WHERE vehicle = ?1 GROUP BY kind ORDER BY count(*) DESC LIMIT 1) WHERE id = ?1",
            new,
        )
        if not rebuild(gallery, new):
            fix = "'vreid gallery reindex --model MODEL --out NEW.db' makes them from the pictures"
            raise Refused(f"these sightings of '{called}' hold no feature to find a vehicle by; {fix}")
        rebuild(gallery, vehicle, cameras)
        undo = {**before, "after": _prototype_ids(gallery, [vehicle, new])}
        detail = {"vehicles": [vehicle, new], "names": [called, chosen], "sightings": ids, "undo": undo}
        change = audit.noted(gallery.run, gallery.who, "split", vehicle, detail)
    return Edited(change, new, len(ids))


def _pool(gallery: Gallery, kept: int, others: Sequence[int]) -> None:
    """The prototypes of all stand for `kept`: near ones of one view averaged, the lightest dropped."""
    pool = gallery.prototypes(kept)
    for prototype in [prototype for vehicle in others for prototype in gallery.prototypes(vehicle)]:
        home = home_of(pool, prototype.view, prototype.feature, gallery.above)
        mean = merged(home, prototype.feature, prototype.weight) if home else None
        if home is None or mean is None:
            pool.append(prototype)
        else:
            mean = replace(mean, count=home.count + prototype.count)
            pool = [mean if old is home else old for old in pool]
    gone = {prototype.id for prototype in surplus(pool, gallery.most)}
    pool = [prototype for prototype in pool if prototype.id not in gone]
    settle(gallery, kept, pool, _prototype_ids(gallery, [kept, *others]))


def settle(gallery: Gallery, vehicle: int, pool: Sequence[Prototype], ids: Sequence[int]) -> None:
    """Of the prototypes `ids` only those in `pool` are left, as they are there, all of `vehicle`."""
    staying = {prototype.id: prototype for prototype in pool}
    for id_ in ids:
        if id_ not in staying:
            gallery.run("DELETE FROM prototypes WHERE id = ?", id_)
            continue
        new = staying[id_]
        gallery.run(
            "UPDATE prototypes SET vehicle = ?, feature = ?, weight = ?, count = ? WHERE id = ?",
            vehicle, new.feature.tobytes(), new.weight, new.count, id_,
        )  # fmt: skip


def _rows(gallery: Gallery, vehicles: Sequence[int]) -> dict[str, list[list[Any]]]:
    """The rows of vehicles and of their prototypes, as they are."""
    marks = ", ".join("?" * len(vehicles))
    found = gallery.run(f"SELECT {', '.join(VEHICLE)} FROM vehicles WHERE id IN ({marks})", *vehicles).fetchall()
    query = f"SELECT {', '.join(PROTOTYPE)} FROM prototypes WHERE vehicle IN ({marks}) ORDER BY id"
    return {
        "vehicles": [list(row) for row in found],
        "prototypes": [list(row) for row in gallery.run(query, *vehicles)],
    }


def _sightings(gallery: Gallery, vehicle: int) -> list[int]:
    return [row[0] for row in gallery.run("SELECT id FROM sightings WHERE vehicle = ? ORDER BY id", vehicle)]


def _prototype_ids(gallery: Gallery, vehicles: Sequence[int]) -> list[int]:
    marks = ", ".join("?" * len(vehicles))
    return [
        row[0] for row in gallery.run(f"SELECT id FROM prototypes WHERE vehicle IN ({marks}) ORDER BY id", *vehicles)
    ]
