"""The last layer of a trained network fitted anew, in closed form: linear discriminant analysis of its embeddings.

Fisher's criterion (Annals of Eugenics, 1936; for many classes Rao, JRSS B, 1948) asks for directions in which vehicles differ more
than the pictures of one. An embedding e becomes (R B R)^p R e with R = (W / w + ridge I)^(-1/2): W (D, D) is the covariance within
vehicles, w its mean variance, B (D, D) that of their means, all of embeddings of unit length. R takes off what cameras, light and
views change; alone, p = 0, it is within-class covariance normalisation (Hatch, Kajarekar and Stolcke, Interspeech 2006). The power
weighs every direction by how far vehicles differ in it, where the classical analysis keeps the first few and weighs them alike. The
ridge is that of regularised discriminant analysis (Friedman, JASA 1989): a network has pulled the pictures of the vehicles that
it learnt from closer together than those of others, so W of the training part is too small. New here are the power, and that
validation vehicles choose it and the ridge, by mAP and by how many strangers are confused with known vehicles.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.picture import read_picture
from vreid.models.preprocess import Floats, batch_of
from vreid.train.data.records import Dataset, Item, vehicle_word
from vreid.train.evaluate import Embedded, by_name, embed_with, embedded, measured, of_unit_length

RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # that are tried, in mean variances within vehicles
POWERS = (0.0, 0.25)
_WORSE = 1.1  # times as many may be confused as before
_LEAST = 0.01  # of the mean variance between vehicles is every direction's: few vehicles do not span all of them
_ALIKE = 1e-10  # of features of unit length: less variance than float32 rounds
_BATCH = 64

Matrix = NDArray[np.float64]
Scores = Mapping[str, Mapping[str, float]]  # mAP and Rank-1 by the validation part's name


@dataclass(frozen=True)
class Refit:
    """A network with a new last layer, what was chosen for it, and mAP and Rank-1 of every validation part before and after."""

    network: ReidNetwork
    ridge: float
    power: float
    before: Scores
    after: Scores

    @property
    def gain(self) -> float:
        """In mAP, the mean of all validation parts."""
        return _mean(self.after) - _mean(self.before)


def refitted(
    network: ReidNetwork,
    training: Sequence[Dataset],
    validation: Sequence[Dataset],
    error: Callable[[Floats], float],
    shares: Sequence[float] = (),
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Refit | None:
    """`network` with the last layer by which most is found in `validation`, among those by which about as few strangers are
    confused with known vehicles as before; None where there is none that finds more. All sets count alike, or by `shares`.

    `error` is the share that is confused, by the features (N, D) of the validation's queries, one part after the other: what finds
    more in a ranking may still spread the scores of strangers. A classifier goes on giving the logits that it gave. Raises Refused
    without a validation part, for a set without two vehicles or without a vehicle of two pictures, and for a bad picture.
    """
    if not validation:
        raise Refused("the strength of the refit is chosen on vehicles that are held out; give a higher --validation")
    vehicles = [_vehicles_of(part) for part in training]
    embeddings = _embeddings(network, [item for part in training for item in part.train], report)
    rows = np.split(embeddings, np.cumsum([len(part.train) for part in training])[:-1])
    covariances = [_covariances(*each) for each in zip(training, vehicles, rows, strict=True)]
    within, between = np.average(covariances, axis=0, weights=np.array(shares or [1.0] * len(training)))
    tests = [(part, *embedded(part, embed_with(network))) for part in validation]

    def measured_by(matrix: Matrix) -> tuple[Scores, float]:
        turned = [(part, _turned(query, matrix), _turned(gallery, matrix)) for part, query, gallery in tests]
        scores = by_name(validation, [measured(*each) for each in turned])
        return scores, error(np.concatenate([query.features for _, query, _ in turned]))

    before, bound = measured_by(np.eye(len(within)))
    best = None
    for ridge, power in product(RIDGES, POWERS):
        matrix = discriminant(within, between, ridge, power)
        after, confused = measured_by(matrix)
        if confused <= _WORSE * bound and _mean(after) > _mean(before if best is None else best[-1]):
            best = matrix, ridge, power, after
    if best is None:
        return None
    matrix, ridge, power, after = best
    return Refit(with_last_layer(network, matrix, embeddings), ridge, power, before, after)


def discriminant(within: Matrix, between: Matrix, ridge: float, power: float) -> Matrix:
    """(D, D) that embeddings are multiplied by, from their covariances within and between vehicles."""
    one = np.eye(len(within))
    first = _power(within / np.trace(within) * len(one) + ridge * one, -0.5)
    between = between + _LEAST * np.trace(between) / len(one) * one
    return _power(first @ between @ first, power) @ first


def covariances_of(features: Matrix, vehicles: NDArray[np.int64]) -> tuple[Matrix, Matrix]:
    """(within, between), both (D, D), of features (N, D) and the numbers of their vehicles (N,), from 0 on: of what is left when
    each vehicle's mean is taken off, and of these means."""
    counts = np.bincount(vehicles)
    means = np.zeros((len(counts), features.shape[1]))
    np.add.at(means, vehicles, features)
    means /= counts[:, None]
    rest, centred = features - means[vehicles], means - means.mean(0)
    return rest.T @ rest / len(rest), centred.T @ centred / len(centred)


