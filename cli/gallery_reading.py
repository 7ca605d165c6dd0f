"""`vreid gallery list|show|stats|audit`: the verbs that only read, and the flags that choose vehicles."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from vreid.cli import output
from vreid.cli.gallery_place import GalleryFlag
from vreid.models.errors import Refused, refuse_beyond
from vreid.runtime.gallery_place import path_of

if TYPE_CHECKING:
    from vreid.runtime.gallery import Gallery
    from vreid.runtime.gallery.identities import CentreIdentity, CentreVehicle
    from vreid.runtime.gallery.records import Change, Filter, Part, VehicleDetails

Many = tyro.conf.UseAppendAction[tuple[str, ...]]
_NAMED = 20  # cameras, in a note


@dataclass(frozen=True)
class Choice:
    """Which vehicles: of several of one flag any, of several flags all, and one sighting must fit all of them."""

    camera: Many = ()
    """Seen by this camera; may be given again."""
    since: str | None = None
    """Seen at or after this time: 2026-11-22T08:15, or 2h for two hours ago."""
    until: str | None = None
    """Seen before this time."""
    kind: Many = ()
    """Of this kind: car, truck, bus, motorcycle, vehicle; may be given again."""
    plate: Many = ()
    """With a plate like this, * and ? standing for anything; may be given again."""
    zone: Many = ()
    """That crossed this zone of a camera; may be given again."""
    name: Many = ()
    """Called like this, * and ? standing for anything, in any case; may be given again."""


@dataclass(frozen=True, kw_only=True)
class OfGallery:
    """Flags of every verb."""

    gallery: GalleryFlag
    """The gallery's file, or postgresql://user@host/database?gallery=NAME."""
    json: bool = False
    """Print one JSON document."""


def filter_of(choice: Choice) -> "Filter":
    """What the flags say. Raises Refused for what is not a time."""
    from vreid.runtime.gallery.records import Filter

    since, until = (None if text is None else moment_of(text) for text in (choice.since, choice.until))
    return Filter(
        cameras=choice.camera, kinds=choice.kind, names=choice.name, plates=choice.plate, zones=choice.zone, since=since,
        until=until,
    )  # fmt: skip


def note_unseen(gallery: "Gallery", only: "Filter") -> None:
    """Say which cameras of the flags have seen nothing, and which kinds there are none of, and name those that there are."""
    from vreid.runtime.gallery.records import Filter
    from vreid.runtime.records import KIND_NAMES

    for kind in only.kinds:
        if kind not in KIND_NAMES:
            output.note(f"no vehicle is of the kind '{kind}'; the kinds are {', '.join(KIND_NAMES)}")
    with gallery.reading() as store:
        unseen = [camera for camera in only.cameras if not store.count(Filter(cameras=(camera,)))]
    if not unseen:
        return
    known = sorted({camera for one in gallery.vehicles(thumbnails=False) for camera in one.cameras})
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    there = f"its cameras are {', '.join(known[:_NAMED])}{more}" if known else "it holds no sightings"
    for camera in unseen:
        output.note(f"the gallery has no sighting of a camera '{camera}'; {there}")


@dataclass(frozen=True)
class List(OfGallery):
    """Every vehicle, or those that the flags choose."""

    only: Choice = field(default_factory=Choice)
    sort: Literal["id", "name", "created", "last-seen", "sightings", "named-first"] = "id"
    """By name and id they rise, by the others the newest, or the one most often seen, comes first; named-first: then by time."""
    limit: int | None = None
    """At most this many."""
    page: int = 1
    """Which part, where --limit is given: 2 are those after the first --limit vehicles."""
    html: Path | None = None
    """Write a page with their pictures to this file; where there are more than 500, more pages next to it."""


