"""The records of a data set: labelled pictures on disk, what each is recognised by, and the parts a benchmark makes of them."""

import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.models.picture import picture_bytes

LARGEST_NUMBER = 2**31 - 1
JUNK = "-1"  # the vehicle of a picture that counts as neither right nor wrong (Market-1501)
PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Item:
    """One picture of one vehicle; `vehicle`, `camera` and `kind` ("sedan", "bus"; "" = not known) are labels. `key` stands for
    the content of its file where that is known (`key_of`). `where` is the FILE:LINE of the list that named it. Vehicles of one
    `group` (a body, a fleet; "" = none) fall on one side of a cut."""

    path: Path
    vehicle: str
    camera: str
    kind: str = ""
    key: int | None = field(default=None, compare=False)
    where: str = field(default="", compare=False)
    group: str = ""


@dataclass(frozen=True)
class Dataset:
    """A training part and a test part; either may be empty.

    `protocol` says how the test part is used. "cameras": gallery pictures of the query's vehicle in the query's own
    camera are dropped (VeRi). "one_of_each": query and gallery both hold the whole test part; one random picture of
    each vehicle makes the gallery, all others are queries, and several draws are averaged (VehicleID).
    `validation` is a validation part that the data set names itself. `untested` says why the test part cannot be measured;
    `remark` is what whoever measures must know.
    """

    name: str
    train: tuple[Item, ...]
    query: tuple[Item, ...]
    gallery: tuple[Item, ...]
    protocol: Literal["cameras", "one_of_each"] = "cameras"
    validation: tuple[Item, ...] = ()
    untested: str = ""
    remark: str = ""


def with_test(train: Dataset, test: Callable[[], Dataset]) -> Dataset:
    """The training part of `train` and the test part that `test` reads.

    Where `test` raises Refused, its sentence is kept in `untested`; without a training part it is raised.
    """
    try:
        read = test()
    except Refused as refused:
        if not train.train:
            raise
        return replace(train, untested=str(refused))
    return replace(read, name=train.name, train=train.train)


def sound(dataset: Dataset) -> Dataset:
    """The data set without junk (vehicle -1). Raises Refused for a picture with two labels, or twice in one part."""
    labelled: dict[str, Item] = {}
    for part in {
        id(part): part for part in (dataset.train, dataset.validation, dataset.query, dataset.gallery)
    }.values():
        seen: dict[str, Item] = {}
        for item in part:
            path = os.path.normpath(item.path)
            first = labelled.setdefault(path, item)
            if (first.vehicle, first.camera) != (item.vehicle, item.camera):
                raise Refused(two_labels(first, item))
            if path in seen:
                raise Refused(
                    f"{item.where or item.path}: the picture {item.path} is listed already at {first.where}; remove one line"
                )
            seen[path] = item

    return only(dataset, lambda item: item.vehicle != JUNK)


def only(dataset: Dataset, wanted: Callable[[Item], bool]) -> Dataset:
    """The data set with those pictures that are `wanted`, in all its parts."""
    return replace(
        dataset,
        train=tuple(filter(wanted, dataset.train)),
        validation=tuple(filter(wanted, dataset.validation)),
        query=tuple(filter(wanted, dataset.query)),
        gallery=tuple(filter(wanted, dataset.gallery)),
    )


def two_labels(first: Item, second: Item) -> str:
    """The sentence that refuses a picture which two places label differently."""
    return (
        f"{second.where or second.path}: the picture {second.path} is vehicle {second.vehicle} in camera {second.camera}, "
        f"but at {first.where or first.path} vehicle {first.vehicle} in camera {first.camera}; keep the right one"
    )


def vehicle_label(text: str, where: str) -> str:
    """The label as it came; Refused when it is a number that other programs of the trade cannot hold (32 bits)."""
    digits = text.lstrip("0")
    if text.isdecimal() and (len(digits) > 10 or int(digits or "0") > LARGEST_NUMBER):
        raise Refused(f"{where}: vehicle number {text[:40]} is beyond {LARGEST_NUMBER}; renumber the vehicles")
    return text


