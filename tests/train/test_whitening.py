"""Whitened features have zero mean and identity covariance where they were fitted."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.projection import fit_whitening


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Features as a teacher's are: off centre, with axes of unequal spread, turned, of unequal length."""
    random = torch.Generator().manual_seed(seed)
    spread = torch.linspace(2.0, 0.2, columns)
    turn = torch.linalg.qr(torch.randn(columns, columns, generator=random))[0]
    x = (torch.randn(rows, columns, generator=random) * spread) @ turn + 1.0
    return torch.mul(x, 0.5 + torch.rand(rows, 1, generator=random))


def slow_whitening(features: np.ndarray, dim: int, floor: float) -> np.ndarray:
    """Methods.md 4.1, step by step on loops; the axes' signs are free."""
    rows = [row / np.sqrt(sum(value * value for value in row)) for row in features.astype(np.float64)]
    mean = sum(rows) / len(rows)
    covariance = np.zeros((len(mean), len(mean)))
    for row in rows:
        covariance += np.outer(row - mean, row - mean) / len(rows)
    values, axes = np.linalg.eig(covariance)
    order = np.argsort(-values.real)[:dim]
    out = np.zeros((len(rows), len(order)))
    for column, place in enumerate(order):
        value = max(values.real[place], floor * values.real.max())
        for row, x in enumerate(rows):
            out[row, column] = (x - mean) @ axes.real[:, place] / np.sqrt(value)
    return out


@pytest.mark.parametrize("dim", [12, 5])
def test_fitted_features_have_zero_mean_and_identity_covariance(dim: int) -> None:
    features = drawn(400, 12)
    white = fit_whitening(features, dim)(features).double()
    assert white.shape == (400, dim)
    assert white.mean(0).abs().max() < 1e-4
    assert torch.allclose(white.T @ white / 400, torch.eye(dim, dtype=torch.float64), atol=1e-3)
    assert unit(features).mean(0).abs().max() > 0.1  # which they had not before


@pytest.mark.parametrize(("dim", "floor"), [(9, 1e-5), (4, 1e-5), (9, 0.3)])
def test_whitening_equals_the_formula(dim: int, floor: float) -> None:
    features = drawn(60, 9, seed=1)
    white = fit_whitening(features, dim, floor)(features).double().numpy()
    slow = slow_whitening(features.numpy(), dim, floor)
    signs = np.sign((white * slow).sum(0))
    assert np.allclose(white, slow * signs, atol=1e-3)


def test_it_is_fitted_on_some_and_used_on_others_and_the_length_of_a_feature_is_nothing() -> None:
    features = drawn(4000, 6)
    whitening, others = fit_whitening(features[:2000]), features[2000:]
    white = whitening(others).double()
    assert white.mean(0).abs().max() < 0.15
    assert torch.allclose(white.T @ white / 2000, torch.eye(6, dtype=torch.float64), atol=0.2)
    assert torch.allclose(whitening(others), whitening(30 * others), atol=1e-4)
    assert whitening.fitted_on == 2000


def test_more_dimensions_than_there_are_give_what_there_are() -> None:
    assert fit_whitening(drawn(50, 7), dim=512).projection.shape == (7, 7)


def test_fewer_features_than_dimensions_work_by_the_floor() -> None:
    features = drawn(6, 40)
    whitening = fit_whitening(features, floor=1e-5)
    white = whitening(features)
    assert white.shape == (6, 40) and torch.isfinite(white).all()
    covariance = (white.T @ white / 6).diagonal()
    assert torch.allclose(covariance[:5], torch.ones(5), atol=1e-2)  # six points span five axes
    assert covariance[5:].max() < 1e-3
    stretch = whitening.projection.norm(dim=0)
    assert float(stretch[-1] / stretch[0]) == pytest.approx(1e5**0.5, rel=1e-3)


def test_two_teachers_of_unequal_spread_become_comparable() -> None:
    """The point of the paper: one teacher's cosines crowd near 1, the other's do not; whitened they spread alike."""
    wide = torch.randn(500, 32, generator=torch.Generator().manual_seed(5))
    narrow = drawn(500, 48, seed=6) + 8.0
    cosines = [unit(x) @ unit(x).T for x in (wide, narrow)]
    assert cosines[1].std() < 0.1 * cosines[0].std()
    white = [fit_whitening(x, 32)(x) for x in (wide, narrow)]
    after = [(unit(x) @ unit(x).T)[~torch.eye(500, dtype=torch.bool)].std() for x in white]
    assert float(after[1] / after[0]) == pytest.approx(1.0, abs=0.1)


def test_a_picture_without_an_embedding_stays_without() -> None:
    features = drawn(80, 5)
    with_holes = torch.cat([features, torch.zeros(20, 5)])
    whitening = fit_whitening(with_holes)
    assert whitening.fitted_on == 80 and torch.equal(whitening.mean, fit_whitening(features).mean)
    assert not whitening(with_holes)[80:].any() and whitening(with_holes)[:80].any(1).all()


@pytest.mark.parametrize(
    ("features", "word"),
    [
        (torch.ones(20, 5), "alike"),
        (torch.rand(20, 1) * torch.ones(20, 5), "alike"),
        (drawn(1, 5), "alike"),
        (torch.full((20, 5), float("nan")), "finite"),
        (drawn(20, 5) / torch.zeros(5), "finite"),
        (torch.zeros(20, 5), "no features"),
        (torch.zeros(0, 5), "no features"),
        (torch.rand(20), "shape"),
    ],
)
def test_features_without_a_covariance_are_refused(features: Tensor, word: str) -> None:
    with pytest.raises(Refused, match=word):
        fit_whitening(features)


def test_other_arguments_are_refused() -> None:
    for dim, floor in ((0, 1e-5), (4, 0.0), (4, 1.0)):
        with pytest.raises(Refused, match="dim of 1"):
            fit_whitening(drawn(9, 4), dim, floor)
    with pytest.raises(Refused, match="features of 4 numbers"):
        fit_whitening(drawn(9, 4))(drawn(9, 5))


def test_autocast_does_not_round_the_weak_axes() -> None:
    features = drawn(200, 8)
    whitening = fit_whitening(features)
    with torch.autocast("cpu", torch.bfloat16):
        white = whitening(features)
    assert white.dtype == torch.float32 and torch.equal(white, whitening(features))
