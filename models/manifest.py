"""The manifest: the description that travels with a lowered model and that every program enforces (docs/manifest.md)."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vreid.models.errors import Refused, shown
from vreid.models.files import write_atomic

SCHEMA: Literal[1] = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Percent = Annotated[float, Field(ge=0, le=100)]
MOST_BYTES = 16 << 20  # of a manifest; the largest real one, which lists layers kept in float, has some kB


def _rising(batch: list[int]) -> list[int]:
    if batch != sorted(batch):
        raise ValueError("least, best and most must rise")
    return batch


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Input(_Strict):
    """What goes in: (N, height, width, 3) pixels, exactly as the camera gives them."""

    name: str = "images"
    dtype: Literal["uint8"] = "uint8"
    layout: Literal["NHWC"] = "NHWC"
    order: Literal["BGR"] = "BGR"
    height: Positive
    width: Positive
    resize: Literal["bilinear"] = "bilinear"
    keep_aspect: Literal[False] = False
    batch: Annotated[list[Positive], Field(min_length=3, max_length=3), AfterValidator(_rising)]  # least, best, most


class Output(_Strict):
    """What comes out: (N, dim) float32 of unit length."""

    name: str = "embedding"
    dim: Positive
    normalized: Literal[True] = True
    metric: Literal["cosine"] = "cosine"


class Cost(_Strict):
    """Of one image: parameters, multiply-accumulates, and FLOPs = 2 x MACs."""

    params: Count
    macs: Count
    flops: Count


class Accuracy(_Strict):
    """Retrieval on a named data set, in percent, without re-ranking."""

    dataset: str
    map: Percent
    rank1: Percent
    queries: Count


class Match(_Strict):
    """The open-set rule: a best score under `threshold` is an unknown vehicle.

    `false_match_rate` is the share of strangers that a gallery of `gallery` vehicles still takes for one of its own.
    """

    threshold: Annotated[float, Field(ge=-1, le=1)]
    false_match_rate: Annotated[float, Field(ge=0, le=1)]
    gallery: Count


class Calibration(_Strict):
    """What an INT8 model's ranges were measured on: `images` pictures of `dataset`, drawn with `seed`, `sha256` of their
    pixels as the network got them; nodes in `kept_float` stayed in float for the sake of retrieval."""

    dataset: str
    images: Positive
    seed: Count
    sha256: Sha256
    method: str
    target: str
    kept_float: list[str]


class Manifest(_Strict):
    """One lowered model. `engine` is the name of a file in the manifest's folder; `fingerprint` names the embedding space."""

    schema_: Annotated[Literal[1], Field(alias="schema")] = SCHEMA
    name: Annotated[str, Field(min_length=1)]
    engine: Annotated[str, Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]  # one name, and neither "." nor ".."
    sha256: Sha256
    backend: str
    precision: Literal["fp32", "fp16", "int8"]
    input: Input
    output: Output
    cost: Cost
    accuracy: Accuracy | None
    match: Match | None
    calibration: Calibration | None = None  # of INT8 only, so that older manifests need not name it
    fingerprint: Annotated[str, Field(min_length=8)]
    built_for: dict[str, str] | None
    made_from: Sha256 | None


@dataclass(frozen=True)
class EngineFile:
    """The bytes of an engine, as they were hashed: engines run `data`, and `path` is for messages and never opened again."""

    path: Path
    data: bytes


def read_model(path: str | Path) -> tuple[Manifest, EngineFile]:
    """The manifest at `path` and its engine, which is read once: the bytes that were hashed are the bytes handed on.

    Raises Refused for a missing, malformed, repeated or unknown field, another schema, a missing engine, or a changed one.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise Refused(f"there is no manifest {path}; make one with 'vreid export'")
        if path.stat().st_size > MOST_BYTES:
            raise Refused(f"{path} is larger than 16 MiB, so it is not a manifest; make it again with 'vreid export'")
        manifest = _manifest_from(path.read_bytes(), path)
    except OSError as error:
        raise Refused(f"cannot read {path} ({error.strerror or error}); check its permissions") from error
    return manifest, engine_file(manifest, path.with_name(manifest.engine), path)


def engine_file(manifest: Manifest, engine: Path, path: Path) -> EngineFile:
    """The engine at `engine`, complete and with the hash that `manifest` (at `path`) gives. Raises Refused."""
    try:
        if not engine.is_file():
            raise Refused(
                f"{path} names the engine {manifest.engine}, which is not in the same folder; keep the two together"
            )
        data = engine.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise Refused(f"cannot read the engine {engine} of {path} ({error}); check its name and permissions") from error
    if hashlib.sha256(data).hexdigest() != manifest.sha256:
        raise Refused(
            f"{engine} is not the file that {path.name} was written for (sha256 differs); export the model again"
        )
    return EngineFile(engine, data)


def read_manifest(path: str | Path) -> Manifest:
    """The manifest at `path`, its engine checked byte for byte; for one that is to be run see `read_model`."""
    return read_model(path)[0]


def _manifest_from(data: bytes, path: Path) -> Manifest:
    try:
        fields = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
        if isinstance(fields, dict) and fields.get("schema") != SCHEMA:
            found = shown(repr(fields.get("schema")))
            raise Refused(f"{path} has schema {found} and this vreid reads schema {SCHEMA}; export it again")
        return Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = shown(".".join(str(part) for part in first["loc"])) or "the whole"
        raise Refused(
            f"{path}: {where}: {first['msg'].lower()}; correct the manifest or export the model again"
        ) from error
    except RecursionError as error:
        raise Refused(
            f"{path} is not a JSON manifest (nested too deeply); make it again with 'vreid export'"
        ) from error
    except ValueError as error:
        raise Refused(f"{path} is not a JSON manifest ({error}); make it again with 'vreid export'") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of `pairs`. Of a key that is there twice, readers take the first or the last, so it is refused."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {shown(repr(twice))} is there twice")
    return found


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write `manifest` complete or not at all."""
    write_atomic(Path(path), manifest.model_dump_json(by_alias=True, indent=2) + "\n")
