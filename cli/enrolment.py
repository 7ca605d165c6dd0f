"""Which pictures are to be enrolled as which vehicle, and their features, all known before a byte is written."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.names import key_of
from vreid.runtime.records import Floats
from vreid.runtime.sources.images import natural_order
from vreid.runtime.sources.table import PICTURES

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
    found: list[NewVehicle] = []
    loose: list[Path] = []
    for path in paths:
        if not path.exists():
            raise Refused(f"there is no {path}; check the path")
        if not path.is_dir():
            loose.append(path)
            continue
        folders = sorted(
            (entry for entry in _visible(path) if entry.is_dir()), key=lambda entry: natural_order(entry.name)
        )
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
    embedder: Embedder, paths: Sequence[Path], advance: Callable[[int], object]
) -> Iterator[tuple[Image, Floats]]:
    """Each picture (H, W, 3) with its feature (D,), by batches; `advance` is called with how many. Refuses a damaged one."""
    for start in range(0, len(paths), BATCH):
        images = [read_picture(path) for path in paths[start : start + BATCH]]
        yield from zip(images, embedder.embed(images), strict=True)
        advance(len(images))


def enrolled(
    gallery: Gallery, who: Sequence[NewVehicle], features: Floats, faces: Sequence[Image], kind: str | None
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
    embedder: Embedder, who: Sequence[NewVehicle], advance: Callable[[int], object]
) -> tuple[Floats, list[Image]]:
    """The features (N, D) of every picture, and the first picture of each vehicle."""
    paths = [path for new in who for path in new.pictures]
    firsts = {0}
    for new in who:
        firsts.add(max(firsts) + len(new.pictures))
    rows, faces = [], []
    for place, (image, feature) in enumerate(embedded(embedder, paths, advance)):
        rows.append(feature)
        if place in firsts:
            faces.append(image)
    return np.stack(rows), faces


def _visible(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _pictures(folder: Path) -> tuple[Path, ...]:
    found = [entry for entry in _visible(folder) if entry.suffix.lower() in PICTURES and entry.is_file()]
    return tuple(sorted(found, key=lambda entry: natural_order(entry.name)))
