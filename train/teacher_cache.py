"""The teacher cache: a teacher's embeddings of a data set's pictures, in a file; one query a picture, wherever it runs.

A black box behind an API costs by the query, and on a small machine the teacher's forward pass costs more than the student's
step. The drawback: the teacher sees the picture as it is, while the student sees it augmented. The file is an .npz without
pickles: `teacher` (which one), `pictures` (N,) names, `crc32` (N,) of their files, `features` (N, E) float32 as the teacher
gave them. A picture is found by its CRC-32, wherever it lies and whatever it is called; the name distinguishes two pictures of
one CRC-32.

While it is built, embeddings lie in NAME.partial and what they are of in NAME.partial.jsonl: a line names the teacher, then one
for each batch says how many pictures are done, how long an embedding is, and a digest of those pictures. So pictures that have
no embedding yet may be replaced, added or taken off the list.
"""

import hashlib
import json
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.files import atomic, locked, naming, regular, remove_leftovers
from vreid.models.picture import decoded, picture_bytes
from vreid.models.preprocess import Embed
from vreid.train.data.records import Item, key_of


@dataclass(frozen=True)
class TeacherEmbeddings:
    """(N, E) the embeddings of N pictures by `teacher`; `queries` of them in this session, the others before."""

    teacher: str
    pictures: NDArray[np.str_]
    crc32: NDArray[np.int64]
    features: NDArray[np.float32]
    queries: int = 0


def picture_name(item: Item, depth: int = 2) -> str:
    """What a picture is called in a file: the last `depth` parts of its path, wherever the data lies."""
    return "/".join(item.path.absolute().parts[-depth:])


def picture_names(items: Sequence[Item]) -> list[str]:
    """The shortest names, of two parts or more, that distinguish all pictures; Refused for a picture that comes twice."""
    longest = max((len(item.path.absolute().parts) for item in items), default=2)
    for depth in range(2, longest + 1):
        names = [picture_name(item, depth) for item in items]
        if len(set(names)) == len(names):
            return names
    raise Refused("the data names one picture twice; give every picture a name of its own")


def crc32_of(item: Item) -> int:
    """The CRC-32 of a picture's file; Refused when that cannot be read."""
    return key_of(item) & 0xFFFFFFFF


def read_features(path: Path) -> TeacherEmbeddings:
    """The embeddings in a file; Refused when it is not a teacher cache, or holds NaN, infinite numbers or zeros only."""
    try:
        with np.load(regular(path), allow_pickle=False) as kept:
            parts: dict[str, Any] = {name: kept[name] for name in ("teacher", "pictures", "crc32", "features")}
        names, sums, features = parts["pictures"].astype(np.str_), parts["crc32"].astype(np.int64), parts["features"]
        sound = np.issubdtype(features.dtype, np.floating) and features.ndim == 2
        features = features.astype(np.float32) if sound else np.zeros((0, 0), np.float32)
    except OSError as error:
        raise Refused(
            f"cannot read {path} ({error.strerror or error}); give a file made by vreid cache-teacher"
        ) from error
    except DAMAGED as error:
        raise Refused(f"{path} is not a teacher cache; make one with vreid cache-teacher") from error
    if not names.shape == sums.shape == features.shape[:1] or not features.size:
        raise Refused(f"{path} is not a complete teacher cache; make it again with vreid cache-teacher")
    if len(set(names.tolist())) < len(names) or len({name.count("/") for name in names.tolist()}) > 1:
        raise Refused(f"{path} names a picture twice, or in two ways; make it again with vreid cache-teacher")
    if len(wrong := np.flatnonzero(~has_direction(features))):
        raise Refused(
            f"{path}: the embedding of {names[wrong[0]]} contains NaN or is all zeros; make it again with vreid cache-teacher"
        )
    return TeacherEmbeddings(str(parts["teacher"]), names, sums, features)


