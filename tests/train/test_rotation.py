"""A teacher turned into fewer axes keeps as much of its inner products as any can, and a student is drawn to it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.losses.outputs import alignment_loss
from vreid.train.projection import fit_rotation


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) + 0.5


def cosines(x: Tensor) -> Tensor:
    return unit(x) @ unit(x).T


@pytest.mark.parametrize("dim", [1, 3, 6])
def test_no_matrix_of_that_rank_is_nearer_to_the_cosines(dim: int) -> None:
    features = drawn(40, 9)
    turned = fit_rotation(features, dim)(5 * features)
    assert turned.shape == (40, dim)
    left = np.linalg.svd(cosines(features).double().numpy())[1][dim:]  # Eckart and Young: what every other must miss
    missed = torch.linalg.norm(turned @ turned.T - cosines(features)).item()
    assert missed == pytest.approx(np.sqrt((left**2).sum()), rel=1e-4) and missed > 0.1


def test_as_many_axes_keep_every_cosine_and_a_hole_stays_a_hole() -> None:
    features = torch.cat([drawn(30, 6), torch.zeros(2, 6)])
    rotation = fit_rotation(features, 9)
    turned = rotation(features)
    assert rotation.fitted_on == 30 and turned.shape == (32, 6)
    assert torch.allclose(cosines(turned[:30]), cosines(features[:30]), atol=1e-5) and not turned[30:].any()


def test_fewer_pictures_than_axes_are_as_far_apart_as_before() -> None:
    features = drawn(5, 40)
    assert torch.allclose(cosines(fit_rotation(features, 8)(features)), cosines(features), atol=1e-5)


def test_what_cannot_be_turned_is_refused() -> None:
    with pytest.raises(Refused, match="dim of 1"):
        fit_rotation(drawn(9, 4), 0)
    with pytest.raises(Refused, match="no features"):
        fit_rotation(torch.zeros(9, 4), 2)


@pytest.mark.parametrize("axes", [4, 7])
def test_alignment_equals_the_formula(axes: int) -> None:
    student, teacher = drawn(6, 7, 1), drawn(6, axes, 2)
    slow = 0.0
    for student_row, teacher_row in zip(student.double().numpy(), teacher.double().numpy(), strict=True):
        teacher_row = np.concatenate([teacher_row, np.zeros(7 - axes)])
        slow += (1 - student_row @ teacher_row / np.linalg.norm(student_row) / np.linalg.norm(teacher_row)) / 6
    assert alignment_loss(student, teacher).item() == pytest.approx(slow, rel=1e-5)
    assert alignment_loss(3 * torch.nn.functional.pad(teacher, (0, 7 - axes)), teacher).item() == pytest.approx(
        0, abs=1e-6
    )


def test_alignment_draws_only_the_student_and_wants_a_teacher_that_fits() -> None:
    student, teacher = drawn(6, 3, 1).requires_grad_(), drawn(6, 3, 2).requires_grad_()
    alignment_loss(student, teacher).backward()
    assert student.grad is not None and student.grad.abs().sum() > 0 and teacher.grad is None
    with pytest.raises(Refused, match="fit_rotation"):
        alignment_loss(drawn(6, 3), drawn(6, 4))
