"""What leaves a gallery for good: whole vehicles, or some of their sightings, with all that was made or kept of them."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from vreid.runtime.gallery.doubt_rows import forget_judged
from vreid.runtime.gallery.kept_answers import forget_names
from vreid.runtime.gallery.prototypes import Rule, rebuild
from vreid.runtime.gallery.records import ENROLLED, Change, SightingInfo, SightingRow, with_merged
from vreid.runtime.gallery.store import Store
from vreid.runtime.kept.folder import KeptRemovals

VERB = "remove sightings"  # as the audit calls it


def forget(store: Store, files: KeptRemovals, vehicles: Sequence[int]) -> None:
    """Delete vehicles and what the audit, kept answers and the site's thresholds kept of them; their kept pictures go with
    `files`."""
    for vehicle in vehicles:
        files.add(store.sightings(vehicle))
        store.delete_vehicle(vehicle)
    forget_names(store, vehicles)
    forget_judged(store, vehicles)
    store.forget_changes(vehicles)


def note_merged(store: Store, vehicles: Collection[int]) -> None:
    """Before these are removed: a centre is to hear it of those that were merged into them too, since what it has may be of before
    the merge."""
    outbox = store.outbox()
    if outbox is not None:
        for merged in sorted(with_merged(vehicles, store.changes(verbs=("merge",))) - {*vehicles}):
            outbox.add_removal(merged)


def remove_sightings(
    store: Store, rule: Rule, files: KeptRemovals, sightings: Collection[int]
) -> dict[str, Any] | None:
    """See `Gallery.remove_sightings`: what the audit's row says; None: none of them is there."""
    own: dict[int, list[SightingInfo]] = defaultdict(list)
    for seen in store.sightings_of_ids(sightings):
        own[seen.vehicle].append(seen)
    if not own:
        return None
    changes = store.changes(verbs=("merge", "split"))
    related = _related(own, changes)
    ids = [seen.id for every in own.values() for seen in every]
    _drop_pictures(store, related, ids)
    for every in own.values():
        files.add(every)
    store.remove_sightings(ids)
    gone = [vehicle for vehicle in own if _is_nobody(store, vehicle)]
    for vehicle in own.keys() - {*gone}:
        _rebuild(store, rule, vehicle, {seen.camera for seen in own[vehicle]})
    store.drop_undo([change.id for change in changes if not related.isdisjoint(change.detail.get("vehicles", ()))])
    forget(store, files, gone)
    store.trim_changes(0)  # what was doubtful of these sightings
    return {"vehicles": sorted(own), "sightings": len(ids), "removed": len(gone)}


def was_removed(store: Store, vehicle: int, row: SightingRow) -> bool:
    """Whether sightings of the vehicle were removed since this one, which goes on, began: it may be one of them."""
    last = store.changes(1, vehicle, (VERB,))
    return bool(last) and last[-1].at >= row.seen - (row.last_time - row.first_time)


def _related(vehicles: Collection[int], changes: Sequence[Change]) -> set[int]:
    """`vehicles`, and all that merges and splits ever tied to them, whose earlier rows may hold what was made of the sightings."""
    found = {*vehicles}
    groups = [{*change.detail.get("vehicles", ())} for change in changes]
    while joined := [group for group in groups if not found.isdisjoint(group) and not group <= found]:
        found = found.union(*joined)
    return found


def _drop_pictures(store: Store, vehicles: Collection[int], sightings: Collection[int]) -> None:
    """Vehicles whose own picture a run took from one of these sightings lose it."""
    for vehicle in vehicles:
        row = store.vehicle(vehicle)
        if row is None or row.pictured is None or row.thumbnail is None:
            continue
        if store.have_picture(sightings, row.thumbnail):
            store.update_vehicle(replace(row, thumbnail=None, pictured=None))


def _is_nobody(store: Store, vehicle: int) -> bool:
    """Whether nothing is left of a vehicle that nobody named or enrolled."""
    row = store.vehicle(vehicle)
    return not (
        (row is not None and row.named)
        or store.sighting_ids(vehicle)
        or any(one.view == ENROLLED for one in store.prototypes(vehicle))
    )


def _rebuild(store: Store, rule: Rule, vehicle: int, cameras: Collection[str]) -> None:
    """Prototypes of these cameras are made of the sightings that stay, and none is kept that cannot be made of them."""
    store.delete_prototypes([one.id for one in store.prototypes(vehicle) if one.view in cameras])
    rebuild(store, rule, vehicle, cameras, partly=True)
