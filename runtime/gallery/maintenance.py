"""Maintenance of a gallery: purges by its retention, rebuilt prototypes, embedding again for another model, repairs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.gallery.clean import erase_traces
from vreid.runtime.gallery.doubt_rows import ANSWERS, forget_judged
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.kept_answers import forget_answers
from vreid.runtime.gallery.opening import edit_gallery, read_gallery
from vreid.runtime.gallery.prototypes import LIGHTEST, rebuild, unit, with_feature
from vreid.runtime.gallery.records import ENROLLED, Prototype, SightingRow, Stats, VehicleRow
from vreid.runtime.gallery.sqlite.check import check_gallery, repaired_rows
from vreid.runtime.gallery.sqlite.database import new_gallery
from vreid.runtime.gallery.store import Store
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery
from vreid.runtime.records import Floats
from vreid.runtime.site_evidence import SITE_THRESHOLD, Evidence, evidence_of

_BATCH = 32

_Embed = Callable[[Sequence[Image]], Floats]  # N pictures -> (N, D)
__all__ = [
    "Purged",
    "Reembedded",
    "backed_up",
    "check_gallery",
    "forget_threshold",
    "freeze_threshold",
    "purge",
    "purge_due",
    "rebuild_all",
    "reembedded",
    "repaired",
    "retain",
]


def repaired(path: Path) -> list[str]:
    """Repair the gallery at `path`; what was done, a sentence each.

    What cannot be recovered is dropped and listed. A file with damaged pages is kept as PATH.damaged.
    Raises Refused for another writer, and where nothing can be read.
    """
    done, broken = repaired_rows(path.resolve())
    with edit_gallery(path) as gallery, gallery.transaction() as store:
        done += [_rebuilt(store, gallery, vehicle) for vehicle in sorted(broken)]
        if done:
            store.add_change(gallery.who, "repair", None, {"done": done})
    return done


def rebuild_all(gallery: Gallery) -> tuple[int, int]:
    """Rebuild every vehicle's prototypes of cameras from its sightings: (vehicles, prototypes) that were made."""
    with gallery.transaction() as store:
        counts = [rebuild(store, gallery.rule, vehicle) for vehicle in store.vehicle_ids()]
        vehicles, prototypes = sum(count > 0 for count in counts), sum(counts)
        store.add_change(gallery.who, "reindex", None, {"rebuilt": vehicles, "prototypes": prototypes})
    return vehicles, prototypes


@dataclass(frozen=True)
class Reembedded:
    """How many vehicles and pictures were embedded again, and how many vehicles had no picture and cannot be found."""

    vehicles: int
    pictures: int
    without: int


def reembedded(
    old: Gallery, new: Gallery, embed: _Embed, advance: Callable[[int], object] = lambda _: None
) -> Reembedded:
    """Copy `old` into the empty gallery `new` of another model, features made of the pictures that were kept.

    These are JPEGs of at most 160 pixels, one a sighting and one an enrolment: an approximation of what the model makes
    of the crops themselves. Ids, names and sightings stay; a vehicle without any picture has no prototype.
    """
    counts = []
    with new.transaction() as store, old.reading() as source:
        for row in source.vehicle_rows():
            store.add_vehicle(row)
            counts.append(_reembedded(source, store, new, row, embed))
            advance(1)
        if (seconds := source.retention()) is not None:
            store.set_retention(seconds)
        store.reserve_vehicle_ids(source.last_vehicle_id())
        done = Reembedded(sum(count > 0 for count in counts), sum(counts), counts.count(0))
        detail = {"from": old.about.fingerprint, "embedded": done.vehicles, "pictures": done.pictures}
        store.add_change(new.who, "reembed", None, {**detail, "without": done.without})
    return done


def _reembedded(source: Store, store: Store, new: Gallery, vehicle: VehicleRow, embed: _Embed) -> int:
    """One vehicle's sightings and prototypes; how many pictures were embedded."""
    made: list[Prototype] = []
    count = 0
    own = _image(vehicle.thumbnail)
    # A run enrols by the picture of a sighting, which is among the sightings as it is.
    if own is not None and all(row.thumbnail != vehicle.thumbnail for row in source.sighting_rows(vehicle.id)):
        made, count = with_feature([], ENROLLED, unit(embed([own]), new.about.dim)[0], 1.0, new.rule), 1
    batch: list[SightingRow] = []
    for row in source.sighting_rows(vehicle.id):
        batch.append(row)
        if len(batch) == _BATCH:
            made, count = _sightings(store, new, vehicle.id, batch, embed, made, count)
            batch = []
    made, count = _sightings(store, new, vehicle.id, batch, embed, made, count)
    for prototype in made:
        store.add_prototype(vehicle.id, prototype)
    return count


def _sightings(
    store: Store,
    new: Gallery,
    vehicle: int,
    rows: Sequence[SightingRow],
    embed: _Embed,
    made: list[Prototype],
    count: int,
) -> tuple[list[Prototype], int]:
    """Copy sightings with features of their pictures, which join the prototypes `made`; and both counts."""
    images = [_image(row.thumbnail) for row in rows]
    readable = [image for image in images if image is not None]
    features = iter(unit(embed(readable), new.about.dim)) if readable else iter(())
    for row, image in zip(rows, images, strict=True):
        half = None
        if image is not None:
            feature: Floats = next(features)
            made = with_feature(made, row.camera, feature, max(row.quality, LIGHTEST), new.rule)
            half = feature.astype(np.float16)
        store.add_sighting(vehicle, replace(row, feature=half))
    return made, count + len(readable)


