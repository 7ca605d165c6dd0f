"""The seam of data set layouts: recognises a folder or CSV file, opens it, and joins training parts of several sets."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.train.datasets.records import Dataset, Item, files_in
from vreid.train.identity import camera_word, digest_of_set, vehicle_word

LAYOUTS = {
    "veri": "vreid.train.datasets.veri:read",
    "vehicleid": "vreid.train.datasets.vehicleid:read",
    "csv": "vreid.train.datasets.plain:read",
}
_LOOKED_FOR = (
    "a VeRi folder (name_train.txt, name_query.txt, name_test.txt beside image_train, image_query, image_test), "
    "a VehicleID folder (train_test_split/ beside image/), or a CSV file with columns path,vehicle,camera"
)


class Reader(Protocol):
    """A layout: a folder or file that exists, and what stood after the last colon ("" = nothing) -> Dataset."""

    def __call__(self, path: Path, option: str) -> Dataset: ...


def read_dataset(path: str | Path, layout: str | None = None) -> Dataset:
    """The data set at `path`, by the named layout or the one recognised; "DIR:1600" passes "1600" to the layout.

    Raises Refused when nothing is recognised or the layout finds its files wanting.
    """
    found, option = _path_and_option(path)
    if not found.exists():
        raise Refused(f"there is no data set at {found}; give {_LOOKED_FOR}")
    read: Reader = open_seam("data set layout", LAYOUTS, layout if layout is not None else layout_of(found))
    return read(found, option)


def layout_of(path: Path) -> str:
    """The name of the layout that a folder or file has; Refused names what was looked for."""
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return "csv"
        raise Refused(f"{path} is no data set: looked for {_LOOKED_FOR}")
    images = ("image_train", "image_query", "image_test")
    if any(path.glob("name_*.txt")) or any((path / name).is_dir() for name in images):
        return "veri"
    if (path / "train_test_split").is_dir():
        return "vehicleid"
    tables = sorted(name for name in files_in(path) if name.lower().endswith(".csv"))
    if len(tables) == 1 or "train.csv" in tables:
        return "csv"
    if tables:
        raise Refused(f"{path} holds several CSV files ({', '.join(tables[:5])}); give the path of one of them")
    raise Refused(f"{path} holds no data set: looked for {_LOOKED_FOR}")


def join(datasets: Sequence[Dataset]) -> tuple[Item, ...]:
    """The training parts of several sets as one; vehicles and cameras get the set's place in front, so that none coincide.

    Sets stand in an order of their own, not of the flags or of the folders' names, and labels as they are compared
    (train/identity.py): a classifier numbers the vehicles alike wherever the data lies. Raises Refused for a set without a
    training part, and for one that is given twice.
    """
    for dataset in datasets:
        if not dataset.train:
            raise Refused(f"the data set '{dataset.name}' has no training part; leave it out or give one that has")
    places = {id(dataset): number for number, dataset in enumerate(_ordered(datasets), 1)}
    items: list[Item] = []
    for dataset in datasets:
        name = places[id(dataset)]
        for item in dataset.train:
            vehicle, camera = vehicle_word(item.vehicle), camera_word(item.camera)
            number = vehicle.zfill(10) if vehicle.isdecimal() else vehicle
            items.append(replace(item, vehicle=f"{name}:{number}", camera=f"{name}:{camera}"))
    return tuple(items)


def _ordered(datasets: Sequence[Dataset]) -> list[Dataset]:
    """By their vehicles' labels, and where these are equal by their pictures."""
    if len(datasets) == 1:
        return list(datasets)
    labels = [sorted({vehicle_word(item.vehicle) for item in dataset.train}) for dataset in datasets]
    content = [digest_of_set(dataset.train) for dataset in datasets]
    for place, digest in enumerate(content):
        if digest in content[:place]:
            first = datasets[content.index(digest)].name
            raise Refused(
                f"the data sets '{first}' and '{datasets[place].name}' hold the same pictures and labels; give the set once"
            )
    return [
        datasets[place] for place in sorted(range(len(datasets)), key=lambda place: (labels[place], content[place]))
    ]


def _path_and_option(path: str | Path) -> tuple[Path, str]:
    split = re.fullmatch(r"(.+):(\w+)", str(path))
    if split and not Path(path).exists() and Path(split[1]).exists():
        return Path(split[1]), split[2]
    return Path(path), ""
