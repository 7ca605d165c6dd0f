"""The layouts of VeRi-776 and of VERI-Wild."""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.data.layouts import camera_label, labels_in
from vreid.train.data.records import (
    Dataset,
    Item,
    files_in,
    leads_inside,
    lines_of,
    pictures_in,
    text_of,
    vehicle_label,
    with_test,
)

# The layout of VeRi-776 (Liu et al., ECCV 2016): name_*.txt lists, image_* folders, labels in XML (methods.md 7.1).
#
# Vehicle and camera come from the file name, as in every published number; the XML serves for names that do not parse and
# for the vehicle's type. About 30 images of the original are missing from its XML: their kind is "". A part without its list
# is what lies in its folder. CityFlow's folders look the same; its test part carries no vehicle ids.


_CHINESE = ("utf-8-sig", "gb18030")  # gb18030 holds all of gb2312


def read_veri(path: Path) -> Dataset:
    """The VeRi folder as a Dataset; only a training part, or only a test part (query and gallery), is enough.

    Raises Refused when lists are missing, a listed image is not on disk, or a label is missing.
    """
    there = [part for part in ("train", "query", "test") if (path / f"image_{part}").is_dir()]
    if not there:
        raise Refused(
            f"{path} has lists but no image_train, image_query or image_test; put the images into the folder of the lists"
        )
    train = Dataset(path.resolve().name, _veri_items(path, "train") if "train" in there else (), (), ())
    return with_test(train, lambda: _veri_test(path, there))


def _veri_test(path: Path, there: Sequence[str]) -> Dataset:
    for part in ("query", "test"):
        if part not in there:
            whole = "no" if "query" not in there and "test" not in there else "half a"
            raise Refused(f"{path} has {whole} test part: add image_{part} and name_{part}.txt")
    return Dataset(path.resolve().name, (), _veri_items(path, "query"), _veri_items(path, "test"))


def _veri_items(path: Path, part: str) -> tuple[Item, ...]:
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
            raise Refused(f"{where} names {name}, which is not in {folder}; complete the folder or correct the list")
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
        raise Refused(f"{folder / name} names no vehicle and camera{without}; name it like 0002_c002_00030600_0.jpg")
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
        raise Refused(f"{path} is not well-formed XML ({error}); correct it or remove it") from error
    return {item.attrib["imageName"]: item.attrib for item in root.iter("Item") if "imageName" in item.attrib}


def _kinds(path: Path) -> dict[str, str]:
    """Number of a type -> its name, from lines like "1 sedan"; empty without the file."""
    if not path.is_file():
        return {}
    pairs = (line.split(None, 1) for line in text_of(path, _CHINESE).splitlines())
    return {pair[0].lstrip("0"): pair[1].strip() for pair in pairs if len(pair) == 2}


# The layout of VERI-Wild (Lou et al., CVPR 2019): images/ID/N.jpg, lists of ID/N, and cameras in vehicle_info.txt.
#
# Lists lie in train_test_split/, test_split/ or the folder itself. Test parts: 3000, 5000, 10000; in VERI-Wild 2.0 (Bai et al.,
# IEEE TPAMI 2022) A, B and All, whose lists name a picture and its vehicle in each line, and no camera. Their format was taken
# from how public loaders read them, since the data themselves are given out on request only.


_WILD_LISTS = ("train_test_split", "test_split", "test_split_V2", ".")
_NO_WILD_CAMERAS = (
    "the lists of {path} name no cameras, as in VERI-Wild 2.0: every gallery picture of a vehicle counts, also those of the "
    "query's own camera"
)


def read_veriwild(path: Path, option: str) -> Dataset:
    """The VERI-Wild folder as a Dataset; `option` picks the test part, else the first there.

    Without vehicle_info.txt a training part is read, each picture as a camera of its own, and no test part. Raises Refused
    when lists or pictures are missing, or a picture has no camera in vehicle_info.txt.
    """
    images = path / "images"
    training = _wild_list(path, "train_list.txt")
    if training and not images.is_dir():
        raise Refused(f"{path} is a VERI-Wild folder without images/; put the pictures there")
    if (images / "images").is_dir():
        images = images / "images"
    cameras = _wild_cameras(path)
    name = path.resolve().name
    train = Dataset(name, _wild_items(path, images, training, cameras) if training else (), (), ())
    if option and option.lower() not in {part.lower() for part in _wild_parts(path)}:
        raise Refused(f"{path} has no test part '{option}'; there are: {', '.join(_wild_parts(path)) or 'none'}")
    return with_test(train, lambda: _wild_test(path, images, cameras, option))


def holds_lists(path: Path) -> bool:
    """Whether a folder has a list of VERI-Wild's."""
    return bool(_wild_list(path, "train_list.txt") or _wild_list(path, "vehicle_info.txt") or _wild_parts(path))


