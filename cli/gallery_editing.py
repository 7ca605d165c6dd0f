"""`vreid gallery rename|merge|split|undo|remove`: what a person corrects."""

from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

from vreid.cli import output
from vreid.cli.gallery_reading import Many
from vreid.models.errors import Refused


@dataclass(frozen=True)
class Rename:
    """Give a vehicle another name."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    name: tyro.conf.Positional[str]
    """The new name, which no other vehicle has."""
    gallery: Path
    """The gallery's file."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Merge:
    """Make one vehicle of several: the first keeps its id and name, the others are no more."""

    vehicles: tyro.conf.Positional[tuple[str, ...]]
    """Names, ids, or id=ID; the one that stays first."""
    gallery: Path
    """The gallery's file."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Split:
    """Make a new vehicle of some sightings of one: those that all of the flags choose."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    gallery: Path
    """The gallery's file."""
    sightings: tuple[int, ...] = ()
    """The sightings' ids, as 'vreid gallery show' lists them."""
    camera: Many = ()
    """The sightings of this camera; may be given again."""
    run: Many = ()
    """The sightings that this run wrote; may be given again."""
    name: str | None = None
    """What the new vehicle is called; without it, after its id."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Undo:
    """Take a merge, a split or a renaming back."""

    gallery: Path
    """The gallery's file."""
    change: tyro.conf.Positional[int | None] = None
    """The change's id, as 'vreid gallery audit' lists it; without it the last one."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Remove:
    """Forget a vehicle with its prototypes, sightings and pictures, for good: this cannot be undone."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    gallery: Path
    """The gallery's file."""
    json: bool = False
    """Print one JSON document."""


def rename(args: Rename) -> int:
    from vreid.runtime.gallery import edit_gallery

    with edit_gallery(args.gallery) as gallery:
        vehicle = gallery.find(args.vehicle)
        gallery.rename(vehicle, args.name)
    return output.outcome(args.json, f"vehicle {vehicle} is now '{args.name}'", {"id": vehicle, "name": args.name})


def merge(args: Merge) -> int:
    from vreid.runtime.gallery import edit_gallery, edits

    if len(args.vehicles) < 2:
        raise Refused("a merge needs two vehicles or more; name the one to keep first")
    with edit_gallery(args.gallery) as gallery:
        kept, *others = [gallery.find(text) for text in args.vehicles]
        done, name = edits.merge(gallery, kept, others), gallery.name_of(kept)
    sentence = f"vehicle {kept} '{name}' has taken over {done.sightings} sightings; 'undo {done.change}' takes it back"
    return output.outcome(args.json, sentence, {**asdict(done), "name": name, "merged": others})


def split(args: Split) -> int:
    from vreid.runtime.gallery import edit_gallery, edits
    from vreid.runtime.gallery.records import Filter

    if not (args.sightings or args.camera or args.run):
        raise Refused("say which sightings become a new vehicle, by --sightings, --camera or --run")
    with edit_gallery(args.gallery) as gallery:
        vehicle = gallery.find(args.vehicle)
        found = [seen.id for seen in gallery.sightings(vehicle, Filter(cameras=args.camera, runs=args.run))]
        if args.sightings:
            by_id_only = not (args.camera or args.run)  # an id of another vehicle is then refused by name
            found = list(args.sightings) if by_id_only else [id_ for id_ in found if id_ in args.sightings]
        done = edits.split(gallery, vehicle, found, args.name)
        name = gallery.name_of(done.vehicle)
    sentence = f"{done.sightings} sightings are vehicle {done.vehicle} '{name}' now; 'undo {done.change}' takes it back"
    return output.outcome(args.json, sentence, {**asdict(done), "name": name, "split_from": vehicle})


def undo(args: Undo) -> int:
    from vreid.runtime.gallery import edit_gallery, edits

    with edit_gallery(args.gallery) as gallery:
        done = edits.undo(gallery, args.change)
    vehicles = done.detail.get("vehicles", [done.vehicle])
    sentence = f"the {done.verb} of {', '.join(map(str, vehicles))} (change {done.id}) is undone"
    return output.outcome(args.json, sentence, {"change": done.id, "verb": done.verb, "vehicles": vehicles})


def remove(args: Remove) -> int:
    from vreid.runtime.gallery import edit_gallery
    from vreid.runtime.gallery.index.table import drop_indexes

    with edit_gallery(args.gallery) as gallery:
        vehicle = gallery.find(args.vehicle)
        name = gallery.name_of(vehicle)
        gallery.remove(vehicle)
        gallery.wipe()
        drop_indexes(gallery.path)
    return output.outcome(args.json, f"vehicle {vehicle} '{name}' is removed for good", {"id": vehicle, "name": name})
