"""What a training learns from and what it is validated on: sets joined, and a validation part of vehicles it never sees.

Nothing is ever chosen on test data.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from vreid.models.errors import Refused
from vreid.train.data.records import Dataset, Item, camera_word, digest_of_set, drawn, in_order, key_of, vehicle_word

_ENOUGH = 10  # vehicles held out, of which a choice can be made


def cut(dataset: Dataset, share: float, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(training, validation): `share` of the vehicles move to a validation set in which every picture is a query.

    The cut depends on the vehicles' labels and the seed only, so teacher and student share it wherever the data lies, and a
    picture more or less does not change it. Vehicles of one group move together: a group whose own number, drawn from seed and
    name, is under `share` is held out, of every data set that has it, so the share of the vehicles is about `share`. A data
    set that names a validation part itself keeps it instead. Raises Refused for a vehicle of two groups.
    """
    if not 0 <= share < 1:
        raise Refused(f"the share of vehicles held out for validation is from 0 to under 1, not {share}")
    if dataset.validation and share:
        return dataset, Dataset(dataset.name, (), dataset.validation, dataset.validation)
    groups = _groups_of(dataset)
    vehicles = in_order(seed, {item.vehicle for item in dataset.train} - groups.keys())
    held = {*vehicles[: round(share * len(vehicles))], *_held_by_group(groups, share, seed)}
    part = tuple(item for item in dataset.train if item.vehicle in held)
    kept = tuple(item for item in dataset.train if item.vehicle not in held)
    return replace(dataset, train=kept), Dataset(dataset.name, (), part, part)


def _groups_of(dataset: Dataset) -> dict[str, str]:
    """{vehicle: its group} of the vehicles that have one."""
    found: dict[str, str] = {}
    for item in dataset.train:
        first = found.setdefault(item.vehicle, item.group)
        if first != item.group:
            raise Refused(
                f"{item.where or item.path}: vehicle {item.vehicle} is of the group '{item.group}' here and '{first}' elsewhere; "
                "give it one"
            )
    return {vehicle: group for vehicle, group in found.items() if group}


def _held_by_group(groups: Mapping[str, str], share: float, seed: int) -> set[str]:
    """The vehicles whose groups are held out."""
    held = {group for group in set(groups.values()) if drawn(seed, group) < share}
    return {vehicle for vehicle, group in groups.items() if group in held}


def refuse_unheld(
    datasets: Sequence[Dataset], share: float, seed: int, otherwise: str = ", or 0 to train without"
) -> None:
    """Raises Refused where `share` holds out no vehicle, none of those that have groups, or all of a data set, and says what to
    give, or `otherwise`."""
    cuts = [cut(dataset, share, seed) for dataset in datasets]
    if whole := [kept.name for kept, _ in cuts if not kept.train]:
        raise Refused(f"--validation {share:g} holds out every vehicle of '{whole[0]}'; give a lower one")
    numbers = [drawn(seed, group) for dataset in datasets for group in _groups_of(dataset).values()]
    if share and numbers and min(numbers) >= share:
        raise Refused(
            f"no group of vehicles is held out by the share {share:g} and the seed {seed}; give --validation "
            f"{min(numbers) + 0.001:.3f} or more, or another --seed"
        )
    if share and not any(held.query for _, held in cuts):
        most = max(len({item.vehicle for item in dataset.train}) for dataset in datasets)
        raise Refused(
            f"of {most} vehicles none is held out by --validation {share:g}; give {0.5 / most + 0.001:.3f} or more{otherwise}"
        )


def few_held(validation: Iterable[Dataset]) -> str | None:
    """What to say where vehicles are held out, and so few of them that they decide nothing well; None where they are enough."""
    counts = {part.name: len({item.vehicle for item in part.query}) for part in validation}
    total = sum(counts.values())
    if not 0 < total < _ENOUGH:
        return None
    named = ", ".join(f"{count} of {name}" for name, count in counts.items())
    return (
        f"what is chosen is chosen on few vehicles held out ({named}), and figures of so few say little: give more data or a "
        "higher --validation"
    )


def share_of_pictures(dataset: Dataset, share: float, seed: int = 0) -> Dataset:
    """The data set with a share of its training pictures, drawn by their content without a look at their labels. Raises Refused for
    a share that is not above 0 and up to 1."""
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


def join(datasets: Sequence[Dataset]) -> tuple[Item, ...]:
    """The training parts of several sets as one; vehicles and cameras get the set's place in front, so that none coincide.

    Sets stand in an order of their own, not of the flags or of the folders' names, and labels as they are compared
    (`vehicle_word`): a classifier numbers the vehicles alike wherever the data lies. Raises Refused for a set without a
    training part, and for one that is given twice.
    """
    for dataset in datasets:
        if not dataset.train:
            raise Refused(f"the data set '{dataset.name}' has no training part; leave it out or give one that has")
    places = {id(dataset): number for number, dataset in enumerate(_ordered(datasets), 1)}
    items: list[Item] = []
    for dataset in datasets:
        name = places[id(dataset)]
        for item in dataset.train:
            vehicle, camera = vehicle_word(item.vehicle), camera_word(item.camera)
            number = vehicle.zfill(10) if vehicle.isdecimal() else vehicle
            items.append(replace(item, vehicle=f"{name}:{number}", camera=f"{name}:{camera}"))
    return tuple(items)


def cameras_of(items: Iterable[Item]) -> list[str]:
    """The cameras of joined data sets, each once, in an order of their own."""
    return sorted({item.camera for item in items})


def sets_of(cameras: Iterable[str]) -> list[int]:
    """The data set of each camera of `cameras_of`, numbers from 0."""
    places = [camera.partition(":")[0] for camera in cameras]
    order = sorted(set(places))
    return [order.index(place) for place in places]


def _ordered(datasets: Sequence[Dataset]) -> list[Dataset]:
    """By their vehicles' labels, and where these are equal by their pictures."""
    if len(datasets) == 1:
        return list(datasets)
    labels = [sorted({vehicle_word(item.vehicle) for item in dataset.train}) for dataset in datasets]
    content = [digest_of_set(dataset.train) for dataset in datasets]
    for place, digest in enumerate(content):
        if digest in content[:place]:
            first = datasets[content.index(digest)].name
            raise Refused(
                f"the data sets '{first}' and '{datasets[place].name}' hold the same pictures and labels; give the set once"
            )
    return [
        datasets[place] for place in sorted(range(len(datasets)), key=lambda place: (labels[place], content[place]))
    ]
