"""What a builder is given and what it answers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vreid.deploy.model import read_onnx
from vreid.deploy.precision import precision_of, share_text, shares_in
from vreid.models.errors import Refused
from vreid.models.manifest import Manifest
from vreid.runtime.engines.table import open_engine


@dataclass(frozen=True)
class Source:
    """A complete ONNX model: its manifest and the bytes that were hashed; `onnx` is the path they were read from."""

    manifest: Manifest
    onnx: Path
    data: bytes


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


FLAGS = {"dla": "--dla", "workspace": "--workspace", "capabilities": "--capabilities", "checkpoint": "--checkpoint"}


def refuse_options(engine: str, options: Options, *taken: str) -> None:
    """Raises Refused for an option that is set and not among those `taken`, and for a workspace of less than 1 MiB."""
    if options.workspace is not None and options.workspace < 1:
        raise Refused(f"--workspace is a number of MiB from 1, such as 1024, not {options.workspace}")
    for name, flag in FLAGS.items():
        if name not in taken and getattr(options, name) not in (None, ()):
            raise Refused(f"{flag} means nothing to the {engine} engine; leave it out")


def read_source(path: Path) -> Source:
    """The model of the manifest at `path`, its bytes matched, its graph opened once by the plain engine, which checks it
    against the manifest (opset, one input and one output, their sizes). Raises Refused."""
    manifest, engine = read_onnx(path)
    onnx = engine.path
    _refuse_other_precision(onnx, engine.data, manifest.precision)
    open_engine(manifest.model_copy(update={"backend": "onnxruntime"}), engine, threads=1)
    return Source(manifest, onnx, engine.data)


def _refuse_other_precision(onnx: Path, data: bytes, claimed: str) -> None:
    """An engine computes in what the graph says, so the graph must say what the manifest claims, by the rule of `vreid verify`."""
    shares = shares_in(data, onnx)
    found = precision_of(shares)
    if found != claimed:
        raise Refused(
            f"{onnx} computes in {found.upper()} and its manifest claims {claimed.upper()} "
            f"({share_text(shares)} of the MACs); "
            "make it again with 'vreid export', 'vreid quantize' or 'vreid adopt'"
        )
