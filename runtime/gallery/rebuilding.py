"""Prototypes made anew from the features that sightings keep, by the rule that taught the vehicle when it was seen."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.prototypes import Prototype, home_of, merged, surplus, unit
from vreid.runtime.gallery.sqlite.database import damaged
from vreid.runtime.records import Floats

LIGHTEST = 0.01  # a quality of 0 still counts a little


def rebuild(gallery: Gallery, vehicle: int, views: Collection[str] | None = None) -> int:
    """Make the prototypes of `views` (None: of all cameras that saw the vehicle) from its sightings; how many there are.

    Prototypes of other views, such as enrolled ones, stay, and so does a view of which a sighting has no feature: they
    cannot be made again. Belongs inside a transaction.
    """
    rows = gallery.run("SELECT DISTINCT camera, feature NOTNULL FROM sightings WHERE vehicle = ?", vehicle).fetchall()
    wanted = {camera for camera, _ in rows} if views is None else set(views)
    wanted -= {camera for camera, whole in rows if not whole}
    for view in wanted:
        gallery.run("DELETE FROM prototypes WHERE vehicle = ? AND view = ?", vehicle, view)
    room = gallery.most - len(gallery.prototypes(vehicle))
    made: list[Prototype] = []
    for camera, quality, blob in gallery.run(
        "SELECT camera, quality, feature FROM sightings WHERE vehicle = ? AND feature NOTNULL ORDER BY id", vehicle
    ):
        if camera in wanted:
            if not isinstance(blob, bytes) or len(blob) != 2 * gallery.about.dim or not isinstance(quality, float):
                raise damaged(gallery.path, f"the feature of a sighting of vehicle {vehicle}")
            feature = unit(np.frombuffer(blob, "<f2").astype(np.float32)[None], gallery.about.dim)[0]
            made = taught(made, camera, feature, max(quality, LIGHTEST), max(room, 0), gallery.above)
    for prototype in made:
        insert(gallery, vehicle, prototype)
    return len(made)


def taught(
    kept: list[Prototype], view: str, feature: Floats, weight: float, most: int, above: float, count: int = 1
) -> list[Prototype]:
    """`kept` with a unit feature (D,) that was made of `count`: averaged in where it is near, at most `most`.

    A new one gets the next id of the list, which is none of the database.
    """
    home = home_of(kept, view, feature, above)
    mean = merged(home, feature, weight) if home else None
    if home is not None and mean is not None:
        return [replace(mean, count=home.count + count) if old is home else old for old in kept]
    new = Prototype(1 + max((old.id for old in kept), default=0), view, feature, weight, count)
    gone = surplus([*kept, new], most)
    lost = {old.id for old in gone}
    return [old for old in [*kept, new] if old.id not in lost]


def insert(gallery: Gallery, vehicle: int, prototype: Prototype, same_id: bool = False) -> None:
    """Write a prototype down, under its own id or a new one."""
    gallery.run(
        "INSERT INTO prototypes (id, vehicle, view, feature, weight, count) VALUES (?, ?, ?, ?, ?, ?)",
        prototype.id if same_id else None, vehicle, prototype.view, prototype.feature.tobytes(), prototype.weight,
        prototype.count,
    )  # fmt: skip
