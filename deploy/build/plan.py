"""A TensorRT plan of an ONNX file: strongly typed, so that the precision is the graph's and no flag's, batch dynamic.

Shared by TensorRT (10.3 to 11) and TensorRT for RTX. Only what both have is used: TensorRT 11 took away calibrators and the
flags for FP16 and INT8, and made STRONGLY_TYPED a word without effect, as every network is so.
"""

from dataclasses import dataclass
from typing import Any

from vreid.deploy.build.records import Source
from vreid.models.errors import Refused
from vreid.runtime.engines.tensorrt import listener_of, reason_of

MOST_TOLD = 3  # errors of the parser in one sentence


@dataclass(frozen=True)
class Parsed:
    """A network that was parsed, and how it will be built; `listener` must outlive the builder."""

    trt: Any
    builder: Any
    network: Any
    config: Any
    listener: Any


def parsed(trt: Any, source: Source, workspace: int | None = None) -> Parsed:
    """The network of `source` with one profile from the manifest's batch; TF32 is off, so that fp32 is fp32. `workspace` MiB
    are the most that a layer may use for intermediate results (all of the device's memory unless given).

    Raises Refused with what the parser said, or when it took the graph in another precision than the manifest's.
    """
    calibration = source.manifest.calibration
    if calibration is not None and calibration.target == "cpu":
        raise Refused(
            f"{source.onnx} is INT8 for a CPU, in a form that TensorRT's parser does not take; make one for it with "
            "'vreid quantize --for tensorrt'"
        )
    listener = listener_of(trt)
    builder = trt.Builder(listener)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, listener)
    if not parser.parse(source.data):
        errors = [_error(parser.get_error(index)) for index in range(parser.num_errors)][:MOST_TOLD]
        told = "; ".join(errors) or reason_of(listener)
        raise Refused(
            f"TensorRT cannot take {source.onnx} ({told}); export it again, and INT8 by 'vreid quantize --for tensorrt'"
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace << 20)
    profile = builder.create_optimization_profile()
    spec = source.manifest.input
    profile.set_shape(spec.name, *((batch, spec.height, spec.width, 3) for batch in spec.batch))
    if config.add_optimization_profile(profile) < 0:
        raise Refused(
            f"TensorRT refuses batches of {spec.batch} for {source.onnx}; export it again with another --batch"
        )
    found = Parsed(trt, builder, network, config, listener)
    _refuse_other_precision(found, source)
    return found


def serialised(found: Parsed) -> bytes:
    """The plan; takes seconds to many minutes. Raises Refused with TensorRT's first error."""
    plan = found.builder.build_serialized_network(found.network, found.config)
    if plan is None:
        raise Refused(f"TensorRT could not build the engine ({reason_of(found.listener)}); vreid doctor may say more")
    return bytes(plan)


def layers_of(network: Any) -> list[Any]:
    """Its layers, in order."""
    return [network.get_layer(index) for index in range(network.num_layers)]


def _refuse_other_precision(found: Parsed, source: Source) -> None:
    """What the parser made of the graph is what will be built: the types of a strongly typed network are final."""
    trt, claimed = found.trt, source.manifest.precision
    layers = layers_of(found.network)
    if claimed == "int8":
        there = any(layer.type == trt.LayerType.QUANTIZE for layer in layers)
    elif claimed == "fp16":
        arithmetic = (trt.LayerType.CONVOLUTION, trt.LayerType.MATRIX_MULTIPLY)
        there = any(layer.type in arithmetic and layer.get_output(0).dtype == trt.DataType.HALF for layer in layers)
    else:
        there = True
    if not there:
        raise Refused(
            f"TensorRT reads FP32 in {source.onnx}, which claims {claimed.upper()}; "
            "make it again with 'vreid export --half' or 'vreid quantize'"
        )


def _error(error: Any) -> str:
    where = f"{error.node_operator()} {error.node_name()}".strip()
    said = " ".join(str(error.desc()).split())
    return f"{where}: {said}" if where else said
