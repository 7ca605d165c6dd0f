"""Makes anew what is derived: the index files beside a gallery, prototypes, or a whole gallery for another model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.gallery import audit, writing
from vreid.runtime.gallery.edits import VEHICLE
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.index.table import INDEXES, file_of
from vreid.runtime.gallery.prototypes import unit
from vreid.runtime.gallery.rebuilding import LIGHTEST, insert, rebuild, taught
from vreid.runtime.records import Floats

BATCH = 32
VIEW = "enrolled"  # the view of prototypes that come from no camera

Embed = Callable[[Sequence[Image]], Floats]  # N pictures -> (N, D)


@dataclass(frozen=True)
class Reembedded:
    """How many vehicles and pictures were embedded anew, and how many vehicles had no picture and cannot be found."""

    vehicles: int
    pictures: int
    without: int


def index_files(path: Path) -> list[Path]:
    """The index files that lie beside the gallery at `path`."""
    return [file for file in (file_of(path, kind) for kind in sorted(INDEXES)) if file.is_file()]


def drop_indexes(path: Path) -> list[Path]:
    """Remove the index files beside the gallery; the next search makes them again. Returns those that were there.

    Drafts go too, which a killed process left and which hold features; who is writing one keeps no file this time.
    """
    files = index_files(path)
    drafts = (draft for kind in INDEXES for draft in path.parent.glob(f"{file_of(path, kind).name}.*.new"))
    for file in [*files, *drafts]:
        file.unlink(missing_ok=True)
    return files


def rebuild_all(gallery: Gallery) -> tuple[int, int]:
    """Make every vehicle's prototypes of cameras anew from its sightings: (vehicles, prototypes) that were made."""
    vehicles = prototypes = 0
    with gallery.transaction():
        rows = gallery.run("SELECT DISTINCT vehicle FROM sightings WHERE feature NOTNULL ORDER BY vehicle").fetchall()
        for (vehicle,) in rows:
            made = rebuild(gallery, vehicle)
            vehicles += made > 0
            prototypes += made
        audit.noted(gallery.run, gallery.who, "reindex", None, {"rebuilt": vehicles, "prototypes": prototypes})
    return vehicles, prototypes


def reembedded(
    old: Gallery, new: Gallery, embed: Embed, advance: Callable[[int], object] = lambda _: None
) -> Reembedded:
    """Copy `old` into the empty gallery `new` of another model, features made of the pictures that were kept.

    These are JPEGs of at most 160 pixels, one a sighting and one an enrolment: an approximation of what the model says
    of the crops themselves. Ids, names and sightings stay; a vehicle without any picture has no prototype.
    """
    done = [0, 0, 0]
    with new.transaction(), old.reading():
        query = f"SELECT {', '.join(VEHICLE)} FROM vehicles ORDER BY id"
        for vehicle in old.run(query):
            marks = ", ".join("?" * len(VEHICLE))
            new.run(f"INSERT INTO vehicles ({', '.join(VEHICLE)}) VALUES ({marks})", *vehicle)
            pictures = _vehicle(old, new, vehicle[0], vehicle[-1], embed)
            done = [done[0] + (pictures > 0), done[1] + pictures, done[2] + (pictures == 0)]
            advance(1)
        for key, value in old.run("SELECT key, value FROM meta WHERE key = 'retention'"):
            new.run("INSERT INTO meta VALUES (?, ?)", key, value)
        (last,) = old.run("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'vehicles'").fetchone()
        new.run("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'vehicles'", last)
        detail = {"from": old.about.fingerprint, "embedded": done[0], "pictures": done[1], "without": done[2]}
        audit.noted(new.run, new.who, "reembed", None, detail)
    return Reembedded(*done)


def _vehicle(old: Gallery, new: Gallery, vehicle: int, enrolment: bytes | None, embed: Embed) -> int:
    """One vehicle's sightings and prototypes; how many pictures were embedded."""
    made, count = [], 0
    own = _decoded(enrolment)
    # A run enrols by the picture of a sighting, which is among the sightings as it is.
    seen = old.run("SELECT 1 FROM sightings WHERE vehicle = ? AND thumbnail = ?", vehicle, enrolment).fetchone()
    if own is not None and not seen:
        made, count = taught([], VIEW, unit(embed([own]), new.about.dim)[0], 1.0, new.most, new.above), 1
    cursor = old.run(f"SELECT {', '.join(writing.COLUMNS)} FROM sightings WHERE vehicle = ? ORDER BY id", vehicle)
    while rows := cursor.fetchmany(BATCH):
        sightings = [dict(zip(writing.COLUMNS, row, strict=True)) for row in rows]
        images = [_decoded(sighting["thumbnail"]) for sighting in sightings]
        whole = [image for image in images if image is not None]
        features = iter(unit(embed(whole), new.about.dim)) if whole else iter(())
        for sighting, image in zip(sightings, images, strict=True):
            sighting["feature"] = None
            if image is not None:
                feature: Floats = next(features)
                weight = max(sighting["quality"], LIGHTEST)
                made = taught(made, sighting["camera"], feature, weight, new.most, new.above)
                sighting["feature"] = feature.astype(np.float16).tobytes()
            new.run(writing.SIGHTING, *sighting.values())
        count += len(whole)
    for prototype in made:
        insert(new, vehicle, prototype)
    return count


def _decoded(jpeg: bytes | None) -> Image | None:
    if not jpeg:
        return None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)