@torch.no_grad()
def with_last_layer(network: ReidNetwork, matrix: Matrix, embeddings: Matrix) -> ReidNetwork:
    """A copy of `network` whose embedding is `matrix` (D, D) times what it was, in all of the mean variance that it had; logits are
    what they were. In training mode that holds where the last norm's statistics are in one ratio to those of `embeddings`
    (N, D), which the network gives in eval mode, and nearly so elsewhere."""
    copy = deepcopy(network)
    head, norm = copy.head, copy.head.norm
    average, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    matrix = matrix * np.sqrt(embeddings.var(0).mean() / (embeddings @ matrix.T).var(0).mean())
    by, weight, bias = torch.from_numpy(matrix), norm.weight.double(), norm.bias.double()
    gain = weight / (variance.double() + norm.eps).sqrt()
    offset = by @ (bias - gain * average.double())
    rows = by @ (gain[:, None] * head.embed.weight.double())
    # in training mode the norm gives each dimension its weight as deviation, whatever that of the embeddings is in eval mode
    alike = (embeddings - embeddings.mean(0)) / embeddings.std(0).clip(1e-12) * weight.abs().numpy()
    scale = torch.from_numpy((alike @ matrix.T).std(0).clip(1e-12))
    head.embed.weight.copy_(rows / scale[:, None])
    norm.weight.copy_(scale)
    norm.bias.copy_(by @ bias)
    average.copy_((by @ bias - offset) / scale)
    variance.fill_(1 - norm.eps)
    if head.classifier is not None:
        head.classifier.weight.copy_(torch.linalg.solve(by.T, head.classifier.weight.double().T).T)
    return copy


def _power(matrix: Matrix, power: float) -> Matrix:
    values, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * values**power) @ axes.T)


def _vehicles_of(part: Dataset) -> NDArray[np.int64]:
    """(N,) the number of each picture's vehicle, from 0 on."""
    vehicles = np.unique([vehicle_word(item.vehicle) for item in part.train], return_inverse=True)[1]
    counts = np.bincount(vehicles, minlength=2)
    if min(np.sort(counts)[-2:]) < 1 or counts.max() < 2:
        raise Refused(
            f"'{part.name}' has no two vehicles, one of them in two pictures, to learn from; leave it out, or hold out fewer "
            "with a lower --validation"
        )
    return vehicles


def _covariances(part: Dataset, vehicles: NDArray[np.int64], embeddings: Matrix) -> tuple[Matrix, Matrix]:
    features = of_unit_length(np.asarray(embeddings, np.float32), len(embeddings))
    within, between = covariances_of(np.asarray(features, np.float64), vehicles)
    if np.trace(within) < _ALIKE or np.trace(between) < _ALIKE:
        what = "the pictures of each vehicle" if np.trace(within) < _ALIKE else "all vehicles"
        raise Refused(
            f"{what} of '{part.name}' are the same to this network; give other pictures or another checkpoint"
        )
    return within, between


def _embeddings(network: ReidNetwork, items: Sequence[Item], report: Callable[[int, int], None]) -> Matrix:
    """(N, D) as the network gives them, not of unit length."""
    parts: list[Matrix] = []
    for start in range(0, len(items), _BATCH):
        images = [read_picture(item.path) for item in items[start : start + _BATCH]]
        pixels = torch.from_numpy(batch_of(images, network.config.height, network.config.width))
        with torch.inference_mode():
            parts.append(network(pixels).embedding.double().numpy())
        report(start + len(images), len(items))
    return np.concatenate(parts)


def _turned(part: Embedded, matrix: Matrix) -> Embedded:
    turned = np.asarray(part.features @ matrix.T, np.float32)
    return replace(part, features=of_unit_length(turned, len(turned)))


def _mean(scores: Scores) -> float:
    return float(np.mean([score["map"] for score in scores.values()]))
