"""The seam of builders: what makes an engine of an ONNX model, what it starts from, and the key of what is up to date."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from vreid.deploy.model import read_onnx
from vreid.deploy.precision import precision_of, share_text, shares_in
from vreid.deploy.settings import BuildOptions
from vreid.models.errors import Refused
from vreid.models.manifest import Manifest
from vreid.models.seam import open_seam
from vreid.runtime.engines.devices import driver, machine_key
from vreid.runtime.engines.table import ENGINES, open_engine

# engines that need no GPU to be made: the module that each needs, and a remark
ANYWHERE = {
    "openvino": ("openvino", ""),
    "onnxruntime": ("onnxruntime", ""),
    "tensorrt_rtx": ("tensorrt_rtx", " (ahead of time, for RTX cards)"),
}


@dataclass(frozen=True)
class Source:
    """A complete ONNX model: its manifest and the bytes that were hashed; `onnx` is the path they were read from."""

    manifest: Manifest
    onnx: Path
    data: bytes


@dataclass(frozen=True)
class Names:
    """How a built engine calls its input and output."""

    given: str
    out: str


@dataclass(frozen=True)
class Work:
    """A build that can be done: `backend` runs its engine, `built_for` is its cache key.

    `compile` writes the engine to the path it is given; None where the engine runs the ONNX file itself.
    """

    backend: str
    built_for: dict[str, str] | None
    compile: Callable[[Path], Names] | None
    runs_here: bool  # whether this machine can run it as well


def names_of(source: Source) -> Names:
    """The names of the ONNX, which most builders keep."""
    return Names(source.manifest.input.name, source.manifest.output.name)


FLAGS = {"dla": "--dla", "workspace": "--workspace", "capabilities": "--capabilities", "checkpoint": "--checkpoint"}


def refuse_options(engine: str, options: BuildOptions, *taken: str) -> None:
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


def source_key(source: Source) -> dict[str, str]:
    """Of the ONNX: the hash of its bytes, its precision, and the least, best and largest batch."""
    about = source.manifest
    return {"onnx": about.sha256, "precision": about.precision, "profile": " ".join(map(str, about.input.batch))}


def device_key(source: Source, options: BuildOptions, version: str) -> dict[str, str]:
    """The key of a TensorRT engine, which is tuned for the device at hand."""
    dla = {} if options.dla is None else {"dla": str(options.dla)}
    workspace = {} if options.workspace is None else {"workspace": str(options.workspace)}
    return {**source_key(source), **machine_key("tensorrt", version), **dla, **workspace}


def refuse_without_gpu(engine: str) -> None:
    """Raises Refused, with what can be built here instead, on a machine without an NVIDIA device."""
    if driver().devices:
        return
    here = [f"{name}{note}" for name, (module, note) in ANYWHERE.items() if find_spec(module) is not None]
    raise Refused(
        f"there is no NVIDIA device here and {engine} tunes an engine on the device that will run it: "
        f"run vreid build there, or choose what can be built here with --engine: {', '.join(here)}"
    )


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The fields in which two keys differ; as text; of hashes the first eight digits."""
    fields = [*now, *(field for field in before if field not in now)]
    return [
        f"{field} was {_short(before.get(field))} and is {_short(now.get(field))}"
        for field in fields
        if before.get(field) != now.get(field)
    ]


def _short(value: str | None) -> str:
    if value is None:
        return "not set"
    return value[:8] if len(value) == 64 else value


# what compiles something; every other engine runs the ONNX file itself
BUILDERS = {
    "tensorrt": "vreid.deploy.build.tensorrt:open_tensorrt",
    "tensorrt_rtx": "vreid.deploy.build.tensorrt:open_tensorrt_rtx",
    "torch_tensorrt": "vreid.deploy.build.torch_tensorrt:open_torch_tensorrt",
}
Builder = Callable[[Source, BuildOptions], Work]


def open_builder(engine: str) -> Builder:
    """What says how `engine` is made of a source; it raises Refused for what cannot be made here, before anything is written."""
    if engine in ENGINES and engine not in BUILDERS:
        return partial(_of_the_onnx, engine)
    builder: Builder = open_seam("engine to build", {**ENGINES, **BUILDERS}, engine)
    return builder


def _of_the_onnx(engine: str, source: Source, options: BuildOptions) -> Work:
    """Nothing is compiled: the engine gets a manifest of its own, and is opened once, so that what is missing shows now."""
    refuse_options(engine, options, "cache")
    return Work(engine, None, None, runs_here=True)