def holds_test_lists(path: Path) -> bool:
    """Whether a folder without images/ has the test lists of VERI-Wild 2.0, whose pictures lie in query/ and gallery/."""
    return any(not part.isdecimal() for part in _wild_parts(path))


def _wild_test(path: Path, images: Path, cameras: Mapping[str, str] | None, option: str) -> Dataset:
    parts = {part.lower(): names for part, names in _wild_parts(path).items()}
    if not parts:
        raise Refused(f"{path} has no list of a test part; add test_3000.txt and test_3000_query.txt")
    query, gallery = parts[option.lower()] if option else next(iter(parts.values()))
    if gallery is None:
        raise Refused(f"{query} has no list of its gallery next to it; add {query.name.replace('_query', '')}")
    if cameras is None and not (_labelled(query) and _labelled(gallery)):
        raise Refused(f"{path} names no cameras, which measuring needs; add vehicle_info.txt")
    queries, others = (_wild_items(path, images, names, cameras) for names in (query, gallery))
    own = any(item.path.as_posix().endswith(f"/{item.camera}.jpg") for item in (*queries, *others))
    return Dataset("", (), queries, others, remark=_NO_WILD_CAMERAS.format(path=path) if own else "")


def _wild_list(path: Path, name: str) -> Path | None:
    return next((path / folder / name for folder in _WILD_LISTS if (path / folder / name).is_file()), None)


def _wild_parts(path: Path) -> dict[str, tuple[Path, Path | None]]:
    """Name of a test part -> its lists of the query and of the gallery, the smallest first."""
    found: dict[str, tuple[Path, Path | None]] = {}
    for folder in (path / name for name in _WILD_LISTS if (path / name).is_dir()):
        for name in files_in(folder):
            test = re.fullmatch(r"(?:test_(\d{1,9})|([ABC]|All))_query\.txt", name)
            if test and (test[1] or test[2]) not in found:
                names = (
                    (f"test_{test[1]}.txt", f"test_{test[1]}_gallery.txt") if test[1] else (f"{test[2]}_gallery.txt",)
                )
                gallery = next((folder / other for other in names if (folder / other).is_file()), None)
                found[test[1] or test[2]] = (folder / name, gallery)
    return {part: found[part] for part in sorted(found, key=lambda part: (part == "All", part.zfill(9)))}


def _wild_cameras(path: Path) -> dict[str, str] | None:
    """ID/N -> camera, from lines ID/N;camera;time;...; None without the file."""
    info = _wild_list(path, "vehicle_info.txt")
    if info is None:
        return None
    found = {}
    for line in text_of(info, _CHINESE).splitlines():
        words = re.split(r"[;,\t]", line)
        if len(words) > 1 and "/" in words[0]:
            found[words[0].strip().removesuffix(".jpg")] = words[1].strip()
    return found


def _wild_items(path: Path, images: Path, names: Path, cameras: Mapping[str, str] | None) -> tuple[Item, ...]:
    """The pictures of a list: lines of ID/N in `images`, or of a path and a vehicle (and a camera, where there is one)."""
    items = []
    on_disk: dict[Path, frozenset[str]] = {}

    def there(picture: Path) -> bool:
        folder = picture.parent
        if folder not in on_disk:
            on_disk[folder] = files_in(folder) if folder.is_dir() else frozenset()
        return picture.name in on_disk[folder]

    part = path / ("query" if "query" in names.name else "gallery")
    for where, line, words in lines_of(names):
        picture = words[0].removesuffix(".jpg")
        vehicle, _, name = picture.partition("/")
        if (len(words) == 1 and (not vehicle or not name or "/" in name)) or not leads_inside(picture):
            raise Refused(f"{where}: '{line[:60]}' is not a vehicle and a picture, such as 00001/000002")
        places = (images,) if len(words) == 1 else (images, part, path)
        place = next((place for place in places if there(place / f"{picture}.jpg")), None)
        if place is None:
            raise Refused(f"{where} names {picture[:60]}.jpg, which is not in {places[-1]}; complete the folder")
        camera = picture if cameras is None else cameras.get(picture, "")
        if len(words) > 1:
            vehicle, camera = words[1], words[2] if len(words) > 2 else camera or picture
        if not camera:
            raise Refused(f"{where}: vehicle_info.txt names no camera for {picture[:60]}; complete it")
        items.append(Item(place / f"{picture}.jpg", vehicle_label(vehicle, where), camera, where=where))
    return tuple(items)


def _labelled(names: Path) -> bool:
    """Whether a list names the vehicle after each picture, as those of VERI-Wild 2.0 do."""
    return all(len(line.split()) != 1 for line in text_of(names).splitlines())
