"""`vreid gallery rename|merge|split|undo|remove|clean|export|import|purge|...`: the verbs that change or copy one."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from vreid.cli import output
from vreid.cli.gallery_place import GalleryFlag
from vreid.cli.gallery_reading import Choice, Many, OfGallery, filter_of, moment_text, note_unseen
from vreid.models.errors import Refused
from vreid.models.files import refuse_same
from vreid.runtime.gallery_place import file_of, path_of

if TYPE_CHECKING:
    from vreid.runtime.gallery.requests import Edit
    from vreid.runtime.gallery.transfer import Moved


@dataclass(frozen=True)
class Rename(OfGallery):
    """Give a vehicle another name."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    name: tyro.conf.Positional[str]
    """The new name, which no other vehicle has."""


@dataclass(frozen=True)
class Merge(OfGallery):
    """Make one vehicle of several: the first keeps its id and name, the others are no more."""

    vehicles: tyro.conf.Positional[tuple[str, ...]]
    """Names, ids, or id=ID; the one that stays first."""


@dataclass(frozen=True)
class Split(OfGallery):
    """Make a new vehicle of some sightings of one: those that all of the flags choose."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    sightings: tuple[int, ...] = ()
    """The sightings' ids, as 'vreid gallery show' lists them."""
    camera: Many = ()
    """The sightings of this camera; may be given again."""
    run: Many = ()
    """The sightings that this run wrote; may be given again."""
    name: str | None = None
    """What the new vehicle is called; without it, after its id."""


@dataclass(frozen=True)
class Undo(OfGallery):
    """Take a merge, a split or a renaming back."""

    change: tyro.conf.Positional[int | None] = None
    """The change's id, as 'vreid gallery audit' lists it; without it the last one."""


@dataclass(frozen=True)
class Remove(OfGallery):
    """Forget a vehicle with its prototypes, sightings and pictures, kept ones too, for good: this cannot be undone."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""


def rename(args: Rename) -> int:
    from vreid.runtime.gallery import requests

    done = _edited(args, requests.Rename(vehicle=args.vehicle, name=args.name))
    return output.outcome(args.json, f"vehicle {done['id']} is now '{args.name}'", done)


def merge(args: Merge) -> int:
    from vreid.runtime.gallery import requests

    done = _edited(args, requests.Merge(vehicles=args.vehicles))
    sentence = (
        f"vehicle {done['vehicle']} '{done['name']}' has taken over {done['sightings']} sightings; 'undo"
        f" {done['change']}' takes it back"
    )
    return output.outcome(args.json, sentence, done)


def split(args: Split) -> int:
    from vreid.runtime.gallery import requests

    request = requests.Split(
        vehicle=args.vehicle, sightings=args.sightings, cameras=args.camera, runs=args.run, name=args.name
    )
    done = _edited(args, request)
    sentence = (
        f"{done['sightings']} sightings are vehicle {done['vehicle']} '{done['name']}' now; 'undo {done['change']}' takes"
        " it back"
    )
    return output.outcome(args.json, sentence, done)


def undo(args: Undo) -> int:
    from vreid.runtime.gallery import requests

    done = _edited(args, requests.Undo(change=args.change))
    vehicles = ", ".join(map(str, done["vehicles"]))
    return output.outcome(args.json, f"the {done['verb']} of {vehicles} (change {done['undone']}) is undone", done)


def remove(args: Remove) -> int:
    from vreid.runtime.gallery import requests

    done = _edited(args, requests.Remove(vehicle=args.vehicle))
    return output.outcome(args.json, f"vehicle {done['id']} '{done['name']}' is removed for good", done)


def _edited(args: OfGallery, request: "Edit") -> dict[str, Any]:
    """By the run that writes to the gallery, where one does."""
    from vreid.runtime.gallery.edit_socket import edited

    return edited(args.gallery, request)


@dataclass(frozen=True)
class Clean(OfGallery):
    """List vehicles that nobody named and all of whose sightings the flags choose; with --yes forget them for good."""

    only: Choice = field(default_factory=Choice)
    once: bool = False
    """Seen once only."""
    quality_below: float | None = None
    """With no sighting of this quality (0-1) or better."""
    yes: bool = False
    """Remove them: this cannot be undone."""


def clean(args: Clean) -> int:
    from vreid.runtime.gallery import read_gallery, requests
    from vreid.runtime.gallery.clean import CleanRule, unnamed

    rule = CleanRule(filter_of(args.only), args.once, args.quality_below)
    if rule == CleanRule():
        flags = "--once, --quality-below, --camera, --since, --until, --kind, --plate or --name"
        raise Refused(f"say which vehicles are to go, by {flags}; 'vreid gallery clean --once' lists those seen once")
    if args.yes:
        done = _edited(args, requests.Clean(rule=rule))
        sentence = f"{len(done['vehicles'])} vehicles are removed for good"
        return output.outcome(args.json, sentence, {"gallery": str(args.gallery), **done})
    with read_gallery(args.gallery) as gallery:
        found = unnamed(gallery, rule)
        note_unseen(gallery, rule.only)
    if args.json:
        output.document({"gallery": str(args.gallery), "removed": False, "vehicles": [asdict(one) for one in found]})
        return 0
    rows = [
        (one.name, one.id, ", ".join(one.cameras), one.sightings, f"{one.quality:.2f}", moment_text(one.last_at))
        for one in found
    ]
    columns = ("vehicle", "id", "cameras", "sightings", "quality", "last seen")
    output.table(f"{args.gallery}: {len(found)} vehicles fit", columns, rows)
    if found:
        output.result("nothing was removed; add --yes to remove them for good")
    return 0


@dataclass(frozen=True)
class Export(OfGallery):
    """Write vehicles to one portable file, gzipped when its name ends in .gz."""

    file: tyro.conf.Positional[Path]
    """The file to make."""
    only: Choice = field(default_factory=Choice)


@dataclass(frozen=True)
class Import(OfGallery):
    """Add the vehicles of an export, all or none, under new ids."""

    file: tyro.conf.Positional[Path]
    """What 'vreid gallery export' wrote."""
    gallery: GalleryFlag
    """The gallery's file, or postgresql://user@host/database?gallery=NAME; made when there is none."""
    again: bool = False
    """Although it was imported already."""