@dataclass(frozen=True)
class Show(OfGallery):
    """All that the gallery holds of one vehicle; the flags choose among its sightings."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    only: Choice = field(default_factory=Choice)
    pictures: Path | None = None
    """Save its pictures in this folder."""


@dataclass(frozen=True)
class Stats(OfGallery):
    """The gallery in numbers."""


@dataclass(frozen=True)
class Audit(OfGallery):
    """Who changed what, the newest last."""

    last: int = 20
    """How many changes; 0: all."""
    vehicle: str | None = None
    """Only what was done to this one: its name, its id, or id=ID."""


def list_(args: List) -> int:
    from vreid.cli.gallery_album import write_album
    from vreid.runtime.gallery import read_gallery

    only, part = filter_of(args.only), _part(args)
    skip = (args.page - 1) * (args.limit or 0)
    with read_gallery(args.gallery) as gallery:
        note_unseen(gallery, only)
        about, vehicles = gallery.about, gallery.vehicles(thumbnails=False, only=only, part=part)[skip:]
        total = len(vehicles)
        if args.limit is not None:
            with gallery.reading() as store:
                total = store.count(only)
        centre = _of_vehicles(gallery, [vehicle.id for vehicle in vehicles])
        if args.html is not None:
            write_album(args.html, gallery, vehicles, only)
    if args.json:
        rows = [{key: value for key, value in asdict(vehicle).items() if key != "thumbnail"} for vehicle in vehicles]
        for row in rows:
            row["centre"] = _summary(centre.get(row["id"]))
        page = {} if args.html is None else {"html": str(args.html)}
        output.document({"gallery": str(args.gallery), **asdict(about), **page, "total": total, "vehicles": rows})
    elif args.html is not None:
        output.result(f"{len(vehicles)} vehicles are shown in {args.html}")
    else:
        columns: tuple[str, ...] = ("vehicle", "id", "kind", "prototypes", "sightings", "cameras", "last seen")
        table = [
            (v.name, v.id, v.kind or "-", v.prototypes, v.sightings, ", ".join(v.cameras) or "-",
             "-" if v.last_at is None else f"{v.last_camera} {moment_text(v.last_at)}",
             *([centre[v.id].text if v.id in centre else "-"] if centre else ()))
            for v in vehicles
        ]  # fmt: skip
        columns += ("at the centre",) if centre else ()
        shown = f"{total} vehicles"
        if len(vehicles) < total:
            first = skip + 1
            shown += f", {first} to {skip + len(vehicles)} of them" if vehicles else f", none of them from {first} on"
        output.table(f"{args.gallery}: {shown}, model {about.model}", columns, table)
    return 0


def _part(args: List) -> "Part":
    """All up to the end of the page. Raises Refused for flags that contradict each other."""
    from vreid.runtime.gallery.records import Part

    if args.limit is None:
        if args.page != 1:
            raise Refused("--page counts parts of --limit vehicles; give --limit too, such as --limit 100")
        return Part(args.sort)
    for flag, value in (("--limit", args.limit), ("--page", args.page)):
        if value < 1:
            raise Refused(f"{flag} counts from 1, not {value}; leave it out for everything")
    refuse_beyond(limit=args.limit, page=args.page)
    return Part(args.sort, args.page * args.limit)


def show(args: Show) -> int:
    from vreid.models.files import atomic_folder
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery

    only, saved = filter_of(args.only), 0
    with read_gallery(args.gallery) as gallery:
        vehicle = gallery.find(args.vehicle)
        note_unseen(gallery, only)
        found = gallery.details(vehicle, only)
        centre, known = _of_vehicles(gallery, [vehicle]), _of_sightings(gallery, [one.id for one in found.sightings])
        if args.pictures is not None:
            with atomic_folder(args.pictures) as folder:
                saved = _pictures(gallery, vehicle, only, folder)
    if args.json:
        document = asdict(found)
        document["vehicle"].pop("thumbnail")
        document["vehicle"]["centre"] = _summary(centre.get(vehicle))
        kept = KeptFolder(folder_of_gallery(path_of(args.gallery)))
        for row, seen in zip(document["sightings"], found.sightings, strict=True):
            path = kept.find(seen.camera, seen.at, seen.track)
            row["kept"] = None if path is None else str(path)
            row["centre"] = _summary(known.get(seen.id))
        document["changes"] = [_change(change) for change in found.changes]
        output.document({"gallery": str(args.gallery), "pictures": saved, **document})
        return 0
    _tables(found, centre.get(vehicle), known)
    if args.pictures is not None:
        output.result(f"{saved} pictures are in {args.pictures}")
    return 0


def stats(args: Stats) -> int:
    from vreid.runtime.amounts import span_text
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.gallery.index.table import index_files

    with read_gallery(args.gallery) as gallery:
        found = asdict(gallery.stats())
    files = {file.name: file.stat().st_size for file in index_files(path_of(args.gallery))}
    if args.json:
        output.document({"gallery": str(args.gallery), **found, "indexes": files})
        return 0
    kept = found["retention"]
    found.update(oldest=moment_text(found["oldest"]), newest=moment_text(found["newest"]))
    found["retention"] = "for ever" if kept is None else span_text(kept)
    rows = [*found.items(), *((f"{name}, bytes", size) for name, size in files.items())]
    output.table(str(args.gallery), ("of", "value"), rows)
    return 0


def audit(args: Audit) -> int:
    from vreid.runtime.gallery import read_gallery

    refuse_beyond(last=args.last)
    if args.last < 0:
        raise Refused(f"--last is a number of changes, not {args.last}; 0 means all")
    with read_gallery(args.gallery) as gallery:
        vehicle = None if args.vehicle is None else gallery.find(args.vehicle)
        found = gallery.changes(args.last or None, vehicle)
    if args.json:
        output.document({"gallery": str(args.gallery), "changes": [_change(change) for change in found]})
    else:
        _changes(f"changes of {args.gallery}", found)
    return 0


def _pictures(gallery: "Gallery", vehicle: int, only: "Filter", folder: Path) -> int:
    """Save the pictures of its enrolment and of its sightings in `folder`; how many there are."""
    with gallery.reading() as store:
        row = store.vehicle(vehicle)
        own = None if row is None else row.thumbnail
        if own is not None:
            (folder / "enrolled.jpg").write_bytes(own)
        saved = int(own is not None)
        for one in store.pictures(vehicle, only):
            camera = re.sub(r"[^A-Za-z0-9._-]+", "-", one.camera)[:80]
            (folder / f"sighting-{one.sighting:06d}-{camera}.jpg").write_bytes(one.jpeg)
            saved += 1
    return saved


def _of_vehicles(gallery: "Gallery", vehicles: Sequence[int]) -> "dict[int, CentreVehicle]":
    """Those that a centre knows."""
    with gallery.reading() as store:
        known = store.identities()
        return {} if known is None else known.of_vehicles(vehicles)


def _of_sightings(gallery: "Gallery", sightings: Sequence[int]) -> "dict[int, CentreIdentity]":
    """Those that a centre has named."""
    with gallery.reading() as store:
        known = store.identities()
        return {} if known is None else known.of_sightings(sightings)


def _summary(known: "CentreIdentity | CentreVehicle | None") -> dict[str, Any] | None:
    return None if known is None else known.summary


def _tables(found: "VehicleDetails", centre: "CentreVehicle | None", known: "Mapping[int, CentreIdentity]") -> None:
    vehicle = found.vehicle
    prototypes = [(one.view, one.id, one.count, f"{one.weight:.2f}") for one in found.prototypes]
    title = (
        f"{vehicle.name} (id {vehicle.id}, {vehicle.kind or 'no kind'}), written down {moment_text(vehicle.created)}"
        + (f", at the centre {centre.text}" if centre else "")
    )
    output.table(title, ("prototypes of view", "id", "made of", "weight"), prototypes)
    seen = [
        (
            s.camera,
            s.id,
            moment_text(s.at),
            s.kind or "-",
            s.plate or "-",
            f"{s.quality:.2f}",
            f"{s.score:.3f}" if math.isfinite(s.score) else "-",
            s.run or "-",
            *([known[s.id].text if s.id in known else "-"] if known else ()),
        )
        for s in found.sightings
    ]
    columns = (
        "sighted by",
        "sighting",
        "at",
        "kind",
        "plate",
        "quality",
        "score",
        "run",
        *(["at the centre"] if known else ()),
    )
    output.table(f"{len(seen)} sightings", columns, seen)
    _changes("what was done to it", found.changes)


def _changes(title: str, found: "list[Change]") -> None:
    rows = [
        (f"{change.verb} (undone)" if change.undone else change.verb, change.id, moment_text(change.at), change.who,
         change.vehicle or "-", ", ".join(f"{key} {_words(value)}" for key, value in change.summary.items()) or "-")
        for change in found
    ]  # fmt: skip
    output.table(title, ("change", "id", "at", "by", "vehicle", "what"), rows)


def _words(value: object, inside: bool = False) -> str:
    """A value of a change's detail, as it is written for people: yes, no, none, and what is in lists and fields."""
    if value is None or isinstance(value, bool):
        return "none" if value is None else "yes" if value else "no"
    if isinstance(value, Mapping):
        text = ", ".join(f"{key} {_words(one, True)}" for key, one in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(_words(one, True) for one in value)
    else:
        return str(value)
    return f"({text})" if inside else text or "none"


def _change(change: "Change") -> dict[str, Any]:
    row = asdict(change)
    row["detail"] = change.summary
    return row


# Moments as people write them: 2h, or 2026-11-22 08:15.


def moment_of(text: str, now: float | None = None) -> float:
    """2h (ago), or an ISO time, local where it has no zone -> seconds since 1970. Raises Refused for anything else."""
    from vreid.runtime.amounts import duration_of

    if re.fullmatch(r"[\d.]+[smhdw]", text.strip().lower(), re.ASCII):
        return (time.time() if now is None else now) - duration_of(text)
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip())).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise Refused(
            f"'{text}' is not a time; write it like 2026-11-22T08:15, 2026-11-22, or 2h for two hours ago"
        ) from error
    return moment


def moment_text(moment: float | None) -> str:
    """Seconds since 1970 -> 2026-11-22 08:15:00+01:00, local with its zone; - for any other number."""
    from vreid.runtime.gallery.records import is_moment

    if moment is None or not is_moment(moment):
        return "-"
    return datetime.fromtimestamp(moment).astimezone().isoformat(" ", "seconds")
