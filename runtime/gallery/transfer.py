"""A gallery as one portable file, written and read a line at a time: JSON lines, gzipped where the name ends in .gz.

A header, then each vehicle followed by its prototypes and its sightings, then the number of lines and their SHA-256.
The same content makes the same file, so that a gallery can tell what it has imported already.
"""

import gzip
import hashlib
import json
import os
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vreid.models.errors import Refused
from vreid.runtime.gallery import audit, names, writing
from vreid.runtime.gallery.edits import PROTOTYPE, VEHICLE
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.lines import SCHEMA, End, Header, PrototypeLine, SightingLine, VehicleLine, lines_of
from vreid.runtime.gallery.sqlite.database import About
from vreid.runtime.gallery.sqlite.filter import EVERYTHING, Filter, vehicles_where


@dataclass(frozen=True)
class Moved:
    """What an export or an import carried; `renamed` are vehicles whose name was taken: (theirs, ours)."""

    vehicles: int
    prototypes: int
    sightings: int
    renamed: tuple[tuple[str, str], ...] = ()


def exported(gallery: Gallery, file: Path, only: Filter = EVERYTHING) -> Moved:
    """Write the vehicles that `only` lets through, whole, to `file`, which appears when it is complete."""
    if file.exists():
        raise Refused(f"{file} is there already; remove it or name another file")
    draft = file.with_name(f".{file.name}.new")
    counts, digest, lines = {"vehicle": 0, "prototype": 0, "sighting": 0}, hashlib.sha256(), 0
    try:
        with _out(draft, file.suffix == ".gz") as out:
            for kind, cells in _contents(gallery, only):
                line = (json.dumps({"line": kind, **cells}, separators=(",", ":"), default=_text) + "\n").encode()
                digest.update(line)
                out.write(line)
                lines += 1
                if kind in counts:
                    counts[kind] += 1
            out.write((json.dumps({"line": "end", "lines": lines, "sha256": digest.hexdigest()}) + "\n").encode())
        draft.replace(file)
    except OSError as error:
        raise Refused(f"cannot write {file} ({error.strerror or error}); make room or name another file") from error
    finally:
        draft.unlink(missing_ok=True)
    return Moved(counts["vehicle"], counts["prototype"], counts["sighting"])


def about_export(file: Path) -> About:
    """Whose features the file holds. Raises Refused for one that is no export, or that is cut short or altered."""
    with _in(file) as source:
        header = None
        for line in lines_of(source, file):
            header = line if isinstance(line, Header) else header
    if header is None:
        raise Refused(f"{file} is no export of a gallery; make one with 'vreid gallery export'")
    return About(header.fingerprint, header.dim, header.model)


def imported(gallery: Gallery, file: Path, again: bool = False) -> Moved:
    """Add the vehicles of `file`, all or none, under new ids; a name that is taken gets a number.

    Raises Refused for another model's export, a damaged one, and, without `again`, for one that was imported before.
    """
    about = about_export(file)  # the whole file is read and its sum compared before a row is written
    ours = gallery.about
    if (about.fingerprint, about.dim) != (ours.fingerprint, ours.dim):
        raise Refused(
            f"{file} holds features of the model '{about.model}' ({about.dim}-d, {about.fingerprint}), the gallery those of"
            f" '{ours.model}' ({ours.dim}-d, {ours.fingerprint}); import it into a gallery of its own model"
        )
    counts, renamed, vehicle, digest = [0, 0, 0], list[tuple[str, str]](), 0, ""
    with gallery.transaction(), _in(file) as source:
        for line in lines_of(source, file):
            if isinstance(line, VehicleLine):
                vehicle = writing.new_id(gallery.run, gallery.path)
                name = names.free(gallery.run, names.printable(line.name))
                renamed += [(line.name, name)] if name != line.name else []
                named, pictured = line.whom()
                cells = (vehicle, name, names.key_of(name), named, line.created, line.kind, pictured, line.thumbnail)
                marks = ", ".join("?" * len(VEHICLE))
                gallery.run(f"INSERT INTO vehicles ({', '.join(VEHICLE)}) VALUES ({marks})", *cells)
                counts[0] += 1
            elif isinstance(line, PrototypeLine):
                gallery.run(
                    f"INSERT INTO prototypes ({', '.join(PROTOTYPE[1:])}) VALUES (?, ?, ?, ?, ?)",
                    vehicle, line.view, line.checked(about.dim), line.weight, line.count,
                )  # fmt: skip
                counts[1] += 1
            elif isinstance(line, SightingLine):
                # not model_dump, which would write base64 again
                row = {**vars(line), "feature": line.checked(about.dim), "vehicle": vehicle}
                gallery.run(writing.SIGHTING, *(row[column] for column in writing.COLUMNS))
                counts[2] += 1
            elif isinstance(line, End):
                digest = line.sha256
        _refuse_again(gallery, file, digest, again)
        detail = {"sha256": digest, "file": file.name, "added": counts[0], "sightings": counts[2]}
        audit.noted(gallery.run, gallery.who, "import", None, detail)
    return Moved(counts[0], counts[1], counts[2], tuple(renamed))


def _refuse_again(gallery: Gallery, file: Path, digest: str, again: bool) -> None:
    if again:
        return
    for change in audit.changes(gallery.run):
        if change.verb == "import" and change.detail.get("sha256") == digest:
            raise Refused(f"{file} was imported already, by change {change.id}; --again adds its vehicles once more")


def _contents(gallery: Gallery, only: Filter) -> Iterator[tuple[str, dict[str, Any]]]:
    about, (where, values) = gallery.about, vehicles_where(only)
    yield "vreid gallery", {"schema": SCHEMA, "fingerprint": about.fingerprint, "dim": about.dim, "model": about.model}
    # One moment of the gallery, whoever writes meanwhile
    with gallery.reading():
        for row in gallery.run(f"SELECT {', '.join(VEHICLE)} FROM vehicles v WHERE {where} ORDER BY v.id", *values):
            cells = dict(zip(VEHICLE, row, strict=True))
            vehicle = cells.pop("id")
            del cells["key"]  # follows from the name
            yield "vehicle", cells
            for kind, columns in (("prototype", PROTOTYPE[2:]), ("sighting", writing.COLUMNS[1:])):
                query = f"SELECT {', '.join(columns)} FROM {kind}s WHERE vehicle = ? ORDER BY id"
                for found in gallery.run(query, vehicle):
                    yield kind, dict(zip(columns, found, strict=True))


@contextmanager
def _out(file: Path, packed: bool) -> Iterator[IO[bytes]]:
    with file.open("wb") as raw:
        if packed:  # no name and no time inside: the same content is the same file
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as out:
                yield out  # type: ignore[misc]
        else:
            yield raw
        raw.flush()
        os.fsync(raw.fileno())


@contextmanager
def _in(file: Path) -> Iterator[IO[bytes]]:
    if not file.is_file():
        raise Refused(f"there is no export {file}; check the path")
    with file.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if packed:
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            yield raw


def _text(blob: bytes) -> str:
    return b64encode(blob).decode("ascii")
