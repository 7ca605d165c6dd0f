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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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
from vreid.models.preprocess import Embed, Floats, Image, batch_of
from vreid.runtime.engines.processor import has_vnni
from vreid.train.data.records import Dataset, Item
from vreid.train.evaluate import Embedded, average_precisions

# Which layers of an INT8 network are to stay in float, decided on retrieval.
#
# Leave-one-out: each layer is put back to float by itself, and what that brings is measured. Layers are ranked by the mean cosine
# to the float network, which a few pictures give to four digits; the mAP of those pictures would not rank a hundred
# layers. A layer that by itself causes a fifth of the error stays in float in any case: vehicles of the training part, which a
# network knows well, hide what it does to others. How many more are needed is then decided on mAP: the fewest, the most
# sensitive first, with which the loss on validation vehicles plus two standard errors of that loss is within what is allowed. A
# layer in float costs time: its neighbours are converted, and the first layers are the largest.


OUTLIER = 0.2  # of the whole error, caused by one layer
ERRORS = 2  # standard errors that are added to a loss: about 1 in 40 true losses is above that
LEAST_ERROR = 1e-7  # of a cosine in float32

Opened = Callable[[onnx.ModelProto], Embed]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class LayerGain:
    """A layer and the mean cosine that comes back when only this layer is in float; `share` of all that INT8 costs."""

    name: str
    gain: float
    share: float


@dataclass(frozen=True)
class Trial:
    """With that many of the most sensitive layers in float: the loss of mAP and its standard error, in points."""

    kept: int
    loss: float
    error: float

    @property
    def bound(self) -> float:
        """What the loss is held to be at most."""
        return self.loss + ERRORS * self.error


@dataclass(frozen=True)
class Choice:
    """`layers` in the order of their sensitivity, of which the first `kept` stay in float; `trials` as they were made.
    `met`: the loss is within what was allowed."""

    layers: tuple[LayerGain, ...]
    kept: int
    trials: tuple[Trial, ...]
    met: bool

    def names(self) -> list[str]:
        """Those that stay in float."""
        return [layer.name for layer in self.layers[: self.kept]]


def sensitivities(
    plain: onnx.ModelProto,
    int8: onnx.ModelProto,
    pictures: Sequence[Image],
    opened: Opened,
    report: Progress = lambda what, done, total: None,
) -> list[LayerGain]:
    """Every layer in INT8, the most sensitive first. `pictures` are batches of the network's own size."""
    reference = _features(opened(plain), pictures)
    names = quantised_in(int8)

    def agreement(model: onnx.ModelProto) -> float:
        return float((_features(opened(model), pictures) * reference).sum(1).mean())

    whole, found = agreement(int8), []
    for place, name in enumerate(names):
        gain = agreement(kept_float(int8, plain, [name])) - whole
        found.append(LayerGain(name, gain, gain / max(1 - whole, LEAST_ERROR)))
        report("layers", place + 1, len(names))
    return sorted(found, key=lambda layer: -layer.gain)


def chosen(
    plain: onnx.ModelProto,
    int8: onnx.ModelProto,
    layers: Sequence[LayerGain],
    embedded: Callable[[onnx.ModelProto], tuple[Embedded, Embedded]],
    most: float,
    report: Progress = lambda what, done, total: None,
) -> Choice:
    """The outliers among `layers`, and the fewest others with which the loss of mAP and two standard errors are at most `most`.

    `embedded` embeds the validation part. The loss is taken query by query, so what is hard for both cancels. Doubles the
    number of layers until it is enough, then halves the gap: as many networks as the logarithm of the layers.
    """
    reference = average_precisions(*embedded(plain))
    trials: list[Trial] = []

    def enough(kept: int) -> bool:
        names = [layer.name for layer in layers[:kept]]
        lost = reference - average_precisions(*embedded(kept_float(int8, plain, names) if names else int8))
        trials.append(Trial(kept, float(lost.mean()), float(lost.std() / np.sqrt(len(lost)))))
        report("validation", len(trials), len(trials) + 1)
        return trials[-1].bound <= most

    high = sum(layer.share >= OUTLIER for layer in layers)
    low = high - 1  # `low` layers are too few
    while not enough(high):
        if high == len(layers):
            return Choice(tuple(layers), high, tuple(trials), False)
        low, high = high, min(len(layers), max(1, 2 * high))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Choice(tuple(layers), high, tuple(trials), True)


def _features(embed: Embed, batches: Sequence[Image]) -> Floats:
    return np.concatenate([embed(list(batch)) for batch in batches])


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

    Raises Refused for a data set without a training part: ranges are never measured on what the model is tested with.
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
            reduce_range=rules.target == "cpu"
            and (rules.reduce_range == "yes" or (rules.reduce_range == "auto" and not has_vnni())),
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
    """Where ONNX Runtime gets its batches."""

    def __init__(self, batches: Iterator[dict[str, Image]]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Image] | None:
        return next(self._batches, None)
