"""The layout of Market-1501 (Zheng et al., ICCV 2015): bounding_box_train, bounding_box_test and query; names hold the labels.

Vehicle -1 is junk and left out. Vehicle 0000 is a distractor, which belongs to the gallery alone.
"""

from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.names import labels_in
from vreid.train.datasets.records import Dataset, Item, pictures_in, vehicle_label, with_test


def read(path: Path, option: str = "") -> Dataset:
    """The Market-1501 folder as a Dataset; a training part alone, or a test part alone, is enough.

    Raises Refused when a folder is missing, or a file name holds no labels.
    """
    if option:
        raise Refused(f"a Market-1501 folder has no part ':{option}'; give {path} alone")
    name = path.resolve().name
    training = path / "bounding_box_train"
    train = _items(training, distractors=False) if training.is_dir() else ()
    return with_test(Dataset(name, train, (), ()), lambda: _test(path, name))


def _test(path: Path, name: str) -> Dataset:
    for part in ("query", "bounding_box_test"):
        if not (path / part).is_dir():
            raise Refused(f"{path} has no folder {part}, so there is no test part; add it")
    return Dataset(name, (), _items(path / "query", distractors=False), _items(path / "bounding_box_test"))


def _items(folder: Path, distractors: bool = True) -> tuple[Item, ...]:
    items = []
    for name in pictures_in(folder):
        labels = labels_in(name)
        if labels is None:
            raise Refused(f"{folder / name} tells no vehicle and camera; name it like 0002_c1s1_000451_03.jpg")
        vehicle, camera = labels
        if distractors or vehicle.strip("0"):
            items.append(Item(folder / name, vehicle_label(vehicle, str(folder / name)), camera))
    if not items:
        raise Refused(f"{folder} holds no pictures; put them there")
    return tuple(items)
