"""Asks a teacher about pictures, once each, and goes on where it was cut off.

While it is asked, answers lie in NAME.partial and what they are of in NAME.partial.jsonl: a line says which teacher, then one
a batch how many pictures are done, how long an answer is, and a digest of those pictures. So pictures that were not asked
about yet may be mended, added or taken off the list.
"""

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.models.files import atomic, locked
from vreid.models.picture import decoded, picture_bytes
from vreid.train.data.records import Item
from vreid.train.evaluate import Embed
from vreid.train.told import Features, crc32_of, names_of, read_features, told_something

Told = Callable[[int, int], None]


def ask(
    embed: Embed, teacher: str, items: Sequence[Item], out: Path, batch: int = 64, told: Told = lambda done, of: None
) -> Features:
    """Ask for every item that is not in `out`, or in what was left of an earlier start, and write `out`, whole or not at all.
    Rows stand as the file has them: `rows_of` finds those of the items, which may be fewer and in another order.

    `told` hears of (pictures done, of how many). Raises Refused where another teacher or other pictures were asked before,
    and where another process is asking.
    """
    names = names_of(items)
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = out.with_name(out.name + ".partial")
        rows.touch()
        with locked(rows, "asking for"):
            if out.exists():  # another process has just come to its end
                rows.unlink(missing_ok=True)
            else:
                asked = _asked(embed, teacher, items, names, out, batch, told)
                return replace(read_features(out), asked=asked)
    kept = read_features(out)
    if kept.teacher == teacher and {crc32_of(item) for item in items} <= set(kept.crc32.tolist()):
        return kept
    raise Refused(f"{out} holds the answers of another teacher or to other pictures; choose another name")


def _asked(
    embed: Embed, teacher: str, items: Sequence[Item], names: Sequence[str], out: Path, batch: int, told: Told
) -> int:
    """Go on to the end, write `out`, and return the queries."""
    rows, log = out.with_name(out.name + ".partial"), out.with_name(out.name + ".partial.jsonl")
    records = _left_over(rows, log, teacher)
    done, width = (records[-1]["done"], records[-1]["width"]) if records else (0, 0)
    begun = done
    pictures, sums = hashlib.sha256(), list[int]()

    def noted(found: Iterable[int]) -> None:
        for crc32 in found:
            sums.append(crc32)
            pictures.update(f"{crc32}\n".encode())

    noted(map(crc32_of, items[:done]))
    if done and (done > len(items) or pictures.hexdigest() != records[-1]["pictures"]):
        raise Refused(f"{log} was begun with other pictures; remove it, or choose another name")
    with log.open("a", encoding="utf-8") as notes, rows.open("ab") as values:
        for start in range(done, len(items), batch):
            part = items[start : start + batch]
            contents = [picture_bytes(item.path) for item in part]
            images = [decoded(content, item.path) for content, item in zip(contents, part, strict=True)]
            found = np.ascontiguousarray(embed(images), np.float32)
            if not found.size or not told_something(found).all() or width not in (0, found.shape[1]):
                raise Refused(f"the teacher says no numbers of {names[start]} or its neighbours; mend the teacher")
            values.write(found.tobytes())
            values.flush()
            width, done = found.shape[1], start + len(part)
            noted(map(zlib.crc32, contents))
            notes.write(json.dumps({"done": done, "width": width, "pictures": pictures.hexdigest()}) + "\n")
            notes.flush()
            told(done, len(items))
    features = np.memmap(rows, np.float32, "r", shape=(done, width))
    if not told_something(features).all():
        raise Refused(f"{rows} is damaged; remove it to ask again")
    with atomic(out) as temporary, temporary.open("wb") as file:
        np.savez(file, teacher=teacher, pictures=np.array(names), crc32=np.array(sums, np.int64), features=features)
    rows.unlink()
    log.unlink()
    return done - begun


def _left_over(rows: Path, log: Path, teacher: str) -> list[dict[str, Any]]:
    """The batches of an earlier start; both files are cut back to them, and made where there are none."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        head = json.loads(lines[0]) if lines else {"teacher": teacher}
        records = [json.loads(line) for line in lines[1:] if line.endswith("}")]
        sizes = [0, *(int(record["done"]) * int(record["width"]) * 4 for record in records)]
        if head["teacher"] != teacher:
            raise Refused(f"{log} was begun with another teacher; remove it, or choose another name")
        if any(not isinstance(record["pictures"], str) for record in records) or sizes != sorted(set(sizes)):
            raise ValueError("batches that do not follow each other")
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{log} is damaged; remove it to ask again") from error
    if rows.stat().st_size < sizes[-1]:
        raise Refused(f"{rows} is shorter than {log} says; remove both to ask again")
    with rows.open("r+b") as file:
        file.truncate(sizes[-1])
    log.write_text("".join(json.dumps(line) + "\n" for line in (head, *records)), encoding="utf-8")
    return records
