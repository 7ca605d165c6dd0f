"""The layout of VeRi-776 (Liu et al., ECCV 2016): name_*.txt lists, image_* folders, labels in XML (methods.md 7.1).

Vehicle and camera come from the file name, as in every published number; the XML serves for names that do not parse and
for the vehicle's type. About 30 images of the original are missing from its XML: their kind is "". A part without its list
is what lies in its folder. CityFlow's folders look the same; its test part carries no vehicle ids.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.names import camera_label, labels_in
from vreid.train.datasets.records import Dataset, Item, files_in, pictures_in, text_of, vehicle_label, with_test

_CHINESE = ("utf-8-sig", "gb18030")  # gb18030 holds all of gb2312


def read(path: Path, option: str = "") -> Dataset:
    """The VeRi folder as a Dataset; a training part alone, or a test part (query and gallery) alone, is enough.

    Raises Refused when lists are missing, a listed image is not on disk, or a label cannot be told.
    """
    if option:
        raise Refused(f"a VeRi folder has no part ':{option}'; give {path} alone")
    there = [part for part in ("train", "query", "test") if (path / f"image_{part}").is_dir()]
    if not there:
        raise Refused(
            f"{path} has lists but no image_train, image_query or image_test; put the images beside the lists"
        )
    train = Dataset(path.resolve().name, _items(path, "train") if "train" in there else (), (), ())
    return with_test(train, lambda: _test(path, there))


def _test(path: Path, there: Sequence[str]) -> Dataset:
    for part in ("query", "test"):
        if part not in there:
            whole = "no" if "query" not in there and "test" not in there else "half a"
            raise Refused(f"{path} has {whole} test part: add image_{part} and name_{part}.txt")
    return Dataset(path.resolve().name, (), _items(path, "query"), _items(path, "test"))


def _items(path: Path, part: str) -> tuple[Item, ...]:
    folder, names = path / f"image_{part}", path / f"name_{part}.txt"
    on_disk = files_in(folder)
    labels = _labels(path / f"{part}_label.xml")
    if part == "query" and not labels:
        labels = _labels(path / "test_label.xml")
    listed = [(name, f"{names}:{number}") for number, name in _listed(names)]
    if not names.is_file():
        listed = [(name, "") for name in pictures_in(folder)]
        if not listed:
            raise Refused(f"{folder} holds no pictures; put them there")
    for name, where in listed:
        if name not in on_disk:
            raise Refused(f"{where} names {name}, which is not in {folder}; complete the folder or mend the list")
    if part != "train" and not any(labels_in(name) or labels.get(name, {}).get("vehicleID") for name, _ in listed):
        raise Refused(
            f"the test part of {path} carries no vehicle ids (neither the names in image_{part} nor an XML file hold them), "
            "so nothing can be measured on it; give a labelled test part"
        )
    kinds = _kinds(path / "list_type.txt")
    items = []
    for name, where in listed:
        label = labels.get(name, {})
        vehicle, camera = _vehicle_and_camera(name, label, folder, names)
        kind = label.get("typeID", "")
        items.append(
            Item(folder / name, vehicle, camera, kinds.get(kind.lstrip("0"), kind) if kind else "", where=where)
        )
    return tuple(items)


def _listed(names: Path) -> list[tuple[int, str]]:
    """(line, name of a picture) of a list; empty without the file."""
    if not names.is_file():
        return []
    lines = enumerate(map(str.strip, text_of(names, _CHINESE).splitlines()), 1)
    return [(number, name) for number, name in lines if name]


def _vehicle_and_camera(name: str, label: Mapping[str, str], folder: Path, names: Path) -> tuple[str, str]:
    vehicle, camera = labels_in(name) or (label.get("vehicleID", ""), label.get("cameraID", ""))
    if not vehicle or not camera:
        without = "" if names.is_file() else f", and without its lists: add {names.name}"
        raise Refused(f"{folder / name} tells no vehicle and camera{without}; name it like 0002_c002_00030600_0.jpg")
    return vehicle_label(vehicle, str(folder / name)), camera_label(camera)


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