@dataclass(frozen=True)
class Backup(OfGallery):
    """Copy the gallery to a new file while runs write to it: all of it, as it was at one moment."""

    out: tyro.conf.Positional[Path]
    """The file to make."""


def backup(args: Backup) -> int:
    from vreid.runtime.gallery.maintenance import backed_up

    done = asdict(backed_up(args.gallery, args.out))
    sentence = f"{done['vehicles']} vehicles with {done['sightings']} sightings are in {args.out}"
    return output.outcome(args.json, sentence, {**done, "gallery": str(args.gallery), "out": str(args.out)})


def export(args: Export) -> int:
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.gallery.index.table import files_of
    from vreid.runtime.gallery.transfer import exported

    only = filter_of(args.only)
    refuse_same(args.file, *files_of(path_of(args.gallery)))
    with read_gallery(args.gallery) as gallery:
        note_unseen(gallery, only)
        done = exported(gallery, args.file, only)
    return _moved(args.json, done, f"are in {args.file}", args.file)


def import_(args: Import) -> int:
    from vreid.runtime.gallery import open_gallery
    from vreid.runtime.gallery.opening import begun_gallery
    from vreid.runtime.gallery.transfer import about_export, imported

    opening = partial(open_gallery, **asdict(about_export(args.file)))
    with begun_gallery(args.gallery, opening) as gallery:
        done = imported(gallery, args.file, args.again)
    return _moved(args.json, done, f"are added to {args.gallery}", args.file)


def _moved(json: bool, done: "Moved", what: str, file: Path) -> int:
    sentence = f"{done.vehicles} vehicles with {done.sightings} sightings {what}"
    if done.renamed:
        wanted, given = done.renamed[0]
        sentence += f"; {len(done.renamed)} names were taken, and '{wanted}' is '{given}' now"
    return output.outcome(json, sentence, {"file": str(file), **asdict(done)})


@dataclass(frozen=True)
class Purge(OfGallery):
    """Delete old sightings for good, and the vehicles that nobody named and that have none left."""

    older_than: str | None = None
    """30d, 12h, 2w; without it what 'vreid gallery retain' has set."""
    vehicles: bool = False
    """Delete vehicles without sightings although somebody enrolled or named them, when they are as old."""


@dataclass(frozen=True)
class Retain(OfGallery):
    """How long sightings are kept: runs that write to the gallery purge what is older, and so does 'purge'."""

    span: tyro.conf.Positional[str]
    """30d, 12h, 2w, or off."""


@dataclass(frozen=True)
class Check(OfGallery):
    """Say what is wrong with a gallery, one line each; exit code 1 when something is."""

    repair: bool = False
    """Repair it; upgrades a gallery of an older vreid, too."""


@dataclass(frozen=True)
class Reindex(OfGallery):
    """Make anew what is derived: index files, prototypes, or the whole gallery for another model."""

    prototypes: bool = False
    """Make the prototypes of cameras anew from the sightings; those that were enrolled by hand stay."""
    model: str | None = None
    """Embed the kept pictures with this model, into --out; small JPEGs, so that the result is approximate."""
    out: Path | None = None
    """The new gallery of --model."""
    threads: int = 1
    """CPU threads of the engine."""


