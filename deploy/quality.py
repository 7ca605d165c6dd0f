"""What each of several models retrieves, and how near it is to a reference: every picture is read once for all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vreid.deploy.compare import agreement, at_length_one
from vreid.models.manifest import Accuracy
from vreid.models.picture import read_picture
from vreid.train.datasets.records import Dataset
from vreid.train.evaluate import Embed, Floats, Retrieval, measured, parts_of, pictures_of

BATCH = 32


@dataclass(frozen=True)
class Quality:
    """Retrieval on the data's test part; cosines to the reference are None for another embedding length."""

    accuracy: Accuracy
    cosine_mean: float | None
    cosine_min: float | None


def accuracy_from(dataset: str, found: Retrieval) -> Accuracy:
    """What a manifest says of a measurement."""
    return Accuracy(dataset=dataset, map=round(found.map, 2), rank1=round(found.rank1, 2), queries=found.queries)


def qualities(
    embeds: Mapping[str, Embed],
    reference: str,
    data: Dataset,
    faults: tuple[type[Exception], ...],
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, Quality], dict[str, str]]:
    """({model: quality}, {model: why it has none}) of every model; `reference` is one of them.

    A model that raises one of `faults` is left out from then on. Raises Refused for data without a test part.
    """
    paths, errors = pictures_of(data), {}
    parts: dict[str, list[Floats]] = {name: [] for name in embeds}
    for start in range(0, len(paths), BATCH):
        images = [read_picture(path) for path in paths[start : start + BATCH]]
        for name, embed in embeds.items():
            if name in errors:
                continue
            try:
                parts[name].append(embed(images))
            except faults as error:
                errors[name] = str(error) or type(error).__name__
        told(start + len(images), len(paths))
    features = {name: np.concatenate(found) for name, found in parts.items() if name not in errors}
    return {name: _quality(found, features.get(reference), data) for name, found in features.items()}, errors


def _quality(features: Floats, reference: Floats | None, data: Dataset) -> Quality:
    accuracy = accuracy_from(data.name, measured(data, *parts_of(data, at_length_one(features))))
    if reference is None or reference.shape != features.shape:
        return Quality(accuracy, None, None)
    near = agreement(features, reference)
    return Quality(accuracy, near.cosine_mean, near.cosine_min)
