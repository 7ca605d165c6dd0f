"""A clean-up in bulk: vehicles that nobody named, found by a rule, and removed for good; and what no deleted vehicle leaves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from vreid.models.errors import Refused
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.index.table import drop_indexes
from vreid.runtime.gallery.records import EVERYTHING, Filter, SightingInfo, is_quality
from vreid.runtime.gallery.removal import note_merged
from vreid.runtime.gallery.store import Store


@dataclass(frozen=True)
class CleanRule:
    """Vehicles that nobody named and whose every sighting `only` lets through; that were seen `once`; no sighting of which has a
    quality of `quality_below` or more. What is not set says nothing; one that was never seen fits no rule."""

    only: Filter = EVERYTHING
    once: bool = False
    quality_below: float | None = None


@dataclass(frozen=True)
class Unnamed:
    """A vehicle that fits a rule: its sightings, the best of their qualities, the end of the last in seconds since 1970."""

    id: int
    name: str
    cameras: Sequence[str]
    sightings: int
    quality: float
    last_at: float


def unnamed(gallery: Gallery, rule: CleanRule) -> list[Unnamed]:
    """The vehicles that fit, by rising id. Raises Refused for a rule that every vehicle fits, and for a quality that is none."""
    if rule == CleanRule():
        raise Refused("say which vehicles are to go: seen once, of poor quality, by camera or by time")
    if rule.quality_below is not None and not is_quality(rule.quality_below):
        raise Refused(
            f"a quality is from 0 to 1, not {rule.quality_below:g}; 'vreid gallery show' has that of each sighting"
        )
    with gallery.reading() as store:
        rows = [(row.id, row.name) for row in store.vehicle_rows(rule.only) if not row.named]
        found = ((vehicle, name, _sightings(store, vehicle, rule)) for vehicle, name in rows)
        return [_fitting(vehicle, name, seen) for vehicle, name, seen in found if seen]


def cleaned(gallery: Gallery, rule: CleanRule) -> list[Unnamed]:
    """Remove the vehicles that fit, with their prototypes, sightings and kept pictures, for good, all or none; one row of the
    audit says how many and by which rule. Raises Refused as `unnamed` does."""
    with gallery.transaction() as store:
        gone = unnamed(gallery, rule)
        if gone:
            note_merged(store, [one.id for one in gone])
            gallery.forget([one.id for one in gone])
            if (outbox := store.outbox()) is not None:
                for one in gone:
                    outbox.add_removal(one.id)
            chosen = {key: value for key, value in asdict(rule.only).items() if value not in ((), None)}
            more = {"once": rule.once, "quality_below": rule.quality_below, **chosen}
            store.add_change(gallery.who, "clean", None, {"removed": len(gone), "rule": more})
    erase_traces(gallery)
    return gone


def erase_traces(gallery: Gallery) -> None:
    """After vehicles were deleted, and that is committed: overwrite what is left of them in the file, and remove the index files,
    which hold features; the next opening makes them again."""
    gallery.wipe()
    forget_indexes(gallery)


def forget_indexes(gallery: Gallery) -> None:
    """After vehicles were deleted: what this process or another one has made or kept of their features is not used again."""
    with gallery.reading():
        gallery.index.forget()
    drop_indexes(gallery.path)


def _sightings(store: Store, vehicle: int, rule: CleanRule) -> Sequence[SightingInfo]:
    """All sightings of a vehicle, if the rule fits them; else none."""
    seen = store.sightings(vehicle)
    if rule.once and len(seen) != 1:
        return ()
    if rule.quality_below is not None and any(one.quality >= rule.quality_below for one in seen):
        return ()
    within = replace(rule.only, ids=(), names=())
    return seen if within == EVERYTHING or len(store.sightings(vehicle, within)) == len(seen) else ()


def _fitting(vehicle: int, name: str, seen: Sequence[SightingInfo]) -> Unnamed:
    cameras = sorted({one.camera for one in seen})
    return Unnamed(vehicle, name, cameras, len(seen), max(one.quality for one in seen), max(one.at for one in seen))
