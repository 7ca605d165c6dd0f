"""`vreid gallery enrol|search`: the verbs that look at pictures with a model; all is known before a byte is written."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from vreid.cli import output
from vreid.cli.gallery_place import GalleryFlag
from vreid.cli.gallery_reading import Choice, OfGallery, filter_of, note_unseen
from vreid.models.errors import Refused, refuse_beyond
from vreid.runtime.gallery_place import GalleryPlace, may_be_there

if TYPE_CHECKING:
    from vreid.models.manifest import Manifest
    from vreid.models.preprocess import Image
    from vreid.runtime.embedder import Embedder
    from vreid.runtime.enrolment_check import LookAlike, PictureCheck
    from vreid.runtime.gallery import Gallery
    from vreid.runtime.records import Floats


@dataclass(frozen=True)
class Enrol(OfGallery):
    """Add vehicles; all of them or, when one picture cannot be read, none."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures, or folders that hold one folder per vehicle, named by it."""
    gallery: GalleryFlag
    """The gallery's file, or postgresql://user@host/database?gallery=NAME; made when there is none."""
    model: str
    """Manifest .json, or the name of a bundled model."""
    name: str | None = None
    """All loose pictures are this one vehicle; without it each is its own, named by its file."""
    kind: Literal["car", "truck", "bus", "motorcycle"] | None = None
    """Of which kind they are, for searches by kind."""
    detector: str | None = None
    """Detector that counts the vehicles in each picture: model:FILE; by default one that vreid get has fetched."""
    force: bool = False
    """Enrol although pictures are small, blurred or show several vehicles."""
    threads: int = 1
    """CPU threads of the engine."""


@dataclass(frozen=True)
class Search(OfGallery):
    """Which vehicles look like these pictures."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures of one vehicle each."""
    model: str
    """Manifest .json, or the name of a bundled model; the one that the gallery was made with."""
    only: Choice = field(default_factory=Choice)
    k: int = 5
    """How many vehicles a picture."""
    index: str = "flat"
    """How to search: flat (exact), hnsw, ivf, ivfpq, gpu, numpy, pgvector or milvus:HOST:PORT, with options as in ivf?nprobe=32."""
    threads: int = 1
    """CPU threads of the engine."""


def enrol(args: Enrol) -> int:
    from vreid.runtime.embedder import open_embedder

    who = new_vehicles(args.images, args.name)
    if any(path.is_dir() for path in args.images) and (count := sum(one.loose for one in who)) > 1:
        output.note(f"{count} loose pictures are enrolled as {count} vehicles, one each; --name makes them one vehicle")
    embedder = open_embedder(args.model, args.threads)
    if may_be_there(args.gallery):  # before the long work
        _fitting(args.gallery, embedder.manifest, write=True).close()
    check = _check(args)
    with output.progress() as bar:
        task = bar.add_task("pictures", total=sum(len(new.pictures) for new in who))
        features, faces = features_of(embedder, who, lambda count: bar.advance(task, count), check.look)
    _refuse_faults(check, args.force)
    with _fitting(args.gallery, embedder.manifest, write=True) as gallery:
        alike = _look_alikes(gallery, who, features, embedder.manifest)
        done = enrolled(gallery, who, features, faces, args.kind)
    for one in alike:
        output.note(
            f"'{one.name}' is nearly the same as '{one.other}' (cosine {one.score:.2f}); if they are one vehicle: "
            "vreid gallery merge"
        )
    if args.json:
        vehicles = [asdict(vehicle) for vehicle in done]
        more = {"faults": check.faults, "alike": [asdict(one) for one in alike]}
        output.document({"gallery": str(args.gallery), "vehicles": vehicles, **more})
    else:
        rows = [(vehicle.name, vehicle.id, vehicle.pictures, vehicle.prototypes) for vehicle in done]
        output.table(f"enrolled into {args.gallery}", ("vehicle", "id", "pictures", "prototypes"), rows)
    return 0


