"""The seam of builders: what makes an engine of an ONNX model."""

from collections.abc import Callable
from functools import partial

from vreid.deploy.build.source import Source, Work, refuse_options
from vreid.deploy.settings import BuildOptions
from vreid.models.seam import open_seam
from vreid.runtime.engines.table import ENGINES

# what compiles something; every other engine runs the ONNX file itself
BUILDERS = {
    "tensorrt": "vreid.deploy.build.tensorrt:open_tensorrt",
    "tensorrt_rtx": "vreid.deploy.build.tensorrt_rtx:open_tensorrt_rtx",
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
