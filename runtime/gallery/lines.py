"""The lines of an exported gallery: what each may hold, and reading them with their sum."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Literal

import numpy as np
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vreid.models.errors import Refused
from vreid.runtime.gallery.sqlite.upgrade import was_named, was_pictured

SCHEMA = 2  # 1 did not say whom somebody named
LONGEST = 1 << 22  # bytes of a line: a thumbnail of 160 pixels and a feature take a hundredth of it
Text = Annotated[str, Field(max_length=4096)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Header(_Line):
    """The first line."""

    line: Literal["vreid gallery"]
    schema_: int = Field(alias="schema")
    fingerprint: Text
    dim: int = Field(ge=1, le=65536)
    model: Text


class VehicleLine(_Line):
    """A vehicle; the prototypes and sightings that follow are its own."""

    line: Literal["vehicle"]
    name: str
    named: bool | None = None  # None in schema 1
    created: Number
    kind: Text | None
    pictured: Number | None = None
    thumbnail: Base64Bytes | None

    def whom(self) -> tuple[bool, float | None]:
        """Whether somebody named it, and when a run took its picture; in schema 1 both are guessed from the name."""
        if self.named is not None:
            return self.named, self.pictured
        return was_named(self.name), was_pictured(self.name, self.created, self.thumbnail)


class PrototypeLine(_Line):
    """A prototype; its feature is float32."""

    line: Literal["prototype"]
    view: Text
    feature: Base64Bytes
    weight: float = Field(gt=0, allow_inf_nan=False)
    count: int = Field(ge=1)

    def checked(self, dim: int) -> bytes:
        """The feature. Raises Refused for one that is not of `dim` and unit length."""
        return _unit(self.feature, "<f4", dim, 1e-3)


class SightingLine(_Line):
    """A sighting; its feature is float16, or null where it has none."""

    line: Literal["sighting"]
    camera: Text
    track: int
    first_time: Number
    last_time: Number
    first_frame: int
    last_frame: int
    score: float  # -inf: there was nobody to compare with
    thumbnail: Base64Bytes | None
    run: Text
    seen: Number
    kind: Text | None
    plate: Text | None
    quality: Number
    feature: Base64Bytes | None

    def checked(self, dim: int) -> bytes | None:
        """The feature. Raises Refused for one that is not of `dim` and unit length."""
        return None if self.feature is None else _unit(self.feature, "<f2", dim, 1e-2)


class End(_Line):
    """The last line: how many came before it, and their SHA-256."""

    line: Literal["end"]
    lines: int
    sha256: str


Line = Header | VehicleLine | PrototypeLine | SightingLine | End
_LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="line")])


def lines_of(source: IO[bytes], file: Path) -> Iterator[Line]:
    """The lines of an export, one at a time. Raises Refused when it is none, cut short, altered, or of a newer vreid."""
    digest, count, inside = hashlib.sha256(), 0, False
    try:
        while raw := source.readline(LONGEST):
            line = _line(raw, file, count)
            if isinstance(line, Header) != (count == 0) or (
                isinstance(line, PrototypeLine | SightingLine) and not inside
            ):
                raise Refused(f"line {count + 1} of {file} is not where it belongs; export the gallery again")
            inside = inside or isinstance(line, VehicleLine)
            if isinstance(line, End):
                if line.sha256 != digest.hexdigest() or line.lines != count or source.read(1):
                    raise Refused(f"{file} was altered or damaged (its sum does not fit); export the gallery again")
                yield line
                return
            yield line
            digest.update(raw)
            count += 1
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refused(f"{file} is cut short or damaged ({error}); export the gallery again") from error
    raise Refused(f"{file} is cut short; export the gallery again")


def _line(raw: bytes, file: Path, count: int) -> Line:
    try:
        line = _LINE.validate_json(raw)
    except ValidationError as error:
        if count == 0:
            raise Refused(f"{file} is no export of a gallery; make one with 'vreid gallery export'") from error
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Refused(f"line {count + 1} of {file} is damaged ({where}: {first['msg']}); export it again") from error
    if isinstance(line, Header) and line.schema_ not in (1, SCHEMA):
        raise Refused(f"{file} is an export of schema {line.schema_} and this vreid reads {SCHEMA}; use a newer vreid")
    return line


def _unit(blob: bytes, kind: str, dim: int, tolerance: float) -> bytes:
    feature = np.frombuffer(blob, kind).astype(np.float32) if len(blob) % np.dtype(kind).itemsize == 0 else np.empty(0)
    if feature.shape != (dim,) or not abs(float(np.linalg.norm(feature)) - 1) <= tolerance:
        raise Refused(
            "a feature of the export is not of the model's length or not of unit norm; export the gallery again"
        )
    return blob
