"""Features standardised camera by camera: as the formula says, kept for a resumed training, nothing lost of a missing row."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.camera_scale import PRIOR, fit_cameras, load_cameras, save_cameras
from vreid.train.data.records import Item
from vreid.train.teacher import Teacher, targets_of
from vreid.train.teacher_cache import picture_name


def seen(vehicles: int = 60, cameras: int = 3, axes: int = 12) -> tuple[Tensor, list[str], list[int]]:
    """A picture of each vehicle in each camera; a camera moves and stretches what it sees."""
    random = torch.Generator().manual_seed(0)
    alike = torch.randn(vehicles, axes, generator=random)
    rows, names, who = [], [], []
    for camera in range(cameras):
        shift = 4 * torch.randn(axes, generator=random)
        scale = 0.5 + torch.rand(axes, generator=random)
        rows.append(10 + shift + scale * (alike + 0.2 * torch.randn(vehicles, axes, generator=random)))
        names += [f"c{camera}"] * vehicles
        who += range(vehicles)
    return torch.cat(rows), names, who


def slow(features: np.ndarray, cameras: list[str], row: int) -> np.ndarray:
    """(x - m) / s: m of the row's camera by B / (B + W / n) and of all by the rest, s^2 with W as PRIOR pictures of it."""
    by: dict[str, list[np.ndarray]] = {}
    for x, camera in zip(features, cameras, strict=True):
        if x.any():
            by.setdefault(camera, []).append(x / np.linalg.norm(x))
    everything = np.stack([x for own in by.values() for x in own])
    whole = everything.mean(0)
    within = sum(((np.stack(own) - np.mean(own, 0)) ** 2).sum(0) for own in by.values()) / len(everything)
    squares = [(np.mean(own, 0) - whole) ** 2 - within / len(own) for own in by.values()]
    between = np.maximum(np.mean(squares, 0), 0)
    own = np.stack(by[cameras[row]])
    share = between / (between + within / len(own))
    mean = share * own.mean(0) + (1 - share) * whole
    square = (len(own) * own.var(0) + PRIOR * within) / (len(own) + PRIOR)
    return np.asarray((features[row] / np.linalg.norm(features[row]) - mean) / np.sqrt(square))


def test_it_equals_the_formula_and_leaves_missing_rows_zero() -> None:
    features, cameras, _ = seen()
    features[5] = 0
    found = fit_cameras(features, cameras)(features, cameras)
    for row in (0, 61, 130, 179):
        assert np.allclose(found[row], slow(features.double().numpy(), cameras, row), atol=1e-3)
    assert not found[5].any() and found.any(1).sum() == len(features) - 1


def test_a_vehicle_is_found_in_another_camera_where_it_was_not() -> None:
    features, cameras, who = seen()

    def first(rows: Tensor) -> float:
        scores = unit(rows[:60]) @ unit(rows[60:120]).T
        return float((scores.argmax(1) == torch.tensor(who[60:120])).float().mean())

    assert first(features) < 0.4 < 0.9 < first(fit_cameras(features, cameras)(features, cameras))


def test_a_camera_of_few_pictures_that_is_no_different_has_the_statistics_of_all() -> None:
    features = 10 + torch.randn(300, 6, generator=torch.Generator().manual_seed(1))
    cameras = [*(f"c{n % 3}" for n in range(298)), "rare", "rare"]
    scale = fit_cameras(features, cameras)
    whole, rare = unit(features).mean(0), unit(features[298:]).mean(0)
    assert (scale.mean[3] - whole).abs().max() < 0.35 * (rare - whole).abs().max()
    assert torch.allclose(scale.deviation[3], unit(features).std(0), rtol=0.15)
    moved = torch.cat([features[:298], features[298:] + torch.tensor([30.0, 0, 0, 0, 0, 0])])  # of one that is, its own
    scale, rare = fit_cameras(moved, cameras), unit(moved[298:]).mean(0)
    assert torch.allclose(scale.mean[3], rare, atol=0.02) and not torch.allclose(rare, whole, atol=0.2)


def test_what_cannot_be_standardised_is_refused(tmp_path: Path) -> None:
    features, cameras, _ = seen()
    with pytest.raises(Refused, match="all alike"):
        fit_cameras(torch.ones(4, 3), ["a", "a", "b", "b"])
    scale = fit_cameras(features, cameras)
    with pytest.raises(Refused, match="of camera c9 were not standardised"):
        scale(features, ["c9", *cameras[1:]])
    save_cameras(scale, path := tmp_path / "kept.npz", "teacher 1")
    again = load_cameras(path, "teacher 1")
    assert torch.equal(again(features, cameras), scale(features, cameras))
    with pytest.raises(Refused, match="'teacher 1', not 'teacher 2'"):
        load_cameras(path, "teacher 2")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Refused, match="no statistics of cameras"):
        load_cameras(path, "teacher 1")


def test_targets_are_standardised_before_they_are_whitened_and_the_statistics_are_kept(tmp_path: Path) -> None:
    features, cameras, _ = seen()
    items = [Item(tmp_path / f"{n}.jpg", "v", camera, key=n + 1) for n, camera in enumerate(cameras)]
    names = np.array([picture_name(item) for item in items])
    crc32 = np.arange(1, len(items) + 1)
    np.savez(tmp_path / "t.npz", teacher="t", pictures=names, crc32=crc32, features=features.numpy())
    teacher = Teacher("t", "t", cache=tmp_path / "t.npz")
    plain = targets_of([teacher], items, tmp_path / "plain").rows[0]
    assert torch.equal(plain, features)
    found = targets_of([teacher], items, tmp_path / "run", by_camera=True).rows[0]
    assert torch.allclose(found, fit_cameras(features, cameras)(features, cameras))
    white = targets_of([teacher], items, tmp_path / "run2", 4, by_camera=True).rows[0]
    assert torch.allclose(white.T @ white / len(white), torch.eye(4), atol=1e-2)
    # a picture less is standardised as before, not by what is left
    fewer = targets_of([teacher], items[1:], tmp_path / "run", by_camera=True).rows[0]
    assert torch.equal(fewer, found[1:])
