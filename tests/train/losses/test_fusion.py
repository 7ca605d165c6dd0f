"""Fusions equal loops over entries, the losses equal loops over pairs, and chance is the generator's alone."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.losses.relations import FUSIONS, fused, fusion_loss, similarity_loss
from vreid.train.projection import fit_whitening

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])  # the last vehicle has no second picture
RANDOM = ("maxrand", "rand")


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def similarities(count: int = 3) -> Tensor:
    """(K, 8, 8) similarities, all different and not symmetric: nothing in a fusion may lean on that."""
    return drawn(count * 8, 8).tanh().view(count, 8, 8)


def slow_entry(mode: str, values: Sequence[float], same: bool) -> float:
    if mode == "mean" or (mode == "maxmean" and not same):
        return sum(values) / len(values)
    return max(values) if same else min(values)


@pytest.mark.parametrize("mode", ["mean", "maxmin", "maxmean"])
def test_a_fusion_equals_a_loop_over_entries(mode: str) -> None:
    matrix = fused(similarities(), LABELS, mode)
    for i in range(8):
        for j in range(8):
            same = bool(LABELS[i] == LABELS[j])
            assert float(matrix[i, j]) == pytest.approx(slow_entry(mode, similarities()[:, i, j].tolist(), same))


@pytest.mark.parametrize("mode", RANDOM)
def test_a_random_fusion_takes_every_entry_from_some_teacher_and_asks_all_of_them(mode: str) -> None:
    seen: set[tuple[int, int, int]] = set()
    generator, values, labels = chance(), similarities().tolist(), LABELS.tolist()
    for _ in range(60):
        matrix = fused(similarities(), LABELS, mode, generator).tolist()
        for i in range(8):
            for j in range(8):
                teachers = [values[k][i][j] for k in range(3)]
                if mode == "maxrand" and labels[i] == labels[j]:
                    assert matrix[i][j] == max(teachers)
                    seen |= {(i, j, k) for k in range(3)}
                else:
                    seen.add((i, j, teachers.index(matrix[i][j])))
    assert len(seen) == 8 * 8 * 3


@pytest.mark.parametrize("mode", RANDOM)
def test_a_resumed_generator_draws_on(mode: str) -> None:
    generator = chance(4)
    first = fused(similarities(), LABELS, mode, generator)
    state = generator.get_state()
    second = fused(similarities(), LABELS, mode, generator)
    assert not torch.equal(first, second)
    torch.manual_seed(99)  # the global chance has no say
    assert torch.equal(first, fused(similarities(), LABELS, mode, chance(4)))
    resumed = chance()
    resumed.set_state(state)
    assert torch.equal(second, fused(similarities(), LABELS, mode, resumed))
    with pytest.raises(Refused, match=r"torch\.Generator"):
        fused(similarities(), LABELS, mode)


def test_of_one_teacher_every_fusion_is_its_own_word() -> None:
    for mode in FUSIONS:
        assert torch.equal(fused(similarities(1), LABELS, mode, chance()), similarities(1)[0])


def test_maxmin_takes_the_teacher_that_is_right() -> None:
    """Two blind teachers: one cannot tell vehicle 0 from 1, the other takes two pictures of vehicle 0 for strangers."""
    labels = torch.tensor([0, 0, 1])
    truth = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]])
    confuses, misses = truth.clone(), truth.clone()
    confuses[0, 2] = confuses[2, 0] = 0.95
    misses[0, 1] = misses[1, 0] = 0.0
    both = torch.stack([confuses, misses])
    assert torch.equal(fused(both, labels, "maxmin"), truth)
    for mode in ("mean", "maxmean"):
        assert not torch.allclose(fused(both, labels, mode), truth)


def slow_loss(student: Tensor, matrix: Tensor, tau: float, pictures: Sequence[int]) -> float:
    """Row by row and column by column, sum p log(p / q) over the pairs of two pictures; not halved."""
    student_rows, n, total = torch.nn.functional.normalize(student, dim=1), len(student), 0.0
    cosines = student_rows @ student_rows.T
    for teacher_rows, mine in ((matrix, cosines), (matrix.T, cosines.T)):
        for i in range(n):
            others = [j for j in range(n) if pictures[j] != pictures[i]]
            p, q = ([math.exp(float(x[i, j]) / tau) for j in others] for x in (teacher_rows, mine))
            total += sum(a / sum(p) * math.log(a / sum(p) * sum(q) / b) for a, b in zip(p, q, strict=True)) / n
    return total


@pytest.mark.parametrize("mode", list(FUSIONS))
@pytest.mark.parametrize("pictures", [None, [0, 1, 1, 2, 3, 4, 5, 6]])
def test_fusion_loss_equals_the_formula(mode: str, pictures: list[int] | None) -> None:
    student, teachers = drawn(8, 6, 7), [drawn(8, 5, 8), drawn(8, 9, 9)]  # widths need not agree
    matrix = fused(torch.stack([unit(x) @ unit(x).T for x in teachers]), LABELS, mode, chance(3))
    expected = slow_loss(student, matrix, 0.2, pictures or list(range(8)))
    numbers = None if pictures is None else torch.tensor(pictures)
    loss = fusion_loss(student, teachers, LABELS, mode, 0.2, numbers, chance(3))
    assert expected > 0.1 and float(loss) == pytest.approx(expected, rel=1e-3)


def test_one_teacher_is_twice_the_similarity_loss() -> None:
    student, teacher = drawn(8, 6, 1), drawn(8, 4, 2)
    for pictures in (None, torch.tensor([0, 0, 1, 2, 3, 4, 5, 6])):
        twice = 2 * similarity_loss(student, teacher, pictures=pictures)
        assert float(fusion_loss(student, [teacher], LABELS, pictures=pictures)) == pytest.approx(
            float(twice), rel=1e-4
        )


def test_the_loss_is_zero_for_the_fused_similarities_and_only_then() -> None:
    teacher = drawn(8, 5)
    turned = 3 * teacher @ torch.linalg.qr(drawn(5, 5, 4))[0]  # another teacher of the same cosines
    assert abs(float(fusion_loss(teacher, [teacher], LABELS, "mean"))) < 1e-5
    assert abs(float(fusion_loss(teacher, [teacher, turned], None, "mean"))) < 1e-3
    assert float(fusion_loss(drawn(8, 5, 9), [teacher, turned], LABELS, "mean")) > 0.1


def test_gradients_are_finite_and_the_teachers_get_none() -> None:
    for x in (torch.zeros(8, 5), torch.ones(8, 5), drawn(8, 5) * 100):
        for pictures in (None, torch.zeros(8, dtype=torch.long), torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])):
            student, teacher = x.clone().requires_grad_(), drawn(8, 3).requires_grad_()
            loss = fusion_loss(student, [teacher, x], LABELS, pictures=pictures)
            loss.backward()  # type: ignore[no-untyped-call]
            assert torch.isfinite(loss) and student.grad is not None and torch.isfinite(student.grad).all()
            assert teacher.grad is None


@pytest.mark.parametrize("mode", list(FUSIONS))
def test_a_few_steps_lower_the_loss(mode: str) -> None:
    raw = [drawn(8, 5, 8), drawn(8, 9, 9)]
    teachers = [fit_whitening(x, 4)(x) for x in raw]
    student, losses = drawn(8, 6, 1), []
    for _ in range(20):
        student.requires_grad_()
        loss = fusion_loss(student, teachers, LABELS, mode, 0.3, None, chance(1))
        (slope,) = torch.autograd.grad(loss, student)
        student = student.detach() - 0.1 * slope
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_what_cannot_be_fused_is_refused() -> None:
    x = drawn(8, 4)
    for mode in ("maxmin", "maxmean", "maxrand"):
        with pytest.raises(Refused, match="needs labels"):
            fusion_loss(x, [x], None, mode)
    assert torch.isfinite(fusion_loss(x, [x, drawn(8, 3)], None, "rand", generator=chance()))
    with pytest.raises(Refused, match="choose one of"):
        fusion_loss(x, [x], LABELS, "median")
    with pytest.raises(Refused, match="one teacher or more"):
        fusion_loss(x, [], LABELS)
    with pytest.raises(Refused, match="all 8 pictures"):
        fusion_loss(x, [x[:7]], LABELS)
    with pytest.raises(Refused, match="as many labels"):
        fusion_loss(x, [x], LABELS[:7])
    with pytest.raises(Refused, match="temperature"):
        fusion_loss(x, [x], LABELS, tau=0.0)
