"""The manifest: the contract that travels with a lowered model and that every program enforces (docs/contract.md)."""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vreid.models.errors import Refused

SCHEMA: Literal[1] = 1
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
Percent = Annotated[float, Field(ge=0, le=100)]


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
    """One lowered model. `engine` is a file name beside the manifest; `fingerprint` names the embedding space."""

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
    calibration: Calibration | None = None  # of INT8 alone, so that older manifests need not name it
    fingerprint: Annotated[str, Field(min_length=8)]
    built_for: dict[str, str] | None
    made_from: Sha256 | None


def sha256_of(path: Path) -> str:
    """The hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(path: str | Path) -> Manifest:
    """The manifest at `path`, its engine checked byte for byte.

    Raises Refused for a missing, malformed or unknown field, another schema, a missing engine, or a changed one.
    """
    path = Path(path)
    if not path.is_file():
        raise Refused(f"there is no manifest {path}; make one with 'vreid export'")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise Refused(f"{path} is not a JSON manifest ({error}); make it again with 'vreid export'") from error
    if isinstance(fields, dict) and fields.get("schema") != SCHEMA:
        raise Refused(
            f"{path} has schema {fields.get('schema')!r} and this vreid reads schema {SCHEMA}; export it again"
        )
    try:
        manifest = Manifest.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise Refused(
            f"{path}: {where}: {first['msg'].lower()}; correct the manifest or export the model again"
        ) from error
    engine = path.with_name(manifest.engine)
    if not engine.is_file():
        raise Refused(f"{path} names the engine {manifest.engine}, which is not beside it; keep the two together")
    if sha256_of(engine) != manifest.sha256:
        raise Refused(
            f"{engine} is not the file that {path.name} was written for (sha256 differs); export the model again"
        )
    return manifest


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write `manifest` whole or not at all."""
    path = Path(path)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".json", delete=False) as file:
        file.write(manifest.model_dump_json(by_alias=True, indent=2) + "\n")
    partial = Path(file.name)
    partial.chmod(0o644)
    partial.replace(path)
