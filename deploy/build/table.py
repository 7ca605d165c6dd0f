"""The seam of builders: what makes an engine of an ONNX model."""

from collections.abc import Callable
from importlib.util import find_spec

from vreid.deploy.build.records import Options, Source, Work
from vreid.models.seam import open_seam

BUILDERS = {
    "onnxruntime": "vreid.deploy.build.onnxruntime:open_onnxruntime",
    "onnxruntime_cuda": "vreid.deploy.build.onnxruntime:open_cuda",
    "onnxruntime_tensorrt": "vreid.deploy.build.onnxruntime:open_tensorrt_provider",
    "openvino": "vreid.deploy.build.openvino:open_openvino",
    "tensorrt": "vreid.deploy.build.tensorrt:open_tensorrt",
    "tensorrt_rtx": "vreid.deploy.build.tensorrt_rtx:open_tensorrt_rtx",
    "torch_tensorrt": "vreid.deploy.build.torch_tensorrt:open_torch_tensorrt",
}
# what can be built with no GPU, and the module it takes
ANYWHERE = {"openvino": "openvino", "onnxruntime": "onnxruntime", "tensorrt_rtx": "tensorrt_rtx"}

Builder = Callable[[Source, Options], Work]


def open_builder(name: str) -> Builder:
    """The builder of that name; it raises Refused for what it cannot build here, before anything is written."""
    builder: Builder = open_seam("engine to build", BUILDERS, name)
    return builder


def possible_here() -> list[str]:
    """The engines that can be built without a GPU and whose package is installed."""
    return [name for name, module in ANYWHERE.items() if find_spec(module) is not None]