def _check(args: Enrol) -> "PictureCheck":
    """What finds faults in the pictures, with the detector that was named or fetched, if any. Raises Refused."""
    from vreid.runtime.detectors.table import open_detector
    from vreid.runtime.enrolment_check import PictureCheck, detector_at_hand
    from vreid.runtime.public_models import models_folder, with_public_model

    folder = models_folder(os.environ)
    if args.detector is not None:
        return PictureCheck(
            open_detector(with_public_model(args.detector, folder), threads=args.threads), args.detector
        )
    found = detector_at_hand(folder, args.threads)
    return PictureCheck(None) if found is None else PictureCheck(found[1], found[0])


def _refuse_faults(check: "PictureCheck", force: bool) -> None:
    """Raises Refused for pictures that are not fit, unless `force`; notes what looked, and where no vehicle was found."""
    if check.faults and not force:
        more = f" (and {len(check.faults) - 1} more)" if len(check.faults) > 1 else ""
        raise Refused(f"{check.faults[0]}{more}; or add --force")
    if check.name is None:
        output.note(
            "pictures were checked for size and sharpness only; vreid get NAME brings a detector, which counts vehicles"
        )
    else:
        output.note(f"{check.name} counted the vehicles in each picture")
    if check.empty:
        more = f" and {len(check.empty) - 1} more" if len(check.empty) > 1 else ""
        output.note(f"it finds no vehicle in {check.empty[0]}{more}; see that it shows one")
    for fault in check.faults:
        output.note(f"enrolled although {fault}")


def _look_alikes(
    gallery: "Gallery", who: "Sequence[NewVehicle]", features: "Floats", manifest: "Manifest"
) -> "Sequence[LookAlike]":
    import numpy as np

    from vreid.runtime.enrolment_check import look_alikes

    if manifest.match is None:
        return ()
    ends = np.cumsum([len(new.pictures) for new in who])
    parts = np.split(features, ends[:-1])
    return look_alikes(
        gallery, {new.name: rows for new, rows in zip(who, parts, strict=True)}, manifest.match.threshold
    )


def search(args: Search) -> int:
    import numpy as np

    from vreid.runtime.embedder import open_embedder

    if not args.images:
        raise Refused("there is nothing to search for; name at least one picture")
    refuse_beyond(k=args.k)
    if args.k < 1:
        raise Refused(f"--k must be at least 1, not {args.k}")
    only = filter_of(args.only)
    embedder = open_embedder(args.model, args.threads)
    match = embedder.manifest.match
    threshold = match.threshold if match else None
    with _fitting(args.gallery, embedder.manifest, write=False, index=args.index) as gallery:
        note_unseen(gallery, only)
        features = np.stack([row for _, row in embedded(embedder, args.images, lambda count: None)])
        found = gallery.search(features, args.k, only=only)
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
        rows = [(hit.name, hit.vehicle, f"{hit.score:.3f}", _known(hit.score, threshold)) for hit in hits]
        output.table(str(path), ("vehicle", "id", "score", "known"), rows)
    return 0


def _known(score: float, threshold: float | None) -> str:
    return "-" if threshold is None else "yes" if score >= threshold else "no"


def _fitting(place: GalleryPlace, manifest: "Manifest", write: bool, index: str = "flat") -> "Gallery":
    """The gallery of the manifest's own embedding space."""
    from vreid.runtime.gallery import open_gallery

    fingerprint, dim = manifest.fingerprint, manifest.output.dim
    return open_gallery(place, fingerprint=fingerprint, dim=dim, model=manifest.name, write=write, index=index)


BATCH = 32


@dataclass(frozen=True)
class NewVehicle:
    """One vehicle to be: its name and its pictures."""

    name: str
    pictures: tuple[Path, ...]
    loose: bool = False  # one picture that is not in a folder of its vehicle


@dataclass(frozen=True)
class Enrolled:
    """One vehicle that was written."""

    id: int
    name: str
    pictures: int
    prototypes: int


