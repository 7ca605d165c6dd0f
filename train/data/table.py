"""The seam of data set layouts: recognises a folder or CSV file, and opens it."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.train.data import layouts, veri
from vreid.train.data.records import Dataset, sound

LAYOUTS = {
    "veri": "vreid.train.data.veri:read_veri",
    "vehicleid": "vreid.train.data.layouts:read_vehicleid",
    "veriwild": "vreid.train.data.veri:read_veriwild",
    "market": "vreid.train.data.layouts:read_market",
    "vric": "vreid.train.data.layouts:read_vric",
    "csv": "vreid.train.data.layouts:read_csv",
    "folders": "vreid.train.data.layouts:read_folders",
}
WITH_PARTS = ("vehicleid", "veriwild")  # whose readers take the name of a test part too, or ""
_SIGNS: dict[str, Callable[[Path], bool]] = {
    "veri": lambda path: any(path.glob("name_*.txt")) or _holds(path, "image_train", "image_query", "image_test"),
    "vehicleid": lambda path: (
        _holds(path, "train_test_split") and (_holds(path, "image") or not _holds(path, "images"))
    ),
    "veriwild": lambda path: veri.holds_lists(path) if _holds(path, "images") else veri.holds_test_lists(path),
    "market": lambda path: _holds(path, "bounding_box_train", "bounding_box_test"),
    "vric": lambda path: any(path.glob("vric_*.txt")) or _holds(path, "train_images", "probe_images", "gallery_images"),
}
_LOOKED_FOR = (
    "a VeRi folder (image_train, image_query, image_test, with or without name_train.txt), "
    "a VehicleID folder (train_test_split/ and image/), a VERI-Wild folder (images/, train_list.txt, vehicle_info.txt), "
    "a Market-1501 folder (bounding_box_train, query, bounding_box_test), a VRIC folder (train_images, vric_train.txt), "
    "a folder a vehicle (train/ID/*.jpg), or a CSV file with columns path,vehicle,camera"
)


def read_dataset(path: str | Path) -> Dataset:
    """The data set at `path`, by the layout that is recognised; "DIR:1600" passes "1600" to a layout of several test parts.

    Raises Refused when nothing is recognised or the layout finds its files wanting.
    """
    found, option = _path_and_option(path)
    if not found.exists():
        raise Refused(f"there is no data set at {found}; give {_LOOKED_FOR}")
    layout = layout_of(found)
    if option and layout not in WITH_PARTS:
        raise Refused(f"{found} has no part ':{option}'; give it without")
    read = open_seam("data set layout", LAYOUTS, layout)
    return sound(read(found, option) if layout in WITH_PARTS else read(found))


def layout_of(path: Path) -> str:
    """The name of the layout that a folder or file has; Refused names what was looked for."""
    if path.is_file():
        if path.suffix.lower() == ".csv":
            return "csv"
        raise Refused(f"{path} is not a data set: looked for {_LOOKED_FOR}")
    if not path.is_dir():
        raise Refused(f"{path} is a pipe, a socket or a device, not a data set; give a folder or a CSV file")
    signed = [layout for layout, signs in _SIGNS.items() if signs(path)]
    if len(signed) > 1:
        raise Refused(f"{path} looks like several layouts ({', '.join(signed)}); keep each data set in its own folder")
    if signed:
        return signed[0]
    tables = layouts.tables_in(path)
    if len(tables) == 1 or "train.csv" in tables:
        return "csv"
    if tables:
        names = ", ".join(sorted(tables.values())[:5])
        raise Refused(f"{path} holds several CSV files ({names}); give the path of one of them")
    if any(
        layouts.vehicles_in(where)
        for where in (path, *(path / part for part in layouts.FOLDER_PARTS))
        if where.is_dir()
    ):
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
        found, table = read_dataset(path), layouts.table_in(path)
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
            f"{path} holds {listed}, which is not a clear test part; give one CSV file, or query.csv with gallery.csv"
        )
    query, gallery = (read_dataset(file) for file in files)
    parts = Dataset(path.resolve().name, (), query.query or query.gallery, gallery.gallery or gallery.query)
    return replace(sound(parts), remark=f"measured on {listed}")


def read_train_part(path: Path) -> Dataset:
    """The data set to learn from or to calibrate on: of a folder of CSV files train.csv, or the only one there.

    `remark` names the file. Raises Refused for a folder whose CSV files are those of a test part only, and as `read_dataset`
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
    return replace(found, remark=f"training pictures are those of {layouts.table_in(path)}")


def _csv_tables(path: Path) -> dict[str, str]:
    """The CSV files of a folder that has no other layout, lower-case name -> name; none of a file or another layout."""
    if not path.is_dir() or any(signs(path) for signs in _SIGNS.values()):
        return {}
    return layouts.tables_in(path)


def _holds(path: Path, *names: str) -> bool:
    return any((path / name).is_dir() for name in names)


def _path_and_option(path: str | Path) -> tuple[Path, str]:
    split = re.fullmatch(r"(.+):(\w+)", str(path))
    if split and not Path(path).exists() and Path(split[1]).exists():
        return Path(split[1]), split[2]
    return Path(path), ""