def _rebuilt(store: Store, gallery: Gallery, vehicle: int) -> str:
    """Rebuild a vehicle that lost its last prototype from its sightings; the sentence about it."""
    if store.prototypes(vehicle):
        return f"vehicle {vehicle} keeps the prototypes that were valid"
    count = rebuild(store, gallery.rule, vehicle)
    if count:
        return f"vehicle {vehicle} has {count} prototypes made from its sightings"
    return f"vehicle {vehicle} has no prototype left and cannot be found; enrol it again"


def _image(jpeg: bytes | None) -> Image | None:
    if not jpeg:
        return None
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)


def backed_up(place: GalleryPlace, out: Path) -> Stats:
    """Copy the gallery at `place`, of one moment, to `out`, which appears when it is complete; whoever writes meanwhile goes on.

    Returns what is in it. Raises Refused where `out` is there already or cannot be written.
    """
    if out.exists():
        raise Refused(f"{out} is there already; name a new file for the backup")
    with read_gallery(place) as gallery, new_gallery(out) as temporary, gallery.reading() as store:
        done = store.stats()
        store.backup(temporary)
    return done


SHORTEST_S = 60.0


@dataclass(frozen=True)
class Purged:
    """What a purge deleted; `pictures` are enrolment pictures of vehicles that stay, `kept` files of kept pictures; `change` is the
    audit's row, None where nothing of the gallery was deleted."""

    sightings: int
    vehicles: int
    pictures: int
    kept: int = 0
    change: int | None = None


def purge(gallery: Gallery, before: float, vehicles: bool = False) -> Purged:
    """Delete the sightings that ended before `before` (seconds since 1970), and vehicles of which nothing is left.

    A vehicle that nobody has named goes with its last sighting; with `vehicles` a named one that has none left goes too
    if it was written down before `before`; what people answered about vehicles that go is forgotten. A vehicle that stays
    loses the picture that a run took when it met it first, when that is older; one that somebody gave stays. Prototypes of
    vehicles that stay are kept. What undoing older changes needs is deleted, and so are older kept pictures, those of
    unknown vehicles too.
    Deleted bytes are overwritten, in the file here and in the write-ahead log as soon as no reader needs it; where vehicles are
    deleted, index files go too.
    """
    with gallery.transaction() as store:
        sightings = store.delete_sightings(before)
        gone = store.vehicles_without_sightings(before, named=vehicles)
        for vehicle in gone:
            store.delete_vehicle(vehicle)
        forget_judged(store, gone, purged=True)
        store.forget_changes(gone, ANSWERS)
        pictures = store.delete_run_pictures(before)
        store.trim_changes(before)
        forget_answers(store)
        change = None
        if sightings or gone or pictures:
            detail = {"before": before, "sightings": sightings, "removed": len(gone), "pictures": pictures}
            change = store.add_change(gallery.who, "purge", None, detail)
    kept = KeptFolder(folder_of_gallery(gallery.path)).remove_before(before)  # what is not committed keeps its files
    if gone:
        erase_traces(gallery)
    else:
        gallery.wipe()
    return Purged(sightings, len(gone), pictures, kept, change)


def retain(gallery: Gallery, seconds: float | None) -> int:
    """Keep sightings for that long from now on; None: for ever. Nothing is deleted before the next purge. The audit's row."""
    if seconds is not None and not seconds >= SHORTEST_S:
        raise Refused(
            f"sightings cannot be kept for {seconds:g} s only; keep them for at least {SHORTEST_S:g} s, or 'off'"
        )
    with gallery.transaction() as store:
        store.set_retention(seconds)
        return store.add_change(gallery.who, "retain", None, {"seconds": seconds})


def freeze_threshold(gallery: Gallery, frozen: bool) -> bool:
    """Let runs learn nothing more about this site's threshold, or learn again; False: it was so already.

    Raises Refused where what is kept is damaged.
    """
    with gallery.transaction() as store:
        text = store.setting(SITE_THRESHOLD)
        evidence = Evidence() if text is None else evidence_of(text, gallery.about.dim)
        if evidence.frozen == frozen:
            return False
        changed = replace(evidence, frozen=frozen)
        store.set_setting(SITE_THRESHOLD, None if changed.empty else changed.as_text())
        detail = {"pairs of cameras": len(evidence.strangers)}
        store.add_change(gallery.who, "freeze threshold" if frozen else "unfreeze threshold", None, detail)
    return True


def forget_threshold(gallery: Gallery) -> bool:
    """Forget what was learnt about this site's threshold, damaged or not, overwritten in the file; False: nothing was."""
    with gallery.transaction() as store:
        if store.setting(SITE_THRESHOLD) is None:
            return False
        store.set_setting(SITE_THRESHOLD, None)
        store.add_change(gallery.who, "forget threshold", None, {})
    gallery.wipe()
    return True


def purge_due(gallery: Gallery, now: float | None = None) -> Purged | None:
    """Purge by the gallery's own retention; None where it keeps everything. For a live run, every hour or so."""
    span = gallery.retention()
    return None if span is None else purge(gallery, (time.time() if now is None else now) - span)
