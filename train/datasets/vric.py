"""The layout of VRIC (Kanaci et al., GCPR 2018): train_images, probe_images and gallery_images beside vric_*.txt.

A line of a list is a file name, a vehicle number and a camera number.
"""

from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.names import camera_label
from vreid.train.datasets.records import Dataset, Item, files_in, text_of, vehicle_label, with_test


def read(path: Path, option: str = "") -> Dataset:
    """The VRIC folder as a Dataset; a training part alone, or a test part alone, is enough.

    Raises Refused when a list or a folder is missing, a line has not three words, or a listed picture is not on disk.
    """
    if option:
        raise Refused(f"a VRIC folder has no part ':{option}'; give {path} alone")
    name = path.resolve().name
    there = (path / "vric_train.txt").is_file() or (path / "train_images").is_dir()
    train = Dataset(name, _items(path, "train") if there else (), (), ())
    return with_test(train, lambda: Dataset(name, (), _items(path, "probe"), _items(path, "gallery")))


def _items(path: Path, part: str) -> tuple[Item, ...]:
    folder, names = path / f"{part}_images", path / f"vric_{part}.txt"
    for needed in (folder, names):
        if not needed.exists():
            raise Refused(f"{path} is a VRIC folder without {needed.name}; add it")
    on_disk = files_in(folder)
    items = []
    for number, line in enumerate(text_of(names).splitlines(), 1):
        where, words = f"{names}:{number}", line.split()
        if not words:
            continue
        if len(words) != 3:
            raise Refused(f"{where}: '{line[:60]}' is not a file name, a vehicle number and a camera number")
        if words[0] not in on_disk:
            raise Refused(f"{where} names {words[0][:60]}, which is not in {folder}; complete the folder")
        camera = camera_label(words[2]) if words[2].isdecimal() else words[2]
        items.append(Item(folder / words[0], vehicle_label(words[1], where), camera, where=where))
    return tuple(items)
