"""The layout of VeRi-776 (Liu et al., ECCV 2016): name_*.txt lists, image_* folders, labels in XML (methods.md 7.1).

Vehicle and camera come from the file name, as in every published number; the XML serves for names that do not parse and
for the vehicle's type. About 30 images of the original are missing from its XML: their kind is "".
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.records import Dataset, Item, files_in, text_of, vehicle_label

_NAME = re.compile(r"(\d+)_c(\d+)(?:_.*)?\.\w+", re.ASCII)
_CHINESE = ("utf-8-sig", "gb18030")  # gb18030 holds all of gb2312


def read(path: Path, option: str = "") -> Dataset:
    """The VeRi folder as a Dataset; a training part alone, or a test part (query and gallery) alone, is enough.

    Raises Refused when lists are missing, a listed image is not on disk, or a label cannot be told.
    """
    if option:
        raise Refused(f"a VeRi folder has no part ':{option}'; give {path} alone")
    parts = {part: _items(path, part) for part in ("train", "query", "test") if (path / f"image_{part}").is_dir()}
    if not parts:
        raise Refused(
            f"{path} has lists but no image_train, image_query or image_test; put the images beside the lists"
        )
    if ("query" in parts) != ("test" in parts):
        missing = "test" if "query" in parts else "query"
        raise Refused(f"{path} has half a test part: add image_{missing} and name_{missing}.txt")
    name = path.resolve().name
    return Dataset(name, parts.get("train", ()), parts.get("query", ()), parts.get("test", ()))


def _items(path: Path, part: str) -> tuple[Item, ...]:
    folder, names = path / f"image_{part}", path / f"name_{part}.txt"
    if not names.is_file():
        raise Refused(f"{path} is a VeRi folder without its lists: add {names.name}, one image name a line")
    on_disk = files_in(folder)
    labels = _labels(path / ("train_label.xml" if part == "train" else "test_label.xml"))
    kinds = _kinds(path / "list_type.txt")
    items = []
    for name in filter(None, map(str.strip, text_of(names, _CHINESE).splitlines())):
        if name not in on_disk:
            raise Refused(f"{names} names {name}, which is not in {folder}; complete the folder or mend the list")
        label = labels.get(name, {})
        vehicle, camera = _vehicle_and_camera(name, label, folder)
        kind = label.get("typeID", "")
        items.append(Item(folder / name, vehicle, camera, kinds.get(kind.lstrip("0"), kind) if kind else ""))
    return tuple(items)


def _vehicle_and_camera(name: str, label: Mapping[str, str], folder: Path) -> tuple[str, str]:
    parsed = _NAME.fullmatch(name)
    vehicle, camera = parsed.groups() if parsed else (label.get("vehicleID", ""), label.get("cameraID", ""))
    if not vehicle or not camera:
        raise Refused(f"{folder / name} tells no vehicle and camera; name it like 0002_c002_00030600_0.jpg")
    camera = camera.removeprefix("c")
    return vehicle_label(vehicle, str(folder / name)), "c" + camera.lstrip("0").zfill(3)


def _labels(path: Path) -> dict[str, dict[str, str]]:
    """imageName -> attributes; empty without the file. Python's expat refuses gb2312, so it is given decoded text."""
    if not path.is_file():
        return {}
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text_of(path, _CHINESE))
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Refused(f"{path} declares XML entities, which VeRi's labels do not have; remove them")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise Refused(f"{path} is no well-formed XML ({error}); mend it or remove it") from error
    return {item.attrib["imageName"]: item.attrib for item in root.iter("Item") if "imageName" in item.attrib}


def _kinds(path: Path) -> dict[str, str]:
    """Number of a type -> its name, from lines like "1 sedan"; empty without the file."""
    if not path.is_file():
        return {}
    pairs = (line.split(None, 1) for line in text_of(path, _CHINESE).splitlines())
    return {pair[0].lstrip("0"): pair[1].strip() for pair in pairs if len(pair) == 2}
