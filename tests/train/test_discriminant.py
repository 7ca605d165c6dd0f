"""The last layer fitted anew: the covariances, what they are turned into, and a network that is the same but for that."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from shape_network import drawn, trained

from vreid.models.checkpoint import network_from
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.data.records import Dataset
from vreid.train.data.split import cut
from vreid.train.data.table import read_train_part
from vreid.train.discriminant import POWERS, RIDGES, covariances_of, discriminant, refitted, with_last_layer
from vreid.train.evaluate import embed_with, evaluate

DIM, VEHICLES = 6, 9


def made(spread: np.ndarray, noise: np.ndarray, vehicles: int = VEHICLES) -> tuple[np.ndarray, np.ndarray]:
    """(features (N, D), vehicles (N,)), in each direction of this spread of vehicles and this noise of their pictures."""
    random = np.random.default_rng(0)
    numbers = np.repeat(np.arange(vehicles), 8)
    means = random.normal(size=(vehicles, DIM)) * spread
    return means[numbers] + random.normal(size=(len(numbers), DIM)) * noise, numbers


def shapes(folder: Path, first: int, last: int) -> Dataset:
    """Vehicles that the network of shape_network.py has not learnt from, six pictures each."""
    rows = ["path,vehicle,camera"]
    for vehicle in range(first, last):
        for camera, picture in np.ndindex(2, 3):
            name = f"{vehicle}_{camera}_{picture}.png"
            assert cv2.imwrite(str(folder / name), drawn(vehicle, camera, picture))
            rows.append(f"{name},{vehicle},c{camera}")
    path = folder / f"{first}.csv"
    path.write_text("\n".join(rows) + "\n")
    return read_train_part(path)


def none(features: np.ndarray) -> float:
    """That nobody is ever confused."""
    return 0.0


def as_a_test(dataset: Dataset) -> Dataset:
    """All pictures of a training part as a test part."""
    return replace(dataset, query=dataset.train, gallery=dataset.train, train=())


def test_the_covariances_are_of_the_pictures_about_their_vehicle_and_of_the_vehicles_means() -> None:
    features, vehicles = made(np.arange(1.0, DIM + 1), np.ones(DIM))
    order = np.random.default_rng(1).permutation(len(vehicles))[:-5]  # no longer equally many pictures of each
    features, vehicles = features[order], vehicles[order]
    groups = [features[vehicles == number] for number in range(VEHICLES)]
    within, between = covariances_of(features, vehicles)
    rest = np.concatenate([group - group.mean(0) for group in groups])
    np.testing.assert_allclose(within, rest.T @ rest / len(rest), atol=1e-12)
    np.testing.assert_allclose(
        between, np.cov([group.mean(0) for group in groups], rowvar=False, bias=True), atol=1e-12
    )


@pytest.mark.parametrize("power", [0.0, 0.25, 0.5])
def test_a_direction_counts_by_how_vehicles_differ_in_it_over_how_their_pictures_do(power: float) -> None:
    within, between = np.diag([1.0, 1.0, 4.0]), np.diag([4.0, 1.0, 4.0])
    found = discriminant(within, between, 0.5, power)
    noise = np.array([0.5, 0.5, 2]) + 0.5
    expected = ((np.array([4, 1, 4]) + 0.01 * 3) / noise) ** power / np.sqrt(noise)
    np.testing.assert_allclose(found, np.diag(expected), atol=1e-12)
    turned, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))  # the axes of the embedding do not matter
    again = discriminant(turned @ within @ turned.T, turned @ between @ turned.T, 0.5, power)
    np.testing.assert_allclose(turned.T @ again @ turned, found, atol=1e-12)


@pytest.mark.parametrize("power", [0.0, 0.5])
def test_a_direction_that_only_the_pictures_differ_in_is_taken_off(power: float) -> None:
    spread, noise = np.array([1, 1, 1, 1, 0, 0]), np.array([0.1, 0.1, 0.1, 0.1, 3, 3])
    features, vehicles = made(spread, noise, 40)
    matrix = discriminant(*covariances_of(features, vehicles), 0.01, power)

    def share_found(rows: np.ndarray) -> float:
        scores = (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ rows.T / np.linalg.norm(rows, axis=1)
        np.fill_diagonal(scores, -2)
        return float(np.mean(vehicles[scores.argmax(1)] == vehicles))

    assert share_found(features @ matrix.T) > share_found(features) + 0.3


def test_the_network_is_the_same_but_for_the_embedding() -> None:
    network = network_from(trained(), classifier=True)
    norm = network.head.norm
    pixels = torch.from_numpy(np.stack([drawn(v, c, p) for v, c, p in np.ndindex(30, 2, 2)]))
    with torch.no_grad():
        norm.weight.uniform_(-2, 2)
        norm.bias.uniform_(-1, 1)
        inputs = network.head.embed(torch.relu(network.head.neck(network(pixels).pooled)))
        norm.running_var = 25 * inputs.var(0, correction=0)  # far from its inputs', as after a short training
        before = network(pixels)
    kept = {key: value.clone() for key, value in network.state_dict().items()}
    matrix = np.random.default_rng(0).normal(size=(24, 24))
    changed = with_last_layer(network, matrix, before.embedding.double().numpy())
    with torch.no_grad():
        after = changed(pixels)
    assert all(torch.equal(value, kept[key]) for key, value in network.state_dict().items())
    wanted = before.embedding.double().numpy() @ matrix.T
    factor = np.sqrt(before.embedding.numpy().var(0).mean() / wanted.var(0).mean())
    np.testing.assert_allclose(after.embedding, factor * wanted, atol=2e-4)
    np.testing.assert_allclose(after.logits, before.logits, atol=2e-3)
    assert torch.equal(after.pooled, before.pooled)

    def in_training(one: ReidNetwork) -> tuple[np.ndarray, np.ndarray]:
        """(embeddings, logits) by the last norm in training mode, and all else as it is."""
        with torch.no_grad():
            one.head.norm.train()
            embedding = one.head.norm(one.head.embed(torch.relu(one.head.neck(before.pooled))))
            return embedding.double().numpy(), one.head.classifier(embedding).numpy()

    (first, logits), (second, again) = in_training(network), in_training(changed)
    assert abs(first - before.embedding.numpy()).max() > 0.1
    np.testing.assert_allclose(second, factor * first @ matrix.T, atol=2e-3)
    np.testing.assert_allclose(again, logits, atol=2e-3)


@pytest.fixture
def network() -> ReidNetwork:
    return network_from(trained())


def test_vehicles_never_seen_are_found_better(tmp_path: Path, network: ReidNetwork) -> None:
    learning, held = cut(shapes(tmp_path, 40, 140), 0.2)
    found = refitted(network, [learning], [held], none)
    assert found is not None and found.ridge in RIDGES and found.power in POWERS and found.gain > 2
    assert found.before["40"]["map"] == pytest.approx(evaluate(held, embed_with(network)).map, abs=0.01)
    assert found.after["40"]["map"] == pytest.approx(evaluate(held, embed_with(found.network)).map, abs=0.05)
    others = as_a_test(shapes(tmp_path, 140, 240))
    assert evaluate(others, embed_with(found.network)).map > evaluate(others, embed_with(network)).map + 1


def test_a_fit_by_which_more_are_confused_is_not_taken(tmp_path: Path, network: ReidNetwork) -> None:
    learning, held = cut(shapes(tmp_path, 40, 100), 0.2)
    before = embed_with(network)([cv2.imread(str(item.path)) for item in held.query])
    given: list[np.ndarray] = []

    def bound(features: np.ndarray) -> float:
        """Worse with each fit that is tried."""
        given.append(features)
        return 0.05 + 0.004 * min(len(given), 3)

    first = refitted(network, [learning], [held], bound)
    assert first is not None and (first.ridge, first.power) == (RIDGES[0], POWERS[0])
    assert len(given) == 1 + len(RIDGES) * len(POWERS) and np.allclose(given[0], before, atol=1e-5)
    assert (
        refitted(network, [learning], [held], lambda features: float(not np.allclose(features, before, atol=1e-5)))
        is None
    )


def test_a_set_counts_by_its_share(tmp_path: Path, network: ReidNetwork) -> None:
    first, second = shapes(tmp_path, 40, 80), shapes(tmp_path, 80, 120)
    held = as_a_test(shapes(tmp_path, 120, 140))
    first_only = refitted(network, [first], [held], none)
    mostly = refitted(network, [first, second], [held], none, (1 - 1e-9, 1e-9))
    alike = refitted(network, [first, second], [held], none)
    pictures = [drawn(vehicle, 0, 0) for vehicle in range(20)]
    one, other, third = (embed_with(each.network)(pictures) for each in (first_only, mostly, alike) if each)
    assert (one * other).sum(1).min() > 0.99999 and (one * third).sum(1).min() < 0.9999


def test_what_cannot_be_fitted_is_refused(tmp_path: Path, network: ReidNetwork) -> None:
    learning, held = cut(shapes(tmp_path, 40, 60), 0.2)
    with pytest.raises(Refused, match="give a higher --validation"):
        refitted(network, [learning], [], none)
    one_vehicle = replace(learning, train=learning.train[:6])
    one_picture = replace(learning, train=learning.train[::6])
    for few in (one_vehicle, one_picture, replace(learning, train=())):
        with pytest.raises(Refused, match="'40' has no two vehicles, one of them in two pictures"):
            refitted(network, [learning, few], [held], none)
    same = replace(learning, train=tuple(replace(item, path=learning.train[0].path) for item in learning.train))
    with pytest.raises(Refused, match="the pictures of each vehicle of '40' are the same to this network"):
        refitted(network, [learning, same], [held], none)


def test_labels_of_one_vehicle_are_one(tmp_path: Path, network: ReidNetwork) -> None:
    learning, held = cut(shapes(tmp_path, 40, 60), 0.2)
    zeros = tuple(
        replace(item, vehicle=item.vehicle.zfill(5 * (place % 2))) for place, item in enumerate(learning.train)
    )
    found = [refitted(network, [part], [held], none) for part in (learning, replace(learning, train=zeros))]
    assert found[0] is not None and found[1] is not None and found[0].after == found[1].after