def purge(args: Purge) -> int:
    import time

    from vreid.models.errors import GalleryLocked
    from vreid.runtime.amounts import duration_of
    from vreid.runtime.gallery import edit_gallery, read_gallery, requests

    kept = None if args.older_than is None else duration_of(args.older_than)
    if kept is None:
        with read_gallery(args.gallery) as gallery:
            kept = gallery.retention()
    if kept is None:
        raise Refused("say how old with --older-than 30d, or set a span with 'vreid gallery retain 30d'")
    done = _edited(args, requests.Purge(before=time.time() - kept, vehicles=args.vehicles))
    with (
        suppress(GalleryLocked),
        edit_gallery(args.gallery) as gallery,
    ):  # a run that writes keeps the room for what comes
        gallery.compact()
    sentence = f"{done['sightings']} sightings and {done['vehicles']} vehicles are deleted"
    if done["kept"]:
        sentence += f", and {done['kept']} kept pictures"
    return output.outcome(args.json, sentence, done)


def retain(args: Retain) -> int:
    from vreid.runtime.amounts import duration_of
    from vreid.runtime.gallery import requests

    seconds = None if args.span == "off" else duration_of(args.span)
    _edited(args, requests.Retain(seconds=seconds))
    sentence = "sightings are kept for ever" if seconds is None else f"sightings are kept for {args.span}"
    return output.outcome(args.json, sentence, {"retention": seconds})


def check(args: Check) -> int:
    from vreid.runtime.gallery.maintenance import check_gallery, repaired

    file = file_of(args.gallery, "'vreid gallery check'")
    found = before = check_gallery(file)
    done = repaired(file) if args.repair and found else []
    if args.repair and found:
        found = check_gallery(file)
    if args.json:
        left = [asdict(finding) for finding in found]
        output.document(
            {"gallery": str(args.gallery), "found": [asdict(one) for one in before], "done": done, "left": left}
        )
    else:
        for sentence in [finding.text for finding in before] + [f"repaired: {sentence}" for sentence in done]:
            output.result(sentence)
        if not found:
            output.result(f"{args.gallery} is sound")
        elif args.repair:
            output.result(f"{len(found)} things are still wrong; restore a copy")
        else:
            output.result("run 'check --repair' to repair what can be repaired")
    return 1 if found else 0


def reindex(args: Reindex) -> int:
    from vreid.runtime.gallery import edit_gallery
    from vreid.runtime.gallery.index.table import drop_indexes
    from vreid.runtime.gallery.maintenance import rebuild_all

    if (args.model is None) != (args.out is None):
        raise Refused("--model and --out go together: the model's features are written into a new gallery")
    if args.model is not None and args.out is not None:
        if args.prototypes:
            raise Refused("--model makes every prototype anew; leave --prototypes out")
        return _reembed(args, args.model, args.out)
    with edit_gallery(args.gallery) as gallery:
        vehicles, made = rebuild_all(gallery) if args.prototypes else (0, 0)
        dropped = [file.name for file in drop_indexes(gallery.path)]
    sentence = f"{len(dropped)} index files are dropped and will be made at the next search"
    if args.prototypes:
        sentence = f"{made} prototypes of {vehicles} vehicles are made from their sightings; {sentence}"
    return output.outcome(args.json, sentence, {"dropped": dropped, "vehicles": vehicles, "prototypes": made})


def _reembed(args: Reindex, model: str, out: Path) -> int:
    from vreid.runtime.embedder import open_embedder
    from vreid.runtime.gallery import open_gallery, read_gallery
    from vreid.runtime.gallery.maintenance import reembedded
    from vreid.runtime.gallery.sqlite.database import new_gallery

    if out.exists():
        raise Refused(f"{out} is there already; name a new file for --out")
    embedder = open_embedder(model, args.threads)
    manifest = embedder.manifest
    with read_gallery(args.gallery) as old, output.progress() as bar, new_gallery(out) as temporary:
        task = bar.add_task("vehicles", total=old.stats().vehicles)
        with open_gallery(
            temporary, write=True, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name
        ) as new:
            done = reembedded(old, new, embedder.embed, lambda count: bar.advance(task, count))
    sentence = (
        f"{done.vehicles} vehicles of {done.pictures} kept pictures are in {out}, approximately;"
        f" {done.without} had no picture and must be enrolled again"
    )
    return output.outcome(args.json, sentence, {"gallery": str(out), **asdict(done)})