def new_vehicles(paths: Sequence[Path], name: str | None) -> list[NewVehicle]:
    """Each folder in a folder is a vehicle of its name; loose pictures are one vehicle `name`, or one each by stem.

    Raises Refused for a path that is not there, nothing to enrol, or one name for two vehicles.
    """
    from vreid.runtime.gallery.names import key_of
    from vreid.runtime.sources.table import PICTURES

    found: list[NewVehicle] = []
    loose: list[Path] = []
    for path in paths:
        if not path.exists():
            raise Refused(f"there is no {path}; check the path")
        if not path.is_dir():
            loose.append(path)
            continue
        folders = _in_order(entry for entry in _visible(path) if entry.is_dir())
        pictures = _pictures(path)
        if not folders and not pictures:
            raise Refused(f"the folder {path} holds no pictures ({', '.join(PICTURES)}); check the path")
        for folder in folders:
            found.append(NewVehicle(folder.name, _pictures(folder)))
            if not found[-1].pictures:
                raise Refused(f"the folder {folder} holds no pictures ({', '.join(PICTURES)}); fill it or remove it")
        loose += pictures
    if found and name is not None:
        raise Refused("--name names one vehicle, but folders of vehicles are named by their folders; leave --name out")
    if name is not None and loose:
        found.append(NewVehicle(name, tuple(loose)))
    else:
        found += [NewVehicle(path.stem, (path,), loose=True) for path in loose]
    if not found:
        raise Refused("there is nothing to enrol; name pictures or folders")
    seen: set[str] = set()
    for new in found:
        key = key_of(new.name)
        if key in seen:
            raise Refused(f"two vehicles would be named '{new.name}'; give --name, or put them into folders")
        seen.add(key)
    return found


def embedded(
    embedder: "Embedder", paths: Sequence[Path], advance: Callable[[int], object]
) -> "Iterator[tuple[Image, Floats]]":
    """Each picture (H, W, 3) with its feature (D,), by batches; `advance` is called with how many. Refuses a damaged one."""
    from vreid.models.picture import read_picture

    for start in range(0, len(paths), BATCH):
        images = [read_picture(path) for path in paths[start : start + BATCH]]
        yield from zip(images, embedder.embed(images), strict=True)
        advance(len(images))


def enrolled(
    gallery: "Gallery", who: Sequence[NewVehicle], features: "Floats", faces: "Sequence[Image]", kind: str | None
) -> list[Enrolled]:
    """Write all or none; features (N, D) in the order of the new_vehicles' pictures, `faces` one picture a vehicle."""
    done, at = [], 0
    with gallery.transaction():
        for new, face in zip(who, faces, strict=True):
            rows = features[at : at + len(new.pictures)]
            vehicle, prototypes = gallery.enrol(new.name, rows, face, kind)
            done.append(Enrolled(vehicle, new.name, len(rows), prototypes))
            at += len(rows)
    return done


def features_of(
    embedder: "Embedder",
    who: Sequence[NewVehicle],
    advance: Callable[[int], object],
    look: "Callable[[Path, Image], None]" = lambda path, picture: None,
) -> "tuple[Floats, list[Image]]":
    """The features (N, D) of every picture, and the first picture of each vehicle; `look` gets each picture."""
    import numpy as np

    paths = [path for new in who for path in new.pictures]
    firsts = {0}
    for new in who:
        firsts.add(max(firsts) + len(new.pictures))
    rows, faces = [], []
    for place, (image, feature) in enumerate(embedded(embedder, paths, advance)):
        look(paths[place], image)
        rows.append(feature)
        if place in firsts:
            faces.append(image)
    return np.stack(rows), faces


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _pictures(folder: Path) -> tuple[Path, ...]:
    from vreid.runtime.sources.table import PICTURES

    return _in_order(entry for entry in _visible(folder) if entry.suffix.lower() in PICTURES and entry.is_file())


def _in_order(entries: Iterable[Path]) -> tuple[Path, ...]:
    from vreid.runtime.sources.file import natural_order

    return tuple(sorted(entries, key=lambda entry: natural_order(entry.name)))
