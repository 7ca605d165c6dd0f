"""Which layers of an INT8 network are to stay in float, decided on retrieval.

Leave-one-out: each layer is put back to float alone, and what that brings is measured. Layers are ranked by the mean cosine
to the float network, which a few pictures tell to four digits; the mAP of those pictures would not tell a hundred layers
apart. A layer that alone causes a fifth of the error stays in float in any case: vehicles of the training part, which a
network knows well, hide what it does to others. How many more are needed is then decided on mAP: the fewest, the most
sensitive first, with which the loss on validation vehicles plus two standard errors of that loss is within what is allowed. A
layer in float costs time: its neighbours are converted, and the first layers are the largest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from vreid.deploy.quantize import kept_float, quantised_in
from vreid.models.preprocess import Image
from vreid.runtime.records import Floats
from vreid.train.evaluate import Embed, Embedded, average_precisions

OUTLIER = 0.2  # of the whole error, caused by one layer
ERRORS = 2  # standard errors that are added to a loss: about 1 in 40 true losses is above that
LEAST_ERROR = 1e-7  # of a cosine in float32

Opened = Callable[[onnx.ModelProto], Embed]
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Layer:
    """A layer and the mean cosine that comes back when it alone is in float; `share` of all that INT8 costs."""

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

    layers: tuple[Layer, ...]
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
    told: Told = lambda what, done, total: None,
) -> list[Layer]:
    """Every layer in INT8, the most sensitive first. `pictures` are batches of the network's own size."""
    reference = _features(opened(plain), pictures)
    names = quantised_in(int8)

    def agreement(model: onnx.ModelProto) -> float:
        return float((_features(opened(model), pictures) * reference).sum(1).mean())

    whole, found = agreement(int8), []
    for place, name in enumerate(names):
        gain = agreement(kept_float(int8, plain, [name])) - whole
        found.append(Layer(name, gain, gain / max(1 - whole, LEAST_ERROR)))
        told("layers", place + 1, len(names))
    return sorted(found, key=lambda layer: -layer.gain)


def chosen(
    plain: onnx.ModelProto,
    int8: onnx.ModelProto,
    layers: Sequence[Layer],
    embedded: Callable[[onnx.ModelProto], tuple[Embedded, Embedded]],
    most: float,
    told: Told = lambda what, done, total: None,
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
        told("validation", len(trials), len(trials) + 1)
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
