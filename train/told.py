"""What a teacher said of the pictures of a data set, in a file: one query a picture, asked once, wherever the teacher lives.

A black box behind an API costs by the query, and on a small machine the teacher's forward pass costs more than the student's
step. The price: the teacher sees the picture as it is, while the student sees it augmented. The file is an .npz without
pickles: `teacher` (which one), `pictures` (N,) names, `bytes` (N,) the sizes of their files, `features` (N, E) float32 as the
teacher gave them. While it is asked for, rows lie in NAME.partial and NAME.partial.jsonl, where asking goes on after a stop.
"""

import hashlib
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.train.datasets.records import Item
from vreid.train.evaluate import Embed

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Features:
    """(N, E) what `teacher` said of N pictures; `asked` of them in this session, the others before."""

    teacher: str
    pictures: NDArray[np.str_]
    bytes: NDArray[np.int64]
    features: NDArray[np.float32]
    asked: int = 0


def name_of(item: Item, depth: int = 2) -> str:
    """What a picture is called in a file: the last `depth` parts of its path, wherever the data lies."""
    return "/".join(item.path.parts[-depth:])


def ask(
    embed: Embed, teacher: str, items: Sequence[Item], out: Path, batch: int = 64, told: Told = lambda done, of: None
) -> Features:
    """Ask for every item that is not in `out`, or in what was left of an earlier start, and write `out`, whole or not at all.

    `told` hears of (pictures done, of how many). Raises Refused where another teacher or other pictures were asked before.
    """
    names, sizes = _names_of(items), [item.path.stat().st_size for item in items]
    if out.exists():
        kept = read_features(out)
        if kept.teacher == teacher and kept.pictures.tolist() == names and kept.bytes.tolist() == sizes:
            return kept
        raise Refused(f"{out} holds the answers of another teacher or to other pictures; choose another name")
    rows, log = out.with_name(out.name + ".partial"), out.with_name(out.name + ".partial.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    head = {"teacher": teacher, "pictures": _digest(names, sizes)}
    done, width = _left_over(rows, log, head)
    with log.open("a", encoding="utf-8") as notes, rows.open("ab") as values:
        if not done:
            notes.write(json.dumps(head) + "\n")
        for start in range(done, len(items), batch):
            part = items[start : start + batch]
            found = np.ascontiguousarray(embed([read_picture(item.path) for item in part]), np.float32)
            if not np.isfinite(found).all():
                raise Refused(f"the teacher says no numbers of {name_of(part[0])} or its neighbours; mend the teacher")
            values.write(found.tobytes())
            values.flush()
            width = found.shape[1]
            notes.write(json.dumps({"done": start + len(part), "width": width}) + "\n")
            notes.flush()
            told(start + len(part), len(items))
    features = np.memmap(rows, np.float32, "r", shape=(len(items), width))
    half = out.with_name(out.name + ".whole.npz")
    np.savez(half, teacher=teacher, pictures=np.array(names), bytes=np.array(sizes), features=features)
    half.replace(out)
    rows.unlink()
    log.unlink()
    return Features(teacher, np.array(names), np.array(sizes), np.array(features), len(items) - done)


def read_features(path: Path) -> Features:
    """The answers in a file; Refused when it is none."""
    try:
        with np.load(path, allow_pickle=False) as kept:
            parts: dict[str, Any] = {name: kept[name] for name in ("teacher", "pictures", "bytes", "features")}
    except OSError as error:
        raise Refused(f"cannot read {path} ({error.strerror or error}); give a file made by vreid teach") from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise Refused(f"{path} is no feature file; make one with vreid teach") from error
    features = parts["features"]
    if features.ndim != 2 or not len(parts["pictures"]) == len(parts["bytes"]) == len(features) > 0:
        raise Refused(f"{path} is no whole feature file; make it again with vreid teach")
    return Features(str(parts["teacher"]), parts["pictures"], parts["bytes"], features.astype(np.float32))


def rows_of(told: Features, items: Sequence[Item], where: str) -> Tensor:
    """(N, E) the rows of these pictures. Refused, by name, for a picture that the teacher was not asked about, or that is
    another one under the same name; `where` names the file."""
    places = {name: place for place, name in enumerate(told.pictures.tolist())}
    found, depth = [], str(told.pictures[0]).count("/") + 1
    for item in items:
        place = places.get(name_of(item, depth))
        if place is None:
            raise Refused(f"{where} has no answer for {name_of(item, depth)}; ask about this data with vreid teach")
        if item.path.stat().st_size != told.bytes[place]:
            raise Refused(f"{where} was made of another data set: {name_of(item, depth)} is another picture there")
        found.append(place)
    return torch.from_numpy(told.features[found])


def _left_over(rows: Path, log: Path, head: dict[str, Any]) -> tuple[int, int]:
    """(pictures done, width) of an earlier start, cut back to whole batches; (0, 0) for none."""
    if not log.exists() or not rows.exists():
        rows.unlink(missing_ok=True)
        log.unlink(missing_ok=True)
        return 0, 0
    lines = log.read_text(encoding="utf-8").splitlines()
    try:
        if lines and json.loads(lines[0]) != head:
            raise Refused(f"{log} was begun with another teacher or other pictures; remove it, or choose another name")
        records = [json.loads(line) for line in lines[1:] if line.endswith("}")]
    except ValueError as error:
        raise Refused(f"{log} is damaged; remove it to ask again") from error
    done, width = (records[-1]["done"], records[-1]["width"]) if records else (0, 0)
    if rows.stat().st_size < done * width * 4:
        raise Refused(f"{rows} is shorter than {log} says; remove both to ask again")
    with rows.open("r+b") as file:
        file.truncate(done * width * 4)
    kept = [json.dumps(record) for record in ([head, *records] if done else [])]
    log.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return done, width


def _digest(names: Sequence[str], sizes: Sequence[int]) -> str:
    return hashlib.sha256(json.dumps([names, sizes]).encode()).hexdigest()


def _names_of(items: Sequence[Item]) -> list[str]:
    """The shortest names, of two parts or more, that tell all pictures apart."""
    longest = max((len(item.path.parts) for item in items), default=2)
    for depth in range(2, longest + 1):
        names = [name_of(item, depth) for item in items]
        if len(set(names)) == len(names):
            return names
    raise Refused("the data names one picture twice; give every picture a name of its own")
