"""The layout of a folder a vehicle: train/ID/*.jpg, with query/ID and gallery/ID (or test/ID) where there are, or just ID/*.jpg.

The camera comes from file names that hold one (0002_c002_7.jpg); where one holds none, each picture is its own camera.
"""

from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.names import labels_in
from vreid.train.datasets.records import Dataset, Item, files_in, pictures_in, vehicle_label, with_test

PARTS = ("train", "val", "query", "gallery", "test")
_NO_CAMERAS = (
    "{path} names no cameras: each picture counts as a camera of its own, so that pictures of one passage find each "
    "other and the figures are higher than across cameras; name pictures like 0002_c002_7.jpg to tell cameras"
)


def read(path: Path, option: str = "") -> Dataset:
    """The folder as a Dataset; without train/ every picture is in all three parts, as in a CSV file without splits.

    Raises Refused when no folder of a vehicle holds a picture, or a folder's name cannot be a label.
    """
    if option:
        raise Refused(f"a folder a vehicle has no part ':{option}'; give {path} alone")
    name = path.resolve().name
    parts = [part for part in PARTS if (path / part).is_dir() and vehicles_in(path / part)]
    if not parts:
        pictures = _items(path)
        return Dataset(name, pictures, pictures, pictures, remark=_remark(path, pictures))
    train = _items(path / "train") if "train" in parts else ()
    validation = _items(path / "val") if "val" in parts else ()
    return with_test(Dataset(name, train, (), (), validation=validation), lambda: _test(path, parts, name, validation))


def vehicles_in(path: Path) -> list[str]:
    """The names of the folders in `path` that hold pictures, sorted."""
    return sorted(
        name
        for name in files_in(path)
        if not name.startswith(".") and (path / name).is_dir() and pictures_in(path / name)
    )


def _test(path: Path, parts: list[str], name: str, validation: tuple[Item, ...]) -> Dataset:
    gallery = "gallery" if "gallery" in parts else "test"
    if gallery not in parts or (gallery == "gallery" and "query" not in parts):
        raise Refused(f"{path} has no test part: add test/, or query/ and gallery/, with a folder a vehicle")
    found = _items(path / gallery)
    query = _items(path / "query") if "query" in parts else found
    return Dataset(name, (), query, found, validation=validation, remark=_remark(path, (*query, *found)))


def _items(folder: Path) -> tuple[Item, ...]:
    items: list[Item] = []
    for vehicle in vehicles_in(folder):
        try:
            vehicle.encode()
        except UnicodeEncodeError:
            shown = vehicle.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            raise Refused(f"the folder {folder}/{shown} is a vehicle's label but not UTF-8; rename it") from None
        label = vehicle_label(vehicle, str(folder / vehicle))
        items += (_item(folder / vehicle / name, label) for name in pictures_in(folder / vehicle))
    if not items:
        raise Refused(f"{folder} holds no folder of a vehicle with pictures; add them as ID/NAME.jpg")
    return tuple(items)


def _item(path: Path, vehicle: str) -> Item:
    labels = labels_in(path.name)
    return Item(path, vehicle, labels[1] if labels else _own(path))


def _own(path: Path) -> str:
    """The label of a picture that is its own camera; the same for one name in two folders of one vehicle."""
    return f"{path.parent.name}/{path.name}".encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _remark(path: Path, items: tuple[Item, ...]) -> str:
    return _NO_CAMERAS.format(path=path) if any(item.camera == _own(item.path) for item in items) else ""
