"""The layouts of data sets: a CSV file, Market-1501, VRIC, VehicleID, and a folder for each vehicle."""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.data.records import Dataset, Item, files_in, lines_of, pictures_in, text_of, vehicle_label, with_test

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("query", "probe"), "query"),
    "gallery": "gallery",
    **dict.fromkeys(("test", "testing"), "test"),
}
_NEEDED = ("path", "vehicle", "camera")


def read_csv(path: Path) -> Dataset:
    """The CSV file (or the one in a folder, train.csv first) as a Dataset; paths are relative to the file.

    Without `split` every row is in train, query and gallery: dropping the query's vehicle in its own camera drops itself too.
    With it, "test" rows are the gallery, and the query too where no row is "query". A faulty row of the test part is kept
    for whoever measures (`untested`). Raises Refused for a missing column, any other row without a value or picture, or an
    unknown split, naming it.
    """
    table = path if path.is_file() else table_in(path)
    parts: dict[str, list[Item]] = {"train": [], "validation": [], "query": [], "gallery": [], "test": []}
    untested = ""
    split = False
    for number, values in _csv_rows(table):
        where, split = f"{table}, line {number}", "split" in values
        named = _csv_parts(values, split, where)
        try:
            item = _csv_item(table.parent, values, where, f"{table}:{number}")
        except Refused as refused:
            if not split or named[0] in ("train", "validation"):
                raise
            untested = untested or str(refused)
            continue
        for part in named:
            parts[part].append(item)
            if part == "test":
                parts["gallery"].append(item)
    if not parts["train"] and untested:
        raise Refused(untested)
    if not any(parts.values()):
        raise Refused(f"{table} has no rows; add one line a picture")
    name = table.stem if path.is_file() else path.resolve().name
    train, validation = tuple(parts["train"]), tuple(parts["validation"])
    if untested:
        return Dataset(name, train, (), (), validation=validation, untested=untested)
    query, gallery = tuple(parts["query"] or parts["test"]), tuple(parts["gallery"])
    if split and not (query and gallery):
        missing = "test" if not query and not gallery else "gallery" if query else "query"
        untested = (
            f"{table} has no rows of split '{missing}', so there is nothing to measure; add them or give another file"
        )
    return Dataset(name, train, query, gallery, validation=validation, untested=untested)


def tables_in(folder: Path) -> dict[str, str]:
    """The CSV files of a folder: lower-case name -> name."""
    return {name.lower(): name for name in files_in(folder) if name.lower().endswith(".csv")}


def table_in(folder: Path) -> Path:
    """The CSV file that stands for a folder: the only one, or train.csv. Refused where it is not clear which."""
    tables = tables_in(folder)
    if len(tables) == 1:
        return folder / next(iter(tables.values()))
    if "train.csv" in tables:
        return folder / tables["train.csv"]
    raise Refused(f"{folder} holds {len(tables)} CSV files; give the path of one")


