"""What a builder is given and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vreid.models.manifest import Manifest
from vreid.runtime.engines.onnx_file import OnnxFile


@dataclass(frozen=True)
class Source:
    """A whole ONNX model: its manifest, the bytes that were hashed, and what they say of themselves; `onnx` is the path they
    were read from."""

    manifest: Manifest
    onnx: Path
    data: bytes
    file: OnnxFile


@dataclass(frozen=True)
class Options:
    """What may be asked of a build; a builder refuses what it cannot do."""

    dla: int | None = None  # the core of a Jetson's accelerator
    workspace: int | None = None  # MiB that TensorRT may use for intermediate results; all that is free unless given
    capabilities: tuple[
        str, ...
    ] = ()  # compute capabilities of an RTX engine, such as 8.6; the library's default if empty
    checkpoint: Path | None = None  # for torch_tensorrt
    cache: Path | None = None  # folder of timing caches, which make the next build on this device quick


@dataclass(frozen=True)
class Names:
    """How a built engine calls its input and output."""

    given: str
    out: str


@dataclass(frozen=True)
class Work:
    """A build that can be done: `backend` runs its engine, `built_for` is its cache key.

    `compile` writes the engine to the path it is given; None where the engine is the ONNX file itself.
    """

    backend: str
    built_for: dict[str, str] | None
    compile: Callable[[Path], Names] | None
    runs_here: bool  # whether this machine can run it as well


def names_of(source: Source) -> Names:
    """The names of the ONNX, which most builders keep."""
    return Names(source.manifest.input.name, source.manifest.output.name)
