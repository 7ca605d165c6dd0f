"""Retrieval: equal to a slow version written from the definition, and to cases worked out by hand."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.train.data.records import Dataset, Item
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import Embedded, embedded, evaluate, one_of_each, retrieval

ROADSIDE = Path(__file__).parents[3] / "shared" / "data" / "roadside"


def at(degrees: Sequence[float], vehicles: Sequence[int], cameras: Sequence[int]) -> Embedded:
    """Unit features in the plane: cosine falls with the angle between them."""
    angle = np.deg2rad(np.asarray(degrees, np.float64))
    features = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    return Embedded(features, np.asarray(vehicles, np.int64), np.asarray(cameras, np.int64))


def crowd(count: int, seed: int, vehicles: int = 12, cameras: int = 4, dim: int = 8) -> Embedded:
    random = np.random.default_rng(seed)
    features = random.standard_normal((count, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Embedded(
        features.astype(np.float32), random.integers(0, vehicles, count), random.integers(0, cameras, count)
    )


def slow_retrieval(query: Embedded, gallery: Embedded, camera_rule: bool) -> tuple[list[float], int]:
    """mAP, Rank-1, 5, 10, mINP from their definitions, one gallery picture at a time; and the queries counted."""
    rows = []
    for feature, vehicle, camera in zip(query.features, query.vehicles, query.cameras, strict=True):
        ranked = []
        for other, v, c in zip(gallery.features, gallery.vehicles, gallery.cameras, strict=True):
            if not (camera_rule and v == vehicle and c == camera):
                ranked.append((-float(np.dot(feature, other)), bool(v == vehicle)))  # False sorts first in a tie
        hits = [right for _, right in sorted(ranked)]
        if not any(hits):
            continue
        positives, precisions, last = 0, [], 0
        for rank, right in enumerate(hits, 1):
            if right:
                positives, last = positives + 1, rank
                precisions.append(positives / rank)
        row = [sum(precisions) / positives, any(hits[:1]), any(hits[:5]), any(hits[:10]), positives / last]
        rows.append([float(value) for value in row])
    return [100.0 * sum(column) / len(rows) for column in zip(*rows, strict=True)], len(rows)


@pytest.mark.parametrize("camera_rule", [True, False])
@pytest.mark.parametrize("block", [1, 7, 256])
def test_retrieval_equals_the_definition(camera_rule: bool, block: int) -> None:
    query, gallery = crowd(30, 1, vehicles=15), crowd(90, 2)
    expected, counted = slow_retrieval(query, gallery, camera_rule)
    got = retrieval(query, gallery, camera_rule=camera_rule, block=block)
    assert (got.map, got.rank1, got.rank5, got.rank10, got.minp) == pytest.approx(expected)
    assert (got.queries, got.skipped, got.gallery) == (counted, 30 - counted, 90)
    assert got.skipped > 0


def test_a_case_by_hand() -> None:
    # by angle: 5 junk (own camera), 10 wrong, 20 right, 30 wrong, 40 right -> ranks 2 and 4 of the rest
    query = at([0], [1], [1])
    gallery = at([40, 10, 5, 30, 20], [1, 2, 1, 3, 1], [2, 1, 1, 2, 3])
    got = retrieval(query, gallery)
    assert got.map == pytest.approx(100 * (1 / 2 + 2 / 4) / 2)
    assert (got.rank1, got.rank5, got.minp) == (0.0, 100.0, pytest.approx(50.0))
    without = retrieval(query, gallery, camera_rule=False)
    assert (without.rank1, without.map) == (100.0, pytest.approx(100 * (1 + 2 / 3 + 3 / 5) / 3))


def test_among_equal_scores_the_wrong_vehicles_rank_first() -> None:
    got = retrieval(at([0], [1], [1]), at([20, 20, 20], [1, 2, 3], [2, 2, 2]))
    assert (got.rank1, got.map) == (0.0, pytest.approx(100 / 3))


def test_a_constant_network_scores_the_worst_there_is() -> None:
    # 203 rows of 129 columns: BLAS computes the edges of the blocks in another order, so equal rows differ in a bit
    everyone = crowd(203, 3, dim=129)
    same = Embedded(np.repeat(everyone.features[:1], 203, axis=0), everyone.vehicles, everyone.cameras)
    got = retrieval(same, same)
    worst, _ = slow_retrieval(Embedded(np.zeros((203, 1), np.float32), same.vehicles, same.cameras),
                              Embedded(np.zeros((203, 1), np.float32), same.vehicles, same.cameras), True)  # fmt: skip
    assert got.rank10 == 0.0
    assert got.map == pytest.approx(worst[0])


def test_queries_without_a_positive_are_skipped_and_counted() -> None:
    query = at([0, 0, 0], [1, 2, 9], [1, 1, 1])  # a positive; only junk; not in the gallery
    gallery = at([10, 20], [1, 2], [2, 1])
    got = retrieval(query, gallery)
    assert (got.queries, got.skipped, got.map) == (1, 2, 100.0)
    with pytest.raises(Refused, match="no query has its vehicle in the gallery in another camera"):
        retrieval(at([0], [2], [1]), gallery)


def test_features_that_are_not_finite_are_refused() -> None:
    bad = at([0, float("nan")], [1, 1], [1, 2])
    with pytest.raises(Refused, match="not finite"):
        retrieval(at([0], [1], [1]), bad)


def test_one_of_each_draws_one_gallery_picture_of_every_vehicle() -> None:
    test = crowd(40, 5, vehicles=9)
    draws = list(one_of_each(test))
    assert len(draws) == 10
    for query, gallery in draws:
        assert sorted(gallery.vehicles) == sorted(set(test.vehicles.tolist()))
        rows = np.concatenate([query.features, gallery.features])
        assert np.array_equal(np.unique(rows, axis=0), np.unique(test.features, axis=0)) and len(rows) == 40
    chosen = {draw[1].features.tobytes() for draw in draws}
    assert len(chosen) > 1
    assert chosen == {draw[1].features.tobytes() for draw in one_of_each(test)}


def colours(images: Sequence[Image]) -> NDArray[np.float32]:
    return np.stack([image.reshape(-1, 3).mean(axis=0) for image in images]).astype(np.float32)


def painted(folder: Path, name: str, vehicle: str, camera: str, colour: tuple[int, int, int]) -> Item:
    assert cv2.imwrite(str(folder / name), np.full((16, 16, 3), colour, np.uint8))
    return Item(folder / name, vehicle, camera)


def yard(folder: Path) -> tuple[Item, ...]:
    paints = {"red": (0, 0, 200), "green": (0, 200, 0), "blue": (200, 0, 0)}
    return tuple(
        painted(folder, f"{vehicle}{camera}.jpg", vehicle, camera, paint)
        for vehicle, paint in paints.items()
        for camera in ("x", "y")
    )


def test_evaluate_reads_every_picture_once_and_reports_its_progress(tmp_path: Path) -> None:
    items, seen, heard = yard(tmp_path), [], []

    def embed(images: Sequence[Image]) -> NDArray[np.float32]:
        seen.append(len(images))
        return colours(images)

    dataset = Dataset("yard", (), items, items)
    got = evaluate(dataset, embed, batch=4, progress=lambda done, total: heard.append((done, total)))
    assert (got.map, got.rank1, got.queries, got.gallery) == (100.0, 100.0, 6, 6)
    assert (seen, heard) == ([4, 2], [(4, 6), (6, 6)])
    query, _ = embedded(dataset, embed)
    assert np.linalg.norm(query.features, axis=1) == pytest.approx(1.0)


def test_evaluate_follows_one_of_each(tmp_path: Path) -> None:
    items = yard(tmp_path)
    got = evaluate(Dataset("yard", (), items, items, "one_of_each"), colours)
    assert (got.map, got.queries, got.gallery, got.skipped) == (100.0, 3, 3, 0)


def test_evaluate_refuses_what_it_cannot_measure(tmp_path: Path) -> None:
    items = yard(tmp_path)
    with pytest.raises(Refused, match="has no query pictures"):
        evaluate(Dataset("yard", items, (), ()), colours)
    with pytest.raises(Refused, match="not finite"):
        evaluate(Dataset("yard", (), items, items), lambda images: np.full((len(images), 2), np.nan, np.float32))
    with pytest.raises(Refused, match=r"features of shape \(1, 2\)"):
        evaluate(Dataset("yard", (), items, items), lambda images: np.zeros((1, 2), np.float32))
    items[3].path.write_bytes(items[3].path.read_bytes()[:-30])
    with pytest.raises(Refused, match=items[3].path.name):
        evaluate(Dataset("yard", (), items, items), colours)


@pytest.mark.shared
def test_the_rule_gives_the_lists_that_roadside_publishes() -> None:
    if not ROADSIDE.is_dir():
        pytest.skip("needs shared/data/roadside")
    dataset = read_dataset(ROADSIDE)
    vehicles = np.array([item.vehicle for item in dataset.gallery])
    cameras = np.array([item.camera for item in dataset.gallery])
    positives = (ROADSIDE / "gt_index.txt").read_text().splitlines()
    junk = (ROADSIDE / "jk_index.txt").read_text().splitlines()
    assert len(dataset.query) == len(positives) == len(junk) == 700
    for item, right, dropped in zip(dataset.query, positives, junk, strict=True):
        same, here = vehicles == item.vehicle, cameras == item.camera
        assert (np.flatnonzero(same & ~here) + 1).tolist() == [int(word) for word in right.split()]
        assert (np.flatnonzero(same & here) + 1).tolist() == [int(word) for word in dropped.split()]
    assert {item.kind for item in dataset.train} >= {"sedan", "bus"}


@pytest.mark.shared
def test_retrieval_on_roadside_equals_average_precision_over_its_published_lists() -> None:
    if not ROADSIDE.is_dir():
        pytest.skip("needs shared/data/roadside")
    random, dataset = np.random.default_rng(0), read_dataset(ROADSIDE)
    numbers = {label: n for n, label in enumerate(sorted({item.vehicle for item in dataset.gallery}))}
    centres = random.standard_normal((len(numbers), 32))

    def part(items: Sequence[Item]) -> Embedded:
        rows = np.array([numbers[item.vehicle] for item in items])
        features = centres[rows] + 1.5 * random.standard_normal((len(rows), 32))
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return Embedded(features.astype(np.float32), rows, np.array([int(item.camera[1:]) for item in items]))

    query, gallery = part(dataset.query), part(dataset.gallery)
    positives = (ROADSIDE / "gt_index.txt").read_text().splitlines()
    junk = (ROADSIDE / "jk_index.txt").read_text().splitlines()
    precisions = []
    for feature, right, dropped in zip(query.features, positives, junk, strict=True):
        order = np.argsort(-(gallery.features @ feature), kind="stable") + 1
        order = order[~np.isin(order, [int(word) for word in dropped.split()])]
        hit = np.isin(order, [int(word) for word in right.split()])
        precisions.append(np.mean((np.cumsum(hit) / np.arange(1, len(hit) + 1))[hit]))
    assert retrieval(query, gallery).map == pytest.approx(100 * np.mean(precisions), abs=1e-3)