def has_direction(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N, E) -> (N,): whether a row is all numbers, and not all zeros, which have no direction."""
    return np.asarray(np.isfinite(features).all(1) & features.any(1))


def rows_of(cache: TeacherEmbeddings, items: Sequence[Item], where: str) -> Tensor:
    """(N, E) the rows of these pictures, found by their content. Refused, by name, for a picture that has no embedding, or that
    has changed since; `where` names the file."""
    names = cache.pictures.tolist()
    places: dict[int, list[int]] = {}
    for place, crc32 in enumerate(cache.crc32.tolist()):
        places.setdefault(crc32, []).append(place)
    found, depth = [], str(cache.pictures[0]).count("/") + 1
    for item in items:
        same = places.get(crc32_of(item), [])
        if not same:
            name = picture_name(item, depth)
            if name in names:
                raise Refused(f"{where} was made of another data set: {name} is another picture there")
            raise Refused(f"{where} has no embedding of {name}; make a cache of this data with vreid cache-teacher")
        found.append(same[0] if len(same) == 1 else _most_alike(same, names, item))
    return torch.from_numpy(cache.features[found])


def digest_of_rows(cache: TeacherEmbeddings) -> str:
    """16 hex digits that stand for what a teacher gave, in whatever order."""
    order = np.lexsort((cache.pictures, cache.crc32))
    return hashlib.sha256(np.ascontiguousarray(cache.features[order]).tobytes()).hexdigest()[:16]


def _most_alike(places: Sequence[int], names: Sequence[str], item: Item) -> int:
    """Of the places, the one whose name ends as the picture's does."""
    parts = item.path.absolute().parts[::-1]

    def alike(place: int) -> int:
        pairs = list(zip(parts, names[place].split("/")[::-1], strict=False))
        return next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))

    return max(places, key=alike)


# What numpy.load of 2.4 raises for cut, changed and foreign files, and astype for foreign contents: found with random ones.
DAMAGED = (
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


Progress = Callable[[int, int], None]


def build_cache(
    embed: Embed,
    teacher: str,
    items: Sequence[Item],
    out: Path,
    batch: int = 64,
    progress: Progress = lambda done, of: None,
) -> TeacherEmbeddings:
    """Embed every item that is not in `out`, or in what was left of an earlier start, and write `out`, complete or not at all.
    Rows stand as the file has them: `rows_of` finds those of the items, which may be fewer and in another order.

    `progress` gets (pictures done, of how many). Raises Refused where the files are of another teacher or of other pictures,
    and where another process is writing them.
    """
    names = picture_names(items)
    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = out.with_name(out.name + ".partial")
        rows.touch()
        with locked(rows, "building the cache in"):
            if out.exists():  # another process has just come to its end
                rows.unlink(missing_ok=True)
            else:
                remove_leftovers(out)
                queries = _embedded(embed, teacher, items, names, out, batch, progress)
                return replace(read_features(out), queries=queries)
    kept = read_features(out)
    if kept.teacher == teacher and {crc32_of(item) for item in items} <= set(kept.crc32.tolist()):
        return kept
    raise Refused(
        f"{out} holds the embeddings of another teacher or of other pictures; remove it, or choose another name"
    )


def _embedded(
    embed: Embed, teacher: str, items: Sequence[Item], names: Sequence[str], out: Path, batch: int, progress: Progress
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
    with naming(rows), log.open("a", encoding="utf-8") as notes, rows.open("ab") as values:
        for start in range(done, len(items), batch):
            part = items[start : start + batch]
            contents = [picture_bytes(item.path) for item in part]
            images = [decoded(content, item.path) for content, item in zip(contents, part, strict=True)]
            found = np.ascontiguousarray(embed(images), np.float32)
            if not found.size or not has_direction(found).all() or width not in (0, found.shape[1]):
                raise Refused(
                    f"the embedding of {names[start]} or one after it contains NaN or is all zeros; repair the teacher"
                )
            values.write(found.tobytes())
            values.flush()
            width, done = found.shape[1], start + len(part)
            noted(map(zlib.crc32, contents))
            notes.write(json.dumps({"done": done, "width": width, "pictures": pictures.hexdigest()}) + "\n")
            notes.flush()
            progress(done, len(items))
    features = np.memmap(rows, np.float32, "r", shape=(done, width))
    if not has_direction(features).all():
        raise Refused(f"{rows} is damaged; remove it to embed again")
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
        raise Refused(f"{log} is damaged; remove it to embed again") from error
    if rows.stat().st_size < sizes[-1]:
        raise Refused(f"{rows} is shorter than {log} has it; remove both to embed again")
    with rows.open("r+b") as file:
        file.truncate(sizes[-1])
    log.write_text("".join(json.dumps(line) + "\n" for line in (head, *records)), encoding="utf-8")
    return records
