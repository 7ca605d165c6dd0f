"""An INT8 network with explicit quantisation: QuantizeLinear and DequantizeLinear in the ONNX, ranges from the runtime's crops.

ONNX Runtime's own quantiser does the work (per-channel symmetric weights, one scale a tensor for activations). Two targets,
because no one form is both accepted by TensorRT and fastest on a processor (docs/engines.md):
tensorrt: int8 activations, symmetric, and biases left in float, since its parser refuses an int32 DequantizeLinear.
cpu: uint8 activations; weights in 7 bits where the processor adds pairs of products in 16 bits (no VNNI), which overflow.
"""

import contextlib
import hashlib
import io
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from vreid.deploy.graph import convolutions_of, drop_unused, prepared
from vreid.deploy.settings import Quantization
from vreid.models.errors import Refused
from vreid.models.manifest import Input
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image, batch_of
from vreid.train.data.records import Dataset, Item

METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "average": (CalibrationMethod.MinMax, {"CalibMovingAverage": True}),
    "minmax": (CalibrationMethod.MinMax, {}),
    "percentile": (CalibrationMethod.Percentile, {"CalibPercentile": 99.99}),
}
# Their inputs are INT8, their outputs are not before a ReLU has been: engines fuse the two, and negative values need no room.
COMPUTING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add")
HANDING_ON = ("MaxPool", "AveragePool", "GlobalAveragePool")
TOGETHER = 16  # pictures of which the least and the largest value are taken; `average` is the mean of those


def calibration_pictures(data: Dataset, rules: Quantization, size: Input) -> tuple[list[Image], str]:
    """Batches (<= 16, H, W, 3) of drawn training pictures as the runtime makes them, and the sha256 of their pixels.

    Raises Refused for a data set without a training part: ranges are never measured on what judges the model.
    """
    if rules.images < 1:
        raise Refused(f"--images is how many pictures the ranges are measured on, not {rules.images}")
    if not data.train:
        raise Refused(
            f"the data set '{data.name}' has no training pictures; INT8 is calibrated on those, not on the test"
        )
    drawn = np.random.default_rng(rules.seed).permutation(len(data.train))[: rules.images]
    digest, batches = hashlib.sha256(), []
    for start in range(0, len(drawn), TOGETHER):
        items: Sequence[Item] = [data.train[place] for place in drawn[start : start + TOGETHER].tolist()]
        batch = batch_of([read_picture(item.path) for item in items], size.height, size.width)
        digest.update(batch.tobytes())
        batches.append(batch)
    return batches, digest.hexdigest()


def quantised(model: onnx.ModelProto, batches: Sequence[Image], rules: Quantization) -> onnx.ModelProto:
    """The INT8 form of a float32 graph: Q/DQ before every convolution, sum and pooling from the first
    convolution to the last.

    Raises Refused for an unknown target or method and for a graph that is lowered already.
    """
    if rules.method not in METHODS or rules.target not in ("cpu", "tensorrt"):
        raise Refused(f"choose a method of {', '.join(METHODS)} and a target of cpu or tensorrt")
    plain = prepared(model)
    name = plain.graph.input[0].name
    method, options = METHODS[rules.method]
    extra: dict[str, Any] = {**options, "WeightSymmetric": True, "OpTypesToExcludeOutputQuantization": list(COMPUTING)}
    kind = QuantType.QUInt8
    if rules.target == "tensorrt":
        extra |= {"ActivationSymmetric": True, "QuantizeBias": False}
        kind = QuantType.QInt8
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, out = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save(plain, str(source))
        quantize_static(
            str(source),
            str(out),
            _Reader({name: batch} for batch in batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=rules.target == "cpu" and _in_7_bits(rules),
            activation_type=kind,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=convolutions_of(plain.graph),
            op_types_to_quantize=[*COMPUTING, *HANDING_ON],
            calibrate_method=method,
            extra_options=extra,
        )
        found = onnx.load(str(out))
    onnx.checker.check_model(found)
    return found


def quantised_in(int8: onnx.ModelProto) -> list[str]:
    """Names of the nodes that compute in INT8, first to last: those whose inputs come through a DequantizeLinear."""
    from_int8 = {name for node in int8.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [
        node.name
        for node in int8.graph.node
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") and from_int8 & set(node.input)
    ]


def kept_float(int8: onnx.ModelProto, plain: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the INT8 graph in which these nodes compute in float again, on what comes before its quantisation.

    `plain` is the `prepared` float graph that `int8` was made from: nodes and tensors have the same names in both.
    """
    mixed = onnx.ModelProto()
    mixed.CopyFrom(int8)
    floats = {node.name: node for node in plain.graph.node}
    there = {tensor.name for tensor in mixed.graph.initializer}
    there |= {name for node in mixed.graph.node for name in node.output}  # a bias of 32 bits is as good as in float
    for node in mixed.graph.node:
        if node.name in names:
            node.input[:] = floats[node.name].input
    wanted = {name for node in mixed.graph.node for name in node.input} - there
    mixed.graph.initializer.extend(tensor for tensor in plain.graph.initializer if tensor.name in wanted)
    drop_unused(mixed.graph)
    onnx.checker.check_model(mixed)
    return mixed


def _in_7_bits(rules: Quantization) -> bool:
    return rules.reduce_range == "yes" or (rules.reduce_range == "auto" and not has_vnni())


def has_vnni(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor sums int8 products in 32 bits (x86 VNNI, or ARM's dot product); True where that is unknown."""
    if not cpuinfo.is_file():
        return True
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").lower().splitlines()
    flags = next((line.split() for line in lines if line.startswith(("flags", "features"))), [])
    return not flags or bool({"avx512_vnni", "avx_vnni", "asimddp"} & set(flags))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime warns on the root logger of what is not done here: shape inference is."""
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints, and stdout is for the one JSON document
            yield
    finally:
        logging.getLogger().setLevel(level)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """What ONNX Runtime asks for batches."""

    def __init__(self, batches: Iterator[dict[str, Image]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Image] | None:
        return next(self._batches, None)
