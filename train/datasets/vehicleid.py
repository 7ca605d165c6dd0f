"""The layout of VehicleID (Liu et al., CVPR 2016): image/ and the lists in train_test_split/.

Source: methods.md 7.2; a line of a list is an image number and a vehicle number.
The set names no cameras, so every image is its own camera; the protocol is "one_of_each".
"""

import re
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.records import Dataset, Item, files_in, text_of, vehicle_label, with_test


def read(path: Path, option: str = "") -> Dataset:
    """The VehicleID folder as a Dataset; `option` picks the test list ("800", "1600", "2400"), else the smallest there.

    A training list or a test list alone is enough. Raises Refused when both are missing, when the test list asked for
    is not there, or when a listed image is not on disk.
    """
    lists = path / "train_test_split"
    if not lists.is_dir() or not (path / "image").is_dir():
        raise Refused(f"{path} is no VehicleID folder: it needs image/ and train_test_split/")
    on_disk = files_in(path / "image")
    sizes = {int(found[1]) for name in files_in(lists) if (found := re.fullmatch(r"test_list_([0-9]{1,9})\.txt", name))}
    training = lists / "train_list.txt"
    if not sizes and not training.is_file():
        raise Refused(f"{lists} holds no lists: add train_list.txt or test_list_800.txt")
    if option and (not re.fullmatch(r"[0-9]{1,9}", option) or int(option) not in sizes):
        there = ", ".join(str(size) for size in sorted(sizes)) or "none"
        raise Refused(f"{lists} has no test_list_{option}.txt; there are: {there}")
    train = _items(path / "image", training, on_disk) if training.is_file() else ()
    size = int(option) if option else min(sizes, default=0)
    name = path.resolve().name

    def tested() -> Dataset:
        if not sizes:
            raise Refused(f"{lists} has no list of a test part; add test_list_800.txt")
        test = _items(path / "image", lists / f"test_list_{size}.txt", on_disk)
        return Dataset(name, (), test, test, "one_of_each")

    return with_test(Dataset(f"{name}-{size}" if sizes else name, train, (), (), "one_of_each"), tested)


def _items(folder: Path, names: Path, on_disk: frozenset[str]) -> tuple[Item, ...]:
    items = []
    for number, line in enumerate(text_of(names).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise Refused(f"{names}, line {number}: '{line[:60]}' is not an image number and a vehicle number")
        image, vehicle = words[0].removesuffix(".jpg"), words[1]
        if f"{image}.jpg" not in on_disk:
            raise Refused(
                f"{names}, line {number} names {image[:60]}.jpg, which is not in {folder}; complete the folder"
            )
        label = vehicle_label(vehicle, f"{names}, line {number}")
        items.append(Item(folder / f"{image}.jpg", label, image, where=f"{names}:{number}"))
    return tuple(items)
