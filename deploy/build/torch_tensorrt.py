"""Torch-TensorRT: the plan straight from the checkpoint, with no ONNX between; it runs like every TensorRT plan."""

from importlib import import_module
from pathlib import Path
from typing import Any

from vreid.deploy.build.table import Names, Source, Work, device_key, refuse_options, refuse_without_gpu
from vreid.deploy.settings import BuildOptions
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Input
from vreid.runtime.engines.cuda import open_cuda
from vreid.runtime.engines.tensorrt import first_error, listener_of, plan_ports, tensorrt_library

# its own function logs whatever went wrong and then stumbles over the result that it has not got (UnboundLocalError)
FAULTS = (RuntimeError, NameError, AssertionError, AttributeError, TypeError, ValueError)


def open_torch_tensorrt(source: Source, options: BuildOptions) -> Work:
    """For this device. Raises Refused unless `options.checkpoint` is the one that the ONNX was exported from."""
    refuse_options("torch_tensorrt", options, "checkpoint", "cache")
    if options.checkpoint is None:
        raise Refused("torch_tensorrt builds from the checkpoint; name the one of this model with --checkpoint")
    if not options.checkpoint.is_file():
        raise Refused(f"there is no checkpoint {options.checkpoint}; name the one of this model with --checkpoint")
    if source.manifest.precision != "fp32":
        raise Refused(
            f"torch_tensorrt builds fp32, as the checkpoint is, and not {source.manifest.precision}; take tensorrt"
        )
    if sha256_of(options.checkpoint) != source.manifest.made_from:
        raise Refused(f"{options.checkpoint} is not what {source.onnx.name} was exported from; give that checkpoint")
    refuse_without_gpu("torch_tensorrt")
    trt = tensorrt_library("tensorrt")
    open_cuda()
    try:
        torch_tensorrt = import_module("torch_tensorrt")
    except (ImportError, OSError, RuntimeError) as error:
        raise Refused(f"torch_tensorrt does not import ({error}): pip install torch-tensorrt") from error
    built_for = {**device_key(source, options, str(trt.__version__)), "torch_tensorrt": str(torch_tensorrt.__version__)}
    checkpoint = options.checkpoint

    def compile(out: Path) -> Names:
        plan = plan_from_checkpoint(torch_tensorrt, checkpoint, source.manifest.input, "cuda")
        out.write_bytes(plan)
        return _names(trt, plan)

    return Work("tensorrt", built_for, compile, runs_here=True)


def plan_from_checkpoint(torch_tensorrt: Any, checkpoint: Path, spec: Input, device: str) -> bytes:
    """The plan of the whole network, pixels to unit vector, strongly typed, with a dynamic batch. Raises Refused."""
    import torch

    from vreid.deploy.export import PixelsToEmbedding
    from vreid.models.checkpoint import load_checkpoint, network_from

    least, best, most = spec.batch
    network = PixelsToEmbedding(network_from(load_checkpoint(checkpoint))).eval().to(device)
    # an example of one image would make the batch a constant
    pixels = torch.zeros((min(max(best, 2), most), spec.height, spec.width, 3), dtype=torch.uint8, device=device)
    varying = None if least == most else {"images": {0: torch.export.Dim("batch", min=least, max=most)}}
    shapes = [(batch, spec.height, spec.width, 3) for batch in spec.batch]
    try:
        with torch.no_grad():
            exported = torch.export.export(network, (pixels,), dynamic_shapes=varying)
        given = torch_tensorrt.Input(min_shape=shapes[0], opt_shape=shapes[1], max_shape=shapes[2], dtype=torch.uint8)
        plan = torch_tensorrt.dynamo.convert_exported_program_to_serialized_trt_engine(
            exported, arg_inputs=[given], use_explicit_typing=True, disable_tf32=True
        )
    except FAULTS as error:
        said = str(error).partition("\n")[0]
        raise Refused(f"Torch-TensorRT cannot lower {checkpoint} ({said}); take --engine tensorrt") from error
    return bytes(plan)


def _names(trt: Any, plan: bytes) -> Names:
    """What Torch-TensorRT called the input and the output."""
    listener = listener_of(trt)
    loaded = trt.Runtime(listener).deserialize_cuda_engine(plan)
    if loaded is None:
        raise Refused(
            f"TensorRT cannot load what Torch-TensorRT built ({first_error(listener)}); take --engine tensorrt"
        )
    inputs, outputs = plan_ports(trt, loaded)
    if len(inputs) != 1 or len(outputs) != 1:
        raise Refused("Torch-TensorRT built more than one input or output; take --engine tensorrt")
    return Names(inputs[0].name, outputs[0].name)
