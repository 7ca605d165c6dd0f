"""The seam of data set layouts: recognises a folder or CSV file, opens it, and joins training parts of several sets."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.train.datasets import folders, plain, veriwild
from vreid.train.datasets.records import Dataset, Item, sound
from vreid.train.identity import camera_word, digest_of_set, vehicle_word

LAYOUTS = {
    "veri": "vreid.train.datasets.veri:read",
    "vehicleid": "vreid.train.datasets.vehicleid:read",
    "veriwild": "vreid.train.datasets.veriwild:read",
    "market": "vreid.train.datasets.market:read",
    "vric": "vreid.train.datasets.vric:read",
    "csv": "vreid.train.datasets.plain:read",
    "folders": "vreid.train.datasets.folders:read",
}
_SIGNS: dict[str, Callable[[Path], bool]] = {
    "veri": lambda path: any(path.glob("name_*.txt")) or _holds(path, "image_train", "image_query", "image_test"),
    "vehicleid": lambda path: (
        _holds(path, "train_test_split") and (_holds(path, "image") or not _holds(path, "images"))
    ),
    "veriwild": lambda path: veriwild.holds_lists(path) if _holds(path, "images") else veriwild.holds_test_lists(path),
    "market": lambda path: _holds(path, "bounding_box_train", "bounding_box_test"),
    "vric": lambda path: any(path.glob("vric_*.txt")) or _holds(path, "train_images", "probe_images", "gallery_images"),
}
_LOOKED_FOR = (
    "a VeRi folder (image_train, image_query, image_test, with or without name_train.txt), "
    "a VehicleID folder (train_test_split/ beside image/), a VERI-Wild folder (images/, train_list.txt, vehicle_info.txt), "
    "a Market-1501 folder (bounding_box_train, query, bounding_box_test), a VRIC folder (train_images, vric_train.txt), "
    "a folder a vehicle (train/ID/*.jpg), or a CSV file with columns path,vehicle,camera"
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
    return sound(read(found, option))


def layout_of(path: Path) -> str:
    """The name of the layout that a folder or file has; Refused names what was looked for."""
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return "csv"
        raise Refused(f"{path} is no data set: looked for {_LOOKED_FOR}")
    if not path.is_dir():
        raise Refused(f"{path} is a pipe, a socket or a device, and no data set; give a folder or a CSV file")
    signed = [layout for layout, signs in _SIGNS.items() if signs(path)]
    if len(signed) > 1:
        raise Refused(f"{path} looks like several layouts ({', '.join(signed)}); keep each data set in its own folder")
    if signed:
        return signed[0]
    tables = plain.tables_in(path)
    if len(tables) == 1 or "train.csv" in tables:
        return "csv"
    if tables:
        names = ", ".join(sorted(tables.values())[:5])
        raise Refused(f"{path} holds several CSV files ({names}); give the path of one of them")
    if any(folders.vehicles_in(where) for where in (path, *(path / part for part in folders.PARTS)) if where.is_dir()):
        return "folders"
    raise Refused(f"{path} holds no data set: looked for {_LOOKED_FOR}")


def read_test_part(path: Path) -> Dataset:
    """The data set to measure on: of a folder of CSV files the test part, test.csv or query.csv and gallery.csv.

    `remark` names the files. Raises Refused where it is not clear which file is the test part, and as `read_dataset` does.
    """
    tables = _csv_tables(path)
    if not tables:
        return read_dataset(path)
    there = [part for part in ("query", "gallery", "test") if f"{part}.csv" in tables]
    files = [path / tables[f"{part}.csv"] for part in there]
    listed = " and ".join(str(file) for file in files)
    if not there:
        found, table = read_dataset(path), plain.table_in(path)
        if len(tables) > 1 and found.query == found.train:  # a training list without a column `split`
            raise Refused(
                f"{path} holds {len(tables)} CSV files, and none is called test.csv: it is not clear which is the test part; "
                "give the path of one CSV file"
            )
        return replace(found, remark=f"measured on {table}")
    if there == ["test"]:
        found = read_dataset(files[0])
        return replace(found, name=path.resolve().name, remark=f"measured on {listed}")
    if len(there) != 2 or there[0] != "query":
        raise Refused(
            f"{path} holds {listed}, which is no clear test part; give one CSV file, or query.csv with gallery.csv"
        )
    query, gallery = (read_dataset(file) for file in files)
    parts = Dataset(path.resolve().name, (), query.query or query.gallery, gallery.gallery or gallery.query)
    return replace(sound(parts), remark=f"measured on {listed}")


def read_train_part(path: Path) -> Dataset:
    """The data set to learn from or to calibrate on: of a folder of CSV files train.csv, or the only one there.

    `remark` names the file. Raises Refused for a folder whose CSV files are those of a test part alone, and as `read_dataset`
    does.
    """
    tables = _csv_tables(path)
    if not tables:
        return replace(read_dataset(path), remark="")
    if not tables.keys() - {"test.csv", "query.csv", "gallery.csv"}:
        names = ", ".join(sorted(tables.values()))
        raise Refused(
            f"{path} holds no train.csv, only a test part ({names}); add train.csv, or give the path of a CSV file"
        )
    found = read_dataset(path)
    return replace(found, remark=f"training pictures are those of {plain.table_in(path)}")


def _csv_tables(path: Path) -> dict[str, str]:
    """The CSV files of a folder that has no other layout, lower-case name -> name; none of a file or another layout."""
    if not path.is_dir() or any(signs(path) for signs in _SIGNS.values()):
        return {}
    return plain.tables_in(path)


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


def _holds(path: Path, *names: str) -> bool:
    return any((path / name).is_dir() for name in names)


def _path_and_option(path: str | Path) -> tuple[Path, str]:
    split = re.fullmatch(r"(.+):(\w+)", str(path))
    if split and not Path(path).exists() and Path(split[1]).exists():
        return Path(split[1]), split[2]
    return Path(path), ""
