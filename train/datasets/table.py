"""The seam of data set layouts: recognises a folder or CSV file, opens it, and joins training parts of several sets."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.train.datasets.records import Dataset, Item, files_in

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
    """The training parts of several sets as one; vehicles and cameras get "name:" in front, so that none coincide."""
    seen: Counter[str] = Counter()
    items: list[Item] = []
    for dataset in datasets:
        if not dataset.train:
            raise Refused(f"the data set '{dataset.name}' has no training part; leave it out or give one that has")
        seen[dataset.name] += 1
        name = dataset.name if seen[dataset.name] == 1 else f"{dataset.name}#{seen[dataset.name]}"
        items += [replace(i, vehicle=f"{name}:{i.vehicle}", camera=f"{name}:{i.camera}") for i in dataset.train]
    return tuple(items)


def _path_and_option(path: str | Path) -> tuple[Path, str]:
    split = re.fullmatch(r"(.+):(\w+)", str(path))
    if split and not Path(path).exists() and Path(split[1]).exists():
        return Path(split[1]), split[2]
    return Path(path), ""