def leads_inside(name: str) -> bool:
    """Whether a name that somebody else wrote can only be of a file in the folder it is looked up in."""
    path = PurePosixPath(name)
    return bool(name) and name.isprintable() and "\\" not in name and not path.is_absolute() and ".." not in path.parts


def files_in(folder: Path) -> frozenset[str]:
    """The names in a folder, read once: 50,000 single look-ups are slow on network disks. Refused where it cannot be read."""
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise Refused(f"cannot list {folder} ({error.strerror}); give a folder that can be read") from error


def pictures_in(folder: Path) -> list[str]:
    """The names of the pictures in a folder, sorted; hidden files are none."""
    return sorted(name for name in files_in(folder) if name.lower().endswith(PICTURES) and not name.startswith("."))


def lines_of(path: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(FILE:LINE, line, its words) of every line of a list that is not blank. Refused when it cannot be read."""
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if words := line.split():
            yield f"{path}:{number}", line, words


def text_of(path: Path, encodings: Iterable[str] = ("utf-8-sig",)) -> str:
    """A text file's content in the first of `encodings` that fits; Refused when it cannot be read."""
    try:
        content = regular(path).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {path} ({error.strerror})") from error
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    named = " or ".join(encoding.upper().removesuffix("-SIG") for encoding in encodings)
    raise Refused(f"{path} is not text in {named}; save it as UTF-8")


# What a data set is: the content and labels of its pictures, wherever they lie, however they are named and listed.
#
# A picture's key is the size of its file and the CRC-32 of its bytes; its mark is a digest of key, vehicle and camera. The
# numbers of vehicles and cameras are compared as numbers: "0002" in a file name is "2" in a list, "c001" is "cam1".


Marks = NDArray[np.int64]
_CAMERA = re.compile(r"(?:camera|cam|c)?[ _-]?0*([0-9]+)", re.IGNORECASE)


def key_of_bytes(content: bytes) -> int:
    """The key of a picture with this content, below 2**63."""
    return (len(content) & 0x7FFFFFFF) << 32 | zlib.crc32(content)


def key_of(item: Item) -> int:
    """The key of a picture; its file is read where the key is not known yet. Refused when that cannot be read."""
    return key_of_bytes(picture_bytes(item.path)) if item.key is None else item.key


def vehicle_word(vehicle: str) -> str:
    """A vehicle's label as it is compared: a number without the zeros in front."""
    return vehicle.lstrip("0") or "0" if vehicle.isdecimal() else vehicle


def camera_word(camera: str) -> str:
    """A camera's label as it is compared: only the number in "c001", "cam1" and "1"."""
    number = _CAMERA.fullmatch(camera)
    return number[1] if number else camera


def keys_of(items: Iterable[Item]) -> Marks:
    """(N,) the keys of pictures, sorted."""
    return np.sort(np.array([key_of(item) for item in items], np.int64))


def marks_of(items: Iterable[Item]) -> Marks:
    """(N,) the marks of pictures, sorted; equal for equal sets."""
    words = (f"{key_of(item):x}\n{vehicle_word(item.vehicle)}\n{camera_word(item.camera)}" for item in items)
    found = [hashlib.sha256(word.encode("utf-8", "surrogatepass")).digest()[:8] for word in words]
    return np.sort(np.frombuffer(b"".join(found), "<i8").astype(np.int64))


def digest_of_set(items: Sequence[Item]) -> str:
    """16 hex digits that stand for these pictures with these labels."""
    return hashlib.sha256(marks_of(items).astype("<i8").tobytes()).hexdigest()[:16]


def in_order(seed: int, words: Iterable[str]) -> list[str]:
    """The words, each once, in an order that depends only on the seed and each word."""
    return sorted(set(words), key=lambda word: (_digest(seed, word), word))


def drawn(seed: int, word: str) -> float:
    """A number from 0 to under 1 that depends only on the seed and the word; `in_order` sorts by it."""
    return int.from_bytes(_digest(seed, word)[:6], "big") / 2**48


def _digest(seed: int, word: str) -> bytes:
    return hashlib.sha256(f"{seed} {vehicle_word(word)}".encode("utf-8", "surrogatepass")).digest()
