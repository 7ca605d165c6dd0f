"""The layout of VERI-Wild (Lou et al., CVPR 2019): images/ID/N.jpg, lists of ID/N, and cameras in vehicle_info.txt.

Lists lie in train_test_split/, test_split/ or the folder itself. Test parts: 3000, 5000, 10000; in VERI-Wild 2.0 (Bai et al.,
IEEE TPAMI 2022) A, B and All, whose lists name a picture and its vehicle in each line, and no camera. Their format was taken
from how public loaders read them, since the data themselves are given out on request alone.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.records import Dataset, Item, files_in, leads_inside, text_of, vehicle_label, with_test

_LISTS = ("train_test_split", "test_split", "test_split_V2", ".")
_TEXT = ("utf-8-sig", "gb18030")
_NO_CAMERAS = (
    "the lists of {path} name no cameras, as in VERI-Wild 2.0: every gallery picture of a vehicle counts, also those of the "
    "query's own camera"
)


def read(path: Path, option: str = "") -> Dataset:
    """The VERI-Wild folder as a Dataset; `option` picks the test part, else the first there.

    Without vehicle_info.txt a training part is read, each picture as a camera of its own, and no test part. Raises Refused
    when lists or pictures are missing, or a picture has no camera in vehicle_info.txt.
    """
    images = path / "images"
    training = _list(path, "train_list.txt")
    if training and not images.is_dir():
        raise Refused(f"{path} is a VERI-Wild folder without images/; put the pictures there")
    if (images / "images").is_dir():
        images = images / "images"
    cameras = _cameras(path)
    name = path.resolve().name
    train = Dataset(name, _items(path, images, training, cameras) if training else (), (), ())
    if option and option.lower() not in {part.lower() for part in _parts(path)}:
        raise Refused(f"{path} has no test part '{option}'; there are: {', '.join(_parts(path)) or 'none'}")
    return with_test(train, lambda: _test(path, images, cameras, option))


def holds_lists(path: Path) -> bool:
    """Whether a folder has a list of VERI-Wild's."""
    return bool(_list(path, "train_list.txt") or _list(path, "vehicle_info.txt") or _parts(path))


def holds_test_lists(path: Path) -> bool:
    """Whether a folder without images/ has the test lists of VERI-Wild 2.0, whose pictures lie in query/ and gallery/."""
    return any(not part.isdecimal() for part in _parts(path))


def _test(path: Path, images: Path, cameras: Mapping[str, str] | None, option: str) -> Dataset:
    parts = {part.lower(): names for part, names in _parts(path).items()}
    if not parts:
        raise Refused(f"{path} has no list of a test part; add test_3000.txt and test_3000_query.txt")
    query, gallery = parts[option.lower()] if option else next(iter(parts.values()))
    if gallery is None:
        raise Refused(f"{query} has no list of its gallery beside it; add {query.name.replace('_query', '')}")
    if cameras is None and not (_labelled(query) and _labelled(gallery)):
        raise Refused(f"{path} names no cameras, which measuring needs; add vehicle_info.txt")
    asked, others = (_items(path, images, names, cameras) for names in (query, gallery))
    own = any(item.path.as_posix().endswith(f"/{item.camera}.jpg") for item in (*asked, *others))
    return Dataset("", (), asked, others, remark=_NO_CAMERAS.format(path=path) if own else "")


def _list(path: Path, name: str) -> Path | None:
    return next((path / folder / name for folder in _LISTS if (path / folder / name).is_file()), None)


def _parts(path: Path) -> dict[str, tuple[Path, Path | None]]:
    """Name of a test part -> its lists of the query and of the gallery, the smallest first."""
    found: dict[str, tuple[Path, Path | None]] = {}
    for folder in (path / name for name in _LISTS if (path / name).is_dir()):
        for name in files_in(folder):
            test = re.fullmatch(r"(?:test_(\d{1,9})|([ABC]|All))_query\.txt", name)
            if test and (test[1] or test[2]) not in found:
                names = (
                    (f"test_{test[1]}.txt", f"test_{test[1]}_gallery.txt") if test[1] else (f"{test[2]}_gallery.txt",)
                )
                gallery = next((folder / other for other in names if (folder / other).is_file()), None)
                found[test[1] or test[2]] = (folder / name, gallery)
    return {part: found[part] for part in sorted(found, key=lambda part: (part == "All", part.zfill(9)))}


def _cameras(path: Path) -> dict[str, str] | None:
    """ID/N -> camera, from lines ID/N;camera;time;...; None without the file."""
    info = _list(path, "vehicle_info.txt")
    if info is None:
        return None
    found = {}
    for line in text_of(info, _TEXT).splitlines():
        words = re.split(r"[;,\t]", line)
        if len(words) > 1 and "/" in words[0]:
            found[words[0].strip().removesuffix(".jpg")] = words[1].strip()
    return found


def _items(path: Path, images: Path, names: Path, cameras: Mapping[str, str] | None) -> tuple[Item, ...]:
    """The pictures of a list: lines of ID/N in `images`, or of a path and a vehicle (and a camera, where there is one)."""
    items = []
    on_disk: dict[Path, frozenset[str]] = {}

    def there(picture: Path) -> bool:
        folder = picture.parent
        if folder not in on_disk:
            on_disk[folder] = files_in(folder) if folder.is_dir() else frozenset()
        return picture.name in on_disk[folder]

    part = path / ("query" if "query" in names.name else "gallery")
    for number, line in enumerate(text_of(names).splitlines(), 1):
        where, words = f"{names}:{number}", line.split()
        if not words:
            continue
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
    """Whether a list names the vehicle beside each picture, as those of VERI-Wild 2.0 do."""
    return all(len(line.split()) != 1 for line in text_of(names).splitlines())
