"""All pictures of a training are read once before its first epoch: broken ones are found now, and each gets its key.

What was found is kept in a file by path, size and time of change, so that a training that goes on reads only what is new.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.files import write_atomic
from vreid.models.picture import fault_of, picture_bytes
from vreid.train.data.records import Dataset, Item, key_of_bytes, only, two_labels, vehicle_word

SKIPPED = "skipped.txt"
_NAMED = 5  # broken pictures that a refusal names
_UNREADABLE = -1


@dataclass(frozen=True)
class Checked:
    """By path: the keys of all pictures, and for the broken ones the sentence that says why; `stamps` is for `keep`."""

    keys: Mapping[Path, int]
    faults: Mapping[Path, str]
    stamps: Mapping[str, int]


def check(
    datasets: Sequence[Dataset], kept: Path | None = None, progress: Callable[[int, int], None] = lambda done, of: None
) -> Checked:
    """Read and check every picture of the training and validation parts that is not in the file `kept`.

    `progress` gets (pictures done, of how many).
    """
    known = _read(kept)
    paths = list(dict.fromkeys(item.path for dataset in datasets for item in (*dataset.train, *dataset.validation)))
    stamps, keys, faults = {}, {}, {}
    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        for done, (path, stamp, key, fault) in enumerate(pool.map(lambda path: _checked(path, known), paths), 1):
            keys[path] = key
            if fault:
                faults[path] = fault
            elif stamp:
                stamps[stamp] = key
            progress(done, len(paths))
    return Checked(keys, faults, stamps)


def keep(found: Checked, kept: Path) -> None:
    """Write the sound pictures to the file `kept`, so that they are not read again."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(kept, json.dumps(found.stamps))  # names that are not UTF-8 are escaped


def keyed(dataset: Dataset, found: Checked) -> Dataset:
    """The data set whose training pictures know their keys."""
    return replace(dataset, train=tuple(replace(item, key=found.keys[item.path]) for item in dataset.train))


def without(dataset: Dataset, paths: Mapping[Path, str]) -> Dataset:
    """The data set without these pictures, in all its parts."""
    return only(dataset, lambda item: item.path not in paths)


def refuse_twice(datasets: Sequence[Dataset], found: Checked) -> None:
    """Raises Refused for a picture (by its content) that is two vehicles, in one data set or in two."""
    owners: dict[int, tuple[int, Item]] = {}
    for number, dataset in enumerate(datasets):
        for item in dataset.train:
            if item.path in found.faults:
                continue
            owner, first = owners.setdefault(found.keys[item.path], (number, item))
            if owner != number and vehicle_word(first.vehicle) == vehicle_word(item.vehicle):
                raise Refused(
                    f"{item.where or item.path}: the picture {item.path} is in two data sets, also at "
                    f"{first.where or first.path}, as vehicle {item.vehicle}; take it out of one"
                )
            if vehicle_word(first.vehicle) != vehicle_word(item.vehicle):
                raise Refused(two_labels(first, item))


def refuse_broken(found: Checked) -> None:
    """Raises Refused for broken pictures: how many, and the first of them by name."""
    if not found.faults:
        return
    first = [sentence.rsplit("; ", 1)[0] for sentence in list(found.faults.values())[:_NAMED]]
    more = f" and {len(found.faults) - _NAMED} more" if len(found.faults) > _NAMED else ""
    raise Refused(
        f"{len(found.faults)} of {len(found.keys)} pictures cannot be learnt from: {', '.join(first)}{more}; copy them again, "
        "take them off the list, or leave them out with --skip-broken"
    )


def write_skipped(folder: Path, found: Checked) -> None:
    """The sentences about the pictures that are left out, one a line, in folder/skipped.txt; no file where there are none."""
    listed = folder / SKIPPED
    if not found.faults:
        if listed.exists():
            listed.unlink()
        return
    text = "".join(f"{sentence}\n" for sentence in found.faults.values())
    folder.mkdir(parents=True, exist_ok=True)
    listed.write_text(text, encoding="utf-8", errors="backslashreplace")


def _checked(path: Path, known: Mapping[str, int]) -> tuple[Path, str, int, str]:
    stamp = _stamp(path)
    if stamp in known:
        return path, stamp, known[stamp], ""
    try:
        content = picture_bytes(path)
    except Refused as refused:
        return path, stamp, _UNREADABLE, str(refused)
    return path, stamp, key_of_bytes(content), fault_of(content, path)


def _stamp(path: Path) -> str:
    """Path, size and time of change of a file; "" where it cannot be looked at."""
    try:
        about = path.stat()
    except OSError:
        return ""
    return f"{path.absolute()} {about.st_size} {about.st_mtime_ns}"


def _read(kept: Path | None) -> dict[str, int]:
    """What was checked before; nothing where the file is missing or damaged."""
    if kept is None or not kept.exists():
        return {}
    try:
        fields = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    sound = isinstance(fields, dict) and all(isinstance(key, int) for key in fields.values())
    return fields if sound else {}
