"""`vreid gallery enrol|search|list|rename|remove|stats`: the vehicles that are known."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.models.errors import Refused

if TYPE_CHECKING:
    from vreid.models.manifest import Manifest
    from vreid.runtime.gallery import Gallery


@dataclass(frozen=True)
class Enrol:
    """Add vehicles; all of them or, when one picture cannot be read, none."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures, or folders that hold one folder per vehicle, named by it."""
    gallery: Path
    """The gallery's file; made when there is none."""
    model: str
    """Manifest .json, or the name of a bundled model."""
    name: str | None = None
    """All loose pictures are this one vehicle; without it each is its own, named by its file."""
    threads: int = 1
    """CPU threads of the engine."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Search:
    """Which vehicles look like these pictures."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures of one vehicle each."""
    gallery: Path
    """The gallery's file."""
    model: str
    """Manifest .json, or the name of a bundled model; the one that the gallery was made with."""
    k: int = 5
    """How many vehicles a picture."""
    threads: int = 1
    """CPU threads of the engine."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class List:
    """Every vehicle."""

    gallery: Path
    """The gallery's file."""
    json: bool = False
    """Print one JSON document."""


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
class Remove:
    """Forget a vehicle with its prototypes and sightings."""

    vehicle: tyro.conf.Positional[str]
    """Its name, its id, or id=ID."""
    gallery: Path
    """The gallery's file."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Stats:
    """The gallery in numbers."""

    gallery: Path
    """The gallery's file."""
    json: bool = False
    """Print one JSON document."""


Args = (
    Annotated[Enrol, tyro.conf.subcommand("enrol")]
    | Annotated[Search, tyro.conf.subcommand("search")]
    | Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Rename, tyro.conf.subcommand("rename")]
    | Annotated[Remove, tyro.conf.subcommand("remove")]
    | Annotated[Stats, tyro.conf.subcommand("stats")]
)


def main(args: Enrol | Search | List | Rename | Remove | Stats) -> int:
    match args:
        case Enrol():
            return _enrol(args)
        case Search():
            return _search(args)
        case List():
            return _list(args)
        case Stats():
            return _stats(args)
        case Rename():
            with _editable(args.gallery) as gallery:
                vehicle = gallery.find(args.vehicle)
                gallery.rename(vehicle, args.name)
            return _said(args.json, f"vehicle {vehicle} is now '{args.name}'", {"id": vehicle, "name": args.name})
        case Remove():
            with _editable(args.gallery) as gallery:
                vehicle = gallery.find(args.vehicle)
                name = gallery.name_of(vehicle)
                gallery.remove(vehicle)
            return _said(args.json, f"vehicle {vehicle} '{name}' is removed", {"id": vehicle, "name": name})


def _enrol(args: Enrol) -> int:
    from vreid.cli import enrolment
    from vreid.models.bundled import manifest_path
    from vreid.runtime.embedder import open_embedder

    who = enrolment.newcomers(args.images, args.name)
    embedder = open_embedder(manifest_path(args.model), args.threads)
    if args.gallery.exists():  # before the long work
        _fitting(args.gallery, embedder.manifest, write=False).close()
    with output.progress() as bar:
        task = bar.add_task("pictures", total=sum(len(newcomer.pictures) for newcomer in who))
        features, faces = enrolment.features_of(embedder, who, lambda count: bar.advance(task, count))
    with _fitting(args.gallery, embedder.manifest, write=True) as gallery:
        done = enrolment.enrolled(gallery, who, features, faces)
    if args.json:
        output.document({"gallery": str(args.gallery), "vehicles": [asdict(vehicle) for vehicle in done]})
    else:
        rows = [(vehicle.name, vehicle.id, vehicle.pictures, vehicle.prototypes) for vehicle in done]
        output.table(f"enrolled into {args.gallery}", ("vehicle", "id", "pictures", "prototypes"), rows)
    return 0


def _search(args: Search) -> int:
    import numpy as np

    from vreid.cli import enrolment
    from vreid.models.bundled import manifest_path
    from vreid.runtime.embedder import open_embedder

    if not args.images:
        raise Refused("there is nothing to search for; name at least one picture")
    if args.k < 1:
        raise Refused(f"--k must be at least 1, not {args.k}")
    embedder = open_embedder(manifest_path(args.model), args.threads)
    match = embedder.manifest.match
    threshold = match.threshold if match else None
    with _fitting(args.gallery, embedder.manifest, write=False) as gallery:
        features = np.stack([row for _, row in enrolment.embedded(embedder, args.images, lambda count: None)])
        found = gallery.search(features, args.k)
    queries = [
        {
            "image": str(path),
            "matches": [
                {**asdict(hit), "known": None if threshold is None else hit.score >= threshold} for hit in hits
            ],
        }
        for path, hits in zip(args.images, found, strict=True)
    ]
    if args.json:
        output.document({"gallery": str(args.gallery), "threshold": threshold, "queries": queries})
        return 0
    for path, hits in zip(args.images, found, strict=True):
        rows = [(hit.name, hit.vehicle, f"{hit.score:.3f}", _verdict(hit.score, threshold)) for hit in hits]
        output.table(str(path), ("vehicle", "id", "score", "known"), rows)
    return 0


def _verdict(score: float, threshold: float | None) -> str:
    return "-" if threshold is None else "yes" if score >= threshold else "no"


def _list(args: List) -> int:
    from vreid.runtime.gallery import read_gallery

    with read_gallery(args.gallery) as gallery:
        about, vehicles = gallery.about, gallery.vehicles(thumbnails=False)
    if args.json:
        rows = [{key: value for key, value in asdict(vehicle).items() if key != "thumbnail"} for vehicle in vehicles]
        output.document({"gallery": str(args.gallery), **asdict(about), "vehicles": rows})
    else:
        columns = ("vehicle", "id", "prototypes", "sightings", "cameras", "last seen")
        table = [
            (v.name, v.id, v.prototypes, v.sightings, ", ".join(v.cameras) or "-",
             "-" if v.last_seen is None else f"{v.last_camera} at {v.last_seen:.1f} s")
            for v in vehicles
        ]  # fmt: skip
        output.table(f"{args.gallery}: {len(vehicles)} vehicles, model {about.model}", columns, table)
    return 0


def _stats(args: Stats) -> int:
    from vreid.runtime.gallery import read_gallery

    with read_gallery(args.gallery) as gallery:
        stats = asdict(gallery.stats())
    if args.json:
        output.document({"gallery": str(args.gallery), **stats})
    else:
        output.table(str(args.gallery), ("of", "value"), list(stats.items()))
    return 0


def _fitting(path: Path, manifest: "Manifest", write: bool) -> "Gallery":
    """The gallery of the manifest's own embedding space."""
    from vreid.runtime.gallery import open_gallery

    fingerprint, dim = manifest.fingerprint, manifest.output.dim
    return open_gallery(path, fingerprint=fingerprint, dim=dim, model=manifest.name, write=write)


def _editable(path: Path) -> "Gallery":
    """The gallery for writing, whatever its model: names need none."""
    from vreid.runtime.gallery import open_gallery, read_gallery

    with read_gallery(path) as seen:
        about = seen.about
    return open_gallery(path, fingerprint=about.fingerprint, dim=about.dim, model=about.model, write=True)


def _said(json: bool, sentence: str, document: dict[str, object]) -> int:
    if json:
        output.document(document)
    else:
        output.console.print(sentence, markup=False)
    return 0
