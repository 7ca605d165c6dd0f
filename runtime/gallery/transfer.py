"""A gallery as one portable file, written and read a line at a time: JSON lines, gzipped where the name ends in .gz.

A header, then each vehicle followed by its prototypes and its sightings, then the number of lines and their SHA-256.
The same content makes the same file, so that a gallery knows what it has imported already.
"""

import gzip
import hashlib
import json
import os
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.runtime.gallery import names
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.records import (
    EVERYTHING,
    LAST_MOMENT,
    About,
    Filter,
    Prototype,
    SightingRow,
    VehicleRow,
    is_score,
)

_SCHEMA = 3  # 1 had no column for which vehicles somebody named, and 2 none for zones
_LONGEST = 1 << 22  # bytes of a line: a thumbnail of 160 pixels and a feature take a hundredth of it
_Text = Annotated[str, Field(max_length=4096)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Moment = Annotated[float, Field(ge=0, lt=LAST_MOMENT)]  # seconds since 1970
_Clock = Annotated[float, Field(gt=-LAST_MOMENT, lt=LAST_MOMENT)]  # seconds on a source's own clock
_Whole = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]  # SQLite has no larger ones


# The lines


def _score(score: float) -> float:
    if not is_score(score):
        raise ValueError("it is not a cosine")
    return score