def _csv_rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, values by column) of every row that is not blank. Refused for what is not a CSV file with the columns needed."""
    text = text_of(table)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    columns: list[str] = []
    try:
        for row in rows:
            if not any(value.strip() for value in row):
                continue
            if columns:
                yield (
                    rows.line_num,
                    {key: value.strip() for key, value in zip(columns, row, strict=False)}
                    | {key: "" for key in columns[len(row) :]},
                )
                continue
            columns = [name.strip().lower() for name in row]
            _refuse_columns(table, columns)
    except csv.Error as error:
        raise Refused(f"{table} is not a well-formed CSV file: line {rows.line_num}: {error}") from error
    if not columns:
        _refuse_columns(table, columns)


def _refuse_columns(table: Path, columns: list[str]) -> None:
    for column in _NEEDED:
        if column not in columns:
            raise Refused(f"{table} has no column '{column}'; its first line must name path,vehicle,camera")
    for column in (*_NEEDED, "type", "split", "group"):
        if columns.count(column) > 1:
            raise Refused(f"{table} has the column '{column}' twice; keep one")


def _csv_item(folder: Path, values: Mapping[str, str], where: str, line: str) -> Item:
    for column in _NEEDED:
        if not values.get(column):
            raise Refused(f"{where}: '{column}' is empty; every row needs path, vehicle and camera")
    picture = folder / values["path"]
    try:
        there = picture.is_file()
    except OSError:
        there = False  # such as a name too long for the file system
    if not there:
        raise Refused(
            f"{where}: there is no picture {values['path'][:200]} (paths are relative to the CSV file); correct the path"
        )
    kind, group = values.get("type", ""), values.get("group", "")
    return Item(picture, vehicle_label(values["vehicle"], where), values["camera"], kind, where=line, group=group)


def _csv_parts(values: Mapping[str, str], split: bool, where: str) -> tuple[str, ...]:
    if not split:
        return ("train", "query", "gallery")
    named = values.get("split", "").lower()
    if named not in _SPLITS:
        raise Refused(f"{where}: split '{named[:40]}' is unknown; write train, val, test, query or gallery")
    return (_SPLITS[named],)


# File names that hold the labels: 0002_c002_00030600_0.jpg (VeRi-776), 0002_c1s1_000451_03.jpg (Market-1501).


_NAME = re.compile(r"(-?\d+)_c(\d+)(?:s\d+)?(?:_.*)?\.\w+", re.ASCII | re.DOTALL)


def labels_in(name: str) -> tuple[str, str] | None:
    """(vehicle, camera such as c002) of a file name; None where it holds none. Vehicle -1 is junk."""
    found = _NAME.fullmatch(name)
    return (found[1], camera_label(found[2])) if found else None


def camera_label(number: str) -> str:
    """c002 for "2", "c2" and "c002"."""
    return "c" + number.removeprefix("c").lstrip("0").zfill(3)


# The layout of Market-1501 (Zheng et al., ICCV 2015): bounding_box_train, bounding_box_test and query; names hold the labels.
#
# Vehicle -1 is junk and left out. Vehicle 0000 is a distractor, which belongs to the gallery only.


def read_market(path: Path) -> Dataset:
    """The Market-1501 folder as a Dataset; only a training part, or only a test part, is enough.

    Raises Refused when a folder is missing, or a file name holds no labels.
    """
    name = path.resolve().name
    training = path / "bounding_box_train"
    train = _market_items(training, distractors=False) if training.is_dir() else ()
    return with_test(Dataset(name, train, (), ()), lambda: _market_test(path, name))


def _market_test(path: Path, name: str) -> Dataset:
    for part in ("query", "bounding_box_test"):
        if not (path / part).is_dir():
            raise Refused(f"{path} has no folder {part}, so there is no test part; add it")
    return Dataset(
        name, (), _market_items(path / "query", distractors=False), _market_items(path / "bounding_box_test")
    )


def _market_items(folder: Path, distractors: bool = True) -> tuple[Item, ...]:
    items = []
    for name in pictures_in(folder):
        labels = labels_in(name)
        if labels is None:
            raise Refused(f"{folder / name} names no vehicle and camera; name it like 0002_c1s1_000451_03.jpg")
        vehicle, camera = labels
        if distractors or vehicle.strip("0"):
            items.append(Item(folder / name, vehicle_label(vehicle, str(folder / name)), camera))
    if not items:
        raise Refused(f"{folder} holds no pictures; put them there")
    return tuple(items)


# The layout of VRIC (Kanaci et al., GCPR 2018): train_images, probe_images and gallery_images, and vric_*.txt.
#
# A line of a list is a file name, a vehicle number and a camera number.


def read_vric(path: Path) -> Dataset:
    """The VRIC folder as a Dataset; only a training part, or only a test part, is enough.

    Raises Refused when a list or a folder is missing, a line has not three words, or a listed picture is not on disk.
    """
    name = path.resolve().name
    there = (path / "vric_train.txt").is_file() or (path / "train_images").is_dir()
    train = Dataset(name, _vric_items(path, "train") if there else (), (), ())
    return with_test(train, lambda: Dataset(name, (), _vric_items(path, "probe"), _vric_items(path, "gallery")))


def _vric_items(path: Path, part: str) -> tuple[Item, ...]:
    folder, names = path / f"{part}_images", path / f"vric_{part}.txt"
    for needed in (folder, names):
        if not needed.exists():
            raise Refused(f"{path} is a VRIC folder without {needed.name}; add it")
    on_disk = files_in(folder)
    items = []
    for where, line, words in lines_of(names):
        if len(words) != 3:
            raise Refused(f"{where}: '{line[:60]}' is not a file name, a vehicle number and a camera number")
        if words[0] not in on_disk:
            raise Refused(f"{where} names {words[0][:60]}, which is not in {folder}; complete the folder")
        camera = camera_label(words[2]) if words[2].isdecimal() else words[2]
        items.append(Item(folder / words[0], vehicle_label(words[1], where), camera, where=where))
    return tuple(items)


# The layout of VehicleID (Liu et al., CVPR 2016): image/ and the lists in train_test_split/.
#
# Source: methods.md 7.2; a line of a list is an image number and a vehicle number.
# The set names no cameras, so every image is its own camera; the protocol is "one_of_each".


def read_vehicleid(path: Path, option: str) -> Dataset:
    """The VehicleID folder as a Dataset; `option` picks the test list ("800", "1600", "2400"), else the smallest there.

    One of training list and test list is enough. Raises Refused when both are missing, when the requested test list
    is not there, or when a listed image is not on disk.
    """
    lists = path / "train_test_split"
    if not lists.is_dir() or not (path / "image").is_dir():
        raise Refused(f"{path} is not a VehicleID folder: it needs image/ and train_test_split/")
    on_disk = files_in(path / "image")
    sizes = {int(found[1]) for name in files_in(lists) if (found := re.fullmatch(r"test_list_([0-9]{1,9})\.txt", name))}
    training = lists / "train_list.txt"
    if not sizes and not training.is_file():
        raise Refused(f"{lists} holds no lists: add train_list.txt or test_list_800.txt")
    if option and (not re.fullmatch(r"[0-9]{1,9}", option) or int(option) not in sizes):
        there = ", ".join(str(size) for size in sorted(sizes)) or "none"
        raise Refused(f"{lists} has no test_list_{option}.txt; there are: {there}")
    train = _vehicleid_items(path / "image", training, on_disk) if training.is_file() else ()
    size = int(option) if option else min(sizes, default=0)
    name = path.resolve().name

    def tested() -> Dataset:
        if not sizes:
            raise Refused(f"{lists} has no list of a test part; add test_list_800.txt")
        test = _vehicleid_items(path / "image", lists / f"test_list_{size}.txt", on_disk)
        return Dataset(name, (), test, test, "one_of_each")

    return with_test(Dataset(f"{name}-{size}" if sizes else name, train, (), (), "one_of_each"), tested)


def _vehicleid_items(folder: Path, names: Path, on_disk: frozenset[str]) -> tuple[Item, ...]:
    items = []
    for where, line, words in lines_of(names):
        if len(words) != 2:
            raise Refused(f"{where}: '{line[:60]}' is not an image number and a vehicle number")
        image, vehicle = words[0].removesuffix(".jpg"), words[1]
        if f"{image}.jpg" not in on_disk:
            raise Refused(f"{where} names {image[:60]}.jpg, which is not in {folder}; complete the folder")
        items.append(Item(folder / f"{image}.jpg", vehicle_label(vehicle, where), image, where=where))
    return tuple(items)


# The layout of a folder a vehicle: train/ID/*.jpg, with query/ID and gallery/ID (or test/ID) where there are, or just ID/*.jpg.
#
# The camera comes from file names that hold one (0002_c002_7.jpg); where one holds none, each picture is its own camera.


FOLDER_PARTS = ("train", "val", "query", "gallery", "test")
_OWN_CAMERAS = (
    "{path} names no cameras: each picture counts as a camera of its own, so that pictures of one passage find each "
    "other and the figures are higher than across cameras; name pictures like 0002_c002_7.jpg to name cameras"
)


def read_folders(path: Path) -> Dataset:
    """The folder as a Dataset; without train/ every picture is in all three parts, as in a CSV file without splits.

    Raises Refused when no folder of a vehicle holds a picture, or a folder's name cannot be a label.
    """
    name = path.resolve().name
    parts = [part for part in FOLDER_PARTS if (path / part).is_dir() and vehicles_in(path / part)]
    if not parts:
        pictures = _folder_items(path)
        return Dataset(name, pictures, pictures, pictures, remark=_cameras_remark(path, pictures))
    train = _folder_items(path / "train") if "train" in parts else ()
    validation = _folder_items(path / "val") if "val" in parts else ()
    return with_test(
        Dataset(name, train, (), (), validation=validation), lambda: _folders_test(path, parts, name, validation)
    )


def vehicles_in(path: Path) -> list[str]:
    """The names of the folders in `path` that hold pictures, sorted."""
    return sorted(
        name
        for name in files_in(path)
        if not name.startswith(".") and (path / name).is_dir() and pictures_in(path / name)
    )


def _folders_test(path: Path, parts: list[str], name: str, validation: tuple[Item, ...]) -> Dataset:
    gallery = "gallery" if "gallery" in parts else "test"
    if gallery not in parts or (gallery == "gallery" and "query" not in parts):
        raise Refused(f"{path} has no test part: add test/, or query/ and gallery/, with a folder a vehicle")
    found = _folder_items(path / gallery)
    query = _folder_items(path / "query") if "query" in parts else found
    return Dataset(name, (), query, found, validation=validation, remark=_cameras_remark(path, (*query, *found)))


def _folder_items(folder: Path) -> tuple[Item, ...]:
    items: list[Item] = []
    for vehicle in vehicles_in(folder):
        try:
            vehicle.encode()
        except UnicodeEncodeError:
            shown = vehicle.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            raise Refused(f"the folder {folder}/{shown} is a vehicle's label but not UTF-8; rename it") from None
        label = vehicle_label(vehicle, str(folder / vehicle))
        for path in (folder / vehicle / name for name in pictures_in(folder / vehicle)):
            labels = labels_in(path.name)
            items.append(Item(path, label, labels[1] if labels else _own_camera(path)))
    if not items:
        raise Refused(f"{folder} holds no folder of a vehicle with pictures; add them as ID/NAME.jpg")
    return tuple(items)


def _own_camera(path: Path) -> str:
    """The label of a picture that is its own camera; the same for one name in two folders of one vehicle."""
    return f"{path.parent.name}/{path.name}".encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _cameras_remark(path: Path, items: tuple[Item, ...]) -> str:
    return _OWN_CAMERAS.format(path=path) if any(item.camera == _own_camera(item.path) for item in items) else ""
