"""A validation part cut from train: vehicles that the training never sees. Nothing is ever chosen on test data."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.datasets.records import Dataset
from vreid.train.evaluate import embed_with, evaluate
from vreid.train.identity import in_order, key_of


def cut(dataset: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(training, validation): `share` of the vehicles move to a validation set in which every picture is a query.

    The cut depends on the vehicles' labels and the seed alone, so teacher and student share it wherever the data lies, and a
    picture more or less does not change it. A data set that names a validation part itself keeps it instead.
    """
    if not 0 <= share < 1:
        raise Refused(f"the share of vehicles held out for validation is from 0 to under 1, not {share}")
    if dataset.validation and share:
        return dataset, Dataset(dataset.name, (), dataset.validation, dataset.validation)
    vehicles = in_order(seed, {item.vehicle for item in dataset.train})
    held = set(vehicles[: round(share * len(vehicles))])
    part = tuple(item for item in dataset.train if item.vehicle in held)
    kept = tuple(item for item in dataset.train if item.vehicle not in held)
    return replace(dataset, train=kept), Dataset(dataset.name, (), part, part)


def share_of_pictures(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The data set with a share of its training pictures, drawn by their content without a look at their labels."""
    if not 0 < share <= 1:
        raise Refused(f"the share of the pictures to learn from is above 0 and up to 1, not {share}")
    if share == 1:
        return dataset
    count = max(1, round(share * len(dataset.train)))
    words = [f"{key_of(item):x}" for item in dataset.train]
    chosen = set(in_order(seed, words)[:count])
    return replace(
        dataset, train=tuple(item for item, word in zip(dataset.train, words, strict=True) if word in chosen)
    )


def digest_of(vehicles: Iterable[str]) -> str:
    """16 hex digits that stand for these vehicles: of equal digests, two classifiers number the same ones alike."""
    return hashlib.sha256(json.dumps(sorted(vehicles)).encode()).hexdigest()[:16]


def refuse_unfindable(parts: Sequence[Dataset]) -> None:
    """Raises Refused for a part in which no query has its vehicle in another camera: better now than after epochs."""
    for part in parts:
        seen = {(item.vehicle, item.camera) for item in part.gallery}
        cameras = Counter(vehicle for vehicle, _ in seen)
        if part.protocol == "cameras" and not any(
            cameras[item.vehicle] > ((item.vehicle, item.camera) in seen) for item in part.query
        ):
            raise Refused(
                f"no vehicle held out of '{part.name}' is seen by two cameras, so there is nothing to find again; "
                "hold out more with --validation, or give 0 to train without"
            )


def validated(network: ReidNetwork, parts: Sequence[Dataset], size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of every validation part, by name (the second of a name is name#2), at (height, width) `size`."""
    found: dict[str, dict[str, float]] = {}
    times: Counter[str] = Counter()
    for part in parts:
        times[part.name] += 1
        name = part.name if times[part.name] == 1 else f"{part.name}#{times[part.name]}"
        score = evaluate(part, embed_with(network, size))
        found[name] = {"map": round(score.map, 2), "rank1": round(score.rank1, 2)}
    return found