class _Cells(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Header(_Cells):
    """The first line."""

    line: Literal["vreid gallery"]
    schema_: int = Field(alias="schema")
    fingerprint: _Text
    dim: int = Field(ge=1, le=65536)
    model: _Text


class VehicleLine(_Cells):
    """A vehicle; the prototypes and sightings that follow are its own."""

    line: Literal["vehicle"]
    name: str
    named: bool | None = None  # None in schema 1
    created: _Moment
    kind: _Text | None
    pictured: _Moment | None = None
    thumbnail: Base64Bytes | None

    def row(self, id_: int, name: str) -> VehicleRow:
        """The vehicle as `id_` and `name`; in schema 1 whether somebody named it is guessed from its own name."""
        named, pictured = self.named, self.pictured
        if named is None:
            named = names.was_named(self.name)
            pictured = names.was_pictured(self.name, self.created, self.thumbnail)
        return VehicleRow(id_, name, named, self.created, self.kind, pictured, self.thumbnail)


class PrototypeLine(_Cells):
    """A prototype; its feature is float32."""

    line: Literal["prototype"]
    view: _Text
    feature: Base64Bytes
    weight: float = Field(gt=0, allow_inf_nan=False)
    count: int = Field(ge=1, lt=1 << 63)

    def row(self, dim: int) -> Prototype:
        """Raises Refused for a feature that is not of `dim` and unit length."""
        return Prototype(0, self.view, _unit(self.feature, np.dtype("<f4"), dim, 1e-3), self.weight, self.count)


class SightingLine(_Cells):
    """A sighting; its feature is float16, or null where it has none."""

    line: Literal["sighting"]
    camera: _Text
    track: _Whole
    first_time: _Clock
    last_time: _Clock
    first_frame: _Whole
    last_frame: _Whole
    score: Annotated[float, AfterValidator(_score)]
    thumbnail: Base64Bytes | None
    run: _Text
    seen: _Moment
    kind: _Text | None
    plate: _Text | None
    quality: float = Field(ge=0, le=1)
    feature: Base64Bytes | None
    zones: tuple[_Text, ...] = ()  # none in schemas 1 and 2

    def row(self, dim: int) -> SightingRow:
        """Raises Refused for a feature that is not of `dim` and unit length."""
        cells = {field.name: getattr(self, field.name) for field in fields(SightingRow)}
        if self.feature is not None:
            cells["feature"] = _unit(self.feature, np.dtype("<f2"), dim, 1e-2)
        return SightingRow(**cells)


class End(_Cells):
    """The last line: how many came before it, and their SHA-256."""

    line: Literal["end"]
    lines: int
    sha256: str


_Line = Header | VehicleLine | PrototypeLine | SightingLine | End
_LINE: TypeAdapter[_Line] = TypeAdapter(Annotated[_Line, Field(discriminator="line")])


@dataclass(frozen=True)
class Moved:
    """What an export or an import carried; `renamed` are vehicles whose name was taken: (name in the file, new name)."""

    vehicles: int
    prototypes: int
    sightings: int
    renamed: tuple[tuple[str, str], ...] = ()


def exported(gallery: Gallery, file: Path, only: Filter = EVERYTHING) -> Moved:
    """Write the vehicles that `only` lets through, with all that they have, to `file`, which appears when it is complete."""
    if file.exists():
        raise Refused(f"{file} is there already; remove it or name another file")
    counts, digest, lines = {"vehicle": 0, "prototype": 0, "sighting": 0}, hashlib.sha256(), 0
    try:
        with atomic(file) as temporary, _out(temporary, file.suffix == ".gz") as out:
            for kind, cells in _contents(gallery, only):
                line = (json.dumps({"line": kind, **cells}, separators=(",", ":"), default=_text) + "\n").encode()
                digest.update(line)
                out.write(line)
                lines += 1
                if kind in counts:
                    counts[kind] += 1
            out.write((json.dumps({"line": "end", "lines": lines, "sha256": digest.hexdigest()}) + "\n").encode())
    except OSError as error:
        raise Refused(f"cannot write {file} ({error.strerror or error}); make room or name another file") from error
    return Moved(counts["vehicle"], counts["prototype"], counts["sighting"])


def about_export(file: Path) -> About:
    """Whose features the file holds. Raises Refused for one that is not an export, or that is cut short or altered."""
    with _in(file) as source:
        header = None
        for line in _lines(source, file):
            header = line if isinstance(line, Header) else header
    if header is None:
        raise Refused(f"{file} is not an export of a gallery; make one with 'vreid gallery export'")
    return About(header.fingerprint, header.dim, header.model)


def imported(gallery: Gallery, file: Path, again: bool = False) -> Moved:
    """Add the vehicles of `file`, all or none, under new ids; a name that is taken gets a number.

    Raises Refused for another model's export, a damaged one, and, without `again`, for one that was imported before.
    """
    about = about_export(file)  # the whole file is read and its checksum compared before a row is written
    own = gallery.about
    if (about.fingerprint, about.dim) != (own.fingerprint, own.dim):
        raise Refused(
            f"{file} holds features of the model '{about.model}' ({about.dim}-d, {about.fingerprint}), the gallery those of"
            f" '{own.model}' ({own.dim}-d, {own.fingerprint}); import it into a gallery of its own model"
        )
    counts, renamed, vehicle, digest = [0, 0, 0], list[tuple[str, str]](), 0, ""
    with gallery.transaction() as store, _in(file) as source:
        for line in _lines(source, file):
            if isinstance(line, VehicleLine):
                vehicle = store.new_vehicle_id()
                name = names.free(names.printable(line.name), store.vehicle_with_key)
                renamed += [(line.name, name)] if name != line.name else []
                store.add_vehicle(line.row(vehicle, name))
                counts[0] += 1
            elif isinstance(line, PrototypeLine):
                store.add_prototype(vehicle, line.row(about.dim))
                counts[1] += 1
            elif isinstance(line, SightingLine):
                store.add_sighting(vehicle, line.row(about.dim))
                counts[2] += 1
            elif isinstance(line, End):
                digest = line.sha256
        for change in () if again else store.changes():
            if change.verb == "import" and change.detail.get("sha256") == digest:
                raise Refused(
                    f"{file} was imported already, by change {change.id}; --again adds its vehicles once more"
                )
        detail = {"sha256": digest, "file": file.name, "added": counts[0], "sightings": counts[2]}
        store.add_change(gallery.who, "import", None, detail)
    return Moved(counts[0], counts[1], counts[2], tuple(renamed))


def _contents(gallery: Gallery, only: Filter) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each line's kind and cells, but for the last; of one moment of the gallery, whoever writes meanwhile."""
    yield "vreid gallery", {"schema": _SCHEMA, **asdict(gallery.about)}
    with gallery.reading() as store:
        for vehicle in store.vehicle_rows(only):
            cells = dict(vars(vehicle))
            del cells["id"]
            yield "vehicle", {**cells, "named": int(vehicle.named)}
            for prototype in store.prototypes(vehicle.id):
                yield "prototype", {key: value for key, value in vars(prototype).items() if key != "id"}
            for sighting in store.sighting_rows(vehicle.id):
                yield "sighting", vars(sighting)


def _lines(source: IO[bytes], file: Path) -> Iterator[_Line]:
    """The lines of an export, one at a time. Raises Refused when it is not an export, cut short, altered, or of a newer vreid."""
    digest, count, inside = hashlib.sha256(), 0, False
    try:
        while raw := source.readline(_LONGEST):
            line = _line(raw, file, count)
            if isinstance(line, Header) != (count == 0) or (
                isinstance(line, PrototypeLine | SightingLine) and not inside
            ):
                raise Refused(f"line {count + 1} of {file} is not where it belongs; export the gallery again")
            inside = inside or isinstance(line, VehicleLine)
            if isinstance(line, End):
                if line.sha256 != digest.hexdigest() or line.lines != count or source.read(1):
                    raise Refused(
                        f"{file} was altered or damaged (its checksum does not fit); export the gallery again"
                    )
                yield line
                return
            yield line
            digest.update(raw)
            count += 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"{file} is cut short or damaged ({error}); export the gallery again") from error
    raise Refused(f"{file} is cut short; export the gallery again")


def _line(raw: bytes, file: Path, count: int) -> _Line:
    try:
        line = _LINE.validate_json(raw)
    except ValidationError as error:
        if count == 0:
            raise Refused(f"{file} is not an export of a gallery; make one with 'vreid gallery export'") from error
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(f"line {count + 1} of {file} is damaged ({where}: {first['msg']}); export it again") from error
    if isinstance(line, Header) and line.schema_ not in (1, 2, _SCHEMA):
        raise Refused(f"{file} is an export of schema {line.schema_} and this vreid reads {_SCHEMA}; use a newer vreid")
    return line


def _unit(blob: bytes, kind: np.dtype[Any], dim: int, tolerance: float) -> NDArray[Any]:
    feature = np.frombuffer(blob, kind) if len(blob) % kind.itemsize == 0 else np.empty(0, kind)
    length = float(np.linalg.norm(feature.astype(np.float32)))
    if feature.shape != (dim,) or not abs(length - 1) <= tolerance:
        raise Refused(
            "a feature of the export is not of the model's length or not of unit norm; export the gallery again"
        )
    return feature


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


def _text(value: bytes | NDArray[Any]) -> str:
    blob = value if isinstance(value, bytes) else value.tobytes()
    return b64encode(blob).decode("ascii")
