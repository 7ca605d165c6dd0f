"""The records of a data set: labelled pictures on disk, and the parts a benchmark makes of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

from vreid.models.errors import Refused

LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Item:
    """One picture of one vehicle; `vehicle`, `camera` and `kind` ("sedan", "bus"; "" = not known) are labels. `key` stands for
    the content of its file where that is known (train/identity.py)."""

    path: Path
    vehicle: str
    camera: str
    kind: str = ""
    key: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Dataset:
    """A training part and a test part; either may be empty.

    `protocol` says how the test part is used. "cameras": gallery pictures of the query's vehicle in the query's own
    camera are dropped (VeRi). "one_of_each": query and gallery both hold the whole test part; one random picture of
    each vehicle makes the gallery, all others ask, and several draws are averaged (VehicleID).
    """

    name: str
    train: tuple[Item, ...]
    query: tuple[Item, ...]
    gallery: tuple[Item, ...]
    protocol: Literal["cameras", "one_of_each"] = "cameras"


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
    """The names in a folder, read once: 50,000 single look-ups are slow on network disks."""
    try:
        return frozenset(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise Refused(f"cannot list {folder} ({error.strerror}); give a folder that can be read") from error


def text_of(path: Path, encodings: Iterable[str] = ("utf-8-sig",)) -> str:
    """A text file's content in the first of `encodings` that fits; Refused when it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {path} ({error.strerror})") from error
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Refused(f"{path} is not text in {' or '.join(encodings)}; save it as UTF-8")
