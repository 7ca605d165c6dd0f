"""Each distillation loss equals a slow loop written from its formula; none has a broken gradient, or one for the teacher."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.train.losses.outputs import fitnet_loss
from vreid.train.losses.rankings import csd_loss, d3still_loss, raml_loss, rop_loss
from vreid.train.losses.relations import correlation_loss, pkt_loss, rkd_loss
from vreid.train.losses.table import LOSSES, loss_named

ALIGNED = ["fitnet", "csd", "rop", "raml", "d3still"]  # compare the spaces with each other
OTHERS = [name for name in LOSSES if name != "similarity"]
COPIES = [None, [0, 1, 2, 0, 3, 1, 4, 0, 5]]
Rows = list[list[float]]


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(size: int, dims: tuple[int, int], numbers: Sequence[int] | None) -> tuple[Tensor, Tensor, list[int]]:
    """Student, teacher, numbers of the pictures; copies are alike to the teacher, as two crops of a picture are."""
    names = list(range(size)) if numbers is None else list(numbers[:size])
    teacher = drawn(size, dims[1], seed=2)[names] + 0.1 * drawn(size, dims[1], seed=3)
    return drawn(size, dims[0], seed=1), teacher, names


def unit_rows(x: Tensor) -> Rows:
    return [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in x.tolist()]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def huber(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def slow_rkd(student: Tensor, teacher: Tensor, names: list[int], distance: float, angle: float) -> float:
    """Park et al.: psi_D = |a - b| / mu over pairs, psi_A = cos of the angle at b of (a, b, c); Huber of the differences."""
    spaces = [unit_rows(student), unit_rows(teacher)]
    pairs = [(i, j) for i, j in itertools.permutations(range(len(names)), 2) if names[i] != names[j]]
    means = [sum(math.dist(x[i], x[j]) for i, j in pairs) / len(pairs) for x in spaces]
    lengths = [[math.dist(x[i], x[j]) / mean for i, j in pairs] for x, mean in zip(spaces, means, strict=True)]

    def cosine(x: Rows, i: int, j: int, k: int) -> float:
        one, two = ([p - q for p, q in zip(x[end], x[j], strict=True)] for end in (i, k))
        return dot(one, two) / math.sqrt(dot(one, one) * dot(two, two))

    triples = [t for t in itertools.permutations(range(len(names)), 3) if len({names[i] for i in t}) == 3]
    angles = [huber(cosine(spaces[0], *t) - cosine(spaces[1], *t)) for t in triples]
    far = sum(huber(a - b) for a, b in zip(*lengths, strict=True)) / len(pairs)
    return distance * far + angle * sum(angles) / len(triples)


def slow_pkt(student: Tensor, teacher: Tensor, names: list[int]) -> float:
    """Passalis and Tefas: p(j | i) = K(i, j) / sum over k of K(i, k); sum p log(p / q), over the entries of the matrix."""

    def shares(x: Rows, i: int) -> dict[int, float]:
        affinity = {j: (dot(x[i], x[j]) + 1) / 2 for j in range(len(x)) if names[j] != names[i]}
        return {j: value / sum(affinity.values()) for j, value in affinity.items()}

    mine, taught = unit_rows(student), unit_rows(teacher)
    total = 0.0
    for i in range(len(names)):
        q, p = shares(mine, i), shares(taught, i)
        total += sum(p[j] * math.log(p[j] / q[j]) for j in p)
    return 30000 * total / len(names) ** 2


def slow_correlation(student: Tensor, teacher: Tensor, gamma: float, order: int) -> float:
    """Peng et al.: mean squared difference of the kernels' series."""

    def kernel(a: list[float], b: list[float]) -> float:
        return sum(
            math.exp(-2 * gamma) * (2 * gamma) ** p / math.factorial(p) * dot(a, b) ** p for p in range(order + 1)
        )

    mine, taught = unit_rows(student), unit_rows(teacher)
    pairs = list(itertools.product(range(len(mine)), repeat=2))
    return sum((kernel(mine[i], mine[j]) - kernel(taught[i], taught[j])) ** 2 for i, j in pairs) / len(pairs)


def slow_rows(student: Tensor, teacher: Tensor, names: list[int], k: int) -> list[tuple[list[float], list[float]]]:
    """Per picture the teacher's and the student's similarities to the k that the teacher finds nearest."""
    mine, taught = unit_rows(student), unit_rows(teacher)
    rows = []
    for i in range(len(names)):
        allowed = [j for j in range(len(names)) if names[j] != names[i] or j == i]
        allowed.sort(key=lambda j, i=i: -dot(taught[i], taught[j]))  # type: ignore[misc]
        chosen = allowed[:k]
        rows.append(
            (
                [dot(taught[i], taught[j]) for j in chosen],
                [dot(mine[i], taught[j]) for j in chosen],
            )
        )
    return rows


def softmax(values: list[float]) -> list[float]:
    whole = sum(math.exp(value) for value in values)
    return [math.exp(value) / whole for value in values]


def slow_csd(rows: list[tuple[list[float], list[float]]], teacher_tau: float, student_tau: float) -> float:
    total = 0.0
    for taught, mine in rows:
        p, q = softmax([a / teacher_tau for a in taught]), softmax([b / student_tau for b in mine])
        total += sum(x * math.log(x / y) for x, y in zip(p, q, strict=True) if x > 0)
    return total / len(rows)


def slow_rop(rows: list[tuple[list[float], list[float]]], teacher_tau: float, student_tau: float) -> float:
    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x)) if x > -500 else 0.0

    total = 0.0
    for taught, mine in rows:
        shares = softmax([0.2 * a for a in taught])
        weights = [share / math.log2(1 + rank) for rank, share in enumerate(shares, start=1)]
        for j, weight in enumerate(weights):
            squares = [
                (sigmoid((mine[m] - mine[j]) / student_tau) - sigmoid((taught[m] - taught[j]) / teacher_tau)) ** 2
                for m in range(len(mine))
                if m != j
            ]
            total += weight / sum(weights) * sum(squares) / len(squares)
    return total / len(rows)


def slow_d3still(rows: list[tuple[list[float], list[float]]], alpha: float, beta: float, gamma: float) -> float:
    first, hard, simple = 0.0, 0.0, 0.0
    for taught, mine in rows:
        first += (taught[0] - mine[0]) ** 2
        for j, m in itertools.combinations(range(len(mine)), 2):
            wanted, made = taught[j] - taught[m], mine[j] - mine[m]
            error = ((made - wanted) / (0.1 + abs(wanted))) ** 2
            if wanted * made < 0:
                hard += error
            else:
                simple += error
    assert hard and simple
    return (alpha * math.sqrt(first) + beta * math.sqrt(hard) + gamma * math.sqrt(simple)) / len(rows)


@pytest.mark.parametrize(("size", "dim"), [(5, 3), (9, 7)])
def test_fitnet_equals_the_formula(size: int, dim: int) -> None:
    student, teacher, _ = batch(size, (dim, dim), None)
    squares = [math.dist(a, b) ** 2 for a, b in zip(unit_rows(student), unit_rows(teacher), strict=True)]
    assert float(fitnet_loss(student, teacher)) == pytest.approx(2 * sum(squares) / (size * dim), rel=1e-5)


@pytest.mark.parametrize("numbers", COPIES)
@pytest.mark.parametrize(("size", "dims"), [(5, (3, 4)), (9, (7, 5))])
def test_losses_of_relations_equal_the_formulas(size: int, dims: tuple[int, int], numbers: list[int] | None) -> None:
    student, teacher, names = batch(size, dims, numbers)
    pictures = None if numbers is None else torch.tensor(names)
    found = float(rkd_loss(student, teacher, pictures))
    assert found == pytest.approx(slow_rkd(student, teacher, names, 25, 50), rel=1e-4)
    assert float(rkd_loss(student, teacher, pictures, angle=0)) == pytest.approx(
        slow_rkd(student, teacher, names, 25, 0), rel=1e-4
    )
    assert float(pkt_loss(student, teacher, pictures)) == pytest.approx(slow_pkt(student, teacher, names), rel=1e-3)
    for gamma, order in ((0.4, 2), (1.0, 4)):
        found = float(correlation_loss(student, teacher, pictures, gamma=gamma, order=order))
        assert found == pytest.approx(slow_correlation(student, teacher, gamma, order), rel=1e-4)


@pytest.mark.parametrize("numbers", COPIES)
@pytest.mark.parametrize(("size", "dims", "k"), [(5, (4, 4), 96), (9, (7, 7), 4)])
def test_losses_of_rankings_equal_the_formulas(
    size: int, dims: tuple[int, int], k: int, numbers: list[int] | None
) -> None:
    student, teacher, names = batch(size, dims, numbers)
    pictures = None if numbers is None else torch.tensor(names)
    rows = slow_rows(student, teacher, names, k)
    given: dict[str, Any] = {"pictures": pictures, "k": k}
    cases = [
        (csd_loss(student, teacher, **given), slow_csd(rows, 0.01, 1)),
        (csd_loss(student, teacher, **given, teacher_tau=0.5, student_tau=0.3), slow_csd(rows, 0.5, 0.3)),
        (rop_loss(student, teacher, **given), slow_rop(rows, 1e-6, 0.1)),
        (rop_loss(student, teacher, **given, teacher_tau=0.2), slow_rop(rows, 0.2, 0.1)),
        (d3still_loss(student, teacher, **given), slow_d3still(rows, 50, 2, 1)),
        (d3still_loss(student, teacher, **given, alpha=0, beta=5), slow_d3still(rows, 0, 5, 1)),
    ]
    for found, expected in cases:
        assert float(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("size", "dim"), [(5, 3), (9, 7)])
def test_raml_equals_the_formula(size: int, dim: int) -> None:
    student, teacher, _ = batch(size, (dim, dim), None)
    mine, taught = unit_rows(student), unit_rows(teacher)
    pairs = list(itertools.product(range(size), repeat=2))
    absolute = sum((1 - dot(a, b)) ** 2 for a, b in zip(mine, taught, strict=True)) / size
    across = sum((dot(mine[i], taught[j]) - dot(taught[i], taught[j])) ** 2 for i, j in pairs) / size**2
    inside = sum((dot(mine[i], mine[j]) - dot(taught[i], taught[j])) ** 2 for i, j in pairs) / size**2
    expected = absolute + 0.7482 * across + 0.6778 * inside
    assert float(raml_loss(student, teacher)) == pytest.approx(expected, rel=1e-5)


def same_temperatures(name: str) -> dict[str, Any]:
    return {"teacher_tau": 0.1, "student_tau": 0.1} if name in ("csd", "rop") else {}


@pytest.mark.parametrize("name", OTHERS)
def test_a_loss_is_zero_at_the_teachers_own_vectors_and_not_elsewhere(name: str) -> None:
    """CSD and ROP at one temperature: at their own two the formula is not zero there."""
    loss = functools.partial(loss_named(name), **same_temperatures(name))
    teacher, scale = drawn(8, 6), 1000 if name == "pkt" else 1
    assert abs(float(loss(3 * teacher, teacher))) < 1e-4 * scale
    assert float(loss(drawn(8, 6, seed=9), teacher)) > 1e-2 * scale


@pytest.mark.parametrize("name", OTHERS)
def test_only_losses_that_compare_the_spaces_mind_a_rotation(name: str) -> None:
    loss = functools.partial(loss_named(name), **same_temperatures(name))
    teacher = drawn(8, 6)
    turned = teacher @ torch.linalg.qr(drawn(6, 6, seed=5))[0]
    minds = name in ALIGNED
    assert (float(loss(turned, teacher)) > 0.01) == minds
    longer = torch.cat([turned, torch.zeros(8, 2)], dim=1)
    if minds:
        with pytest.raises(Refused, match=r"8 and 6 axes.*dim 6"):
            loss(longer, teacher)
    else:
        assert float(loss(longer, teacher)) == pytest.approx(float(loss(turned, teacher)), abs=0.1)


def test_two_temperatures_pull_past_the_teacher() -> None:
    """The claim of the docstrings of CSD and ROP."""
    teacher = drawn(8, 6)
    assert float(csd_loss(teacher, teacher)) > 0.1
    assert float(rop_loss(teacher, teacher)) > 1e-3


def degenerate() -> list[tuple[str, Tensor, Tensor, list[int] | None]]:
    x = drawn(6, 4).float()
    return [
        ("zero student", torch.zeros(6, 4), x, None),
        ("equal student", torch.ones(6, 4), x, None),
        ("student all but equal", torch.ones(6, 4) + 1e-6 * x, x, None),
        ("opposite student", -x, x, None),
        ("two opposite", torch.cat([x[:3], -x[:3]]), x, None),
        ("student is teacher", x.clone(), x, None),
        ("zero teacher", x.clone(), torch.zeros(6, 4), None),
        ("equal teacher", x.clone(), torch.ones(6, 4), None),
        ("long student", x * 1e6, x, None),
        ("one picture", x[:1].clone(), x[:1], None),
        ("two pictures", x[:2].clone(), x[2:4], None),
        ("copies of one picture", x.clone(), x, [0] * 6),
        ("one picture and copies", x.clone(), x, [0, 0, 0, 0, 0, 1]),
    ]


@pytest.mark.parametrize("name", OTHERS)
def test_gradients_are_finite_in_degenerate_batches(name: str) -> None:
    for case, student, teacher, numbers in degenerate():
        x = student.requires_grad_()
        pictures = None if numbers is None else torch.tensor(numbers)
        loss = loss_named(name)(x, teacher, pictures=pictures)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.shape == () and torch.isfinite(loss), case
        assert x.grad is not None and torch.isfinite(x.grad).all(), case


def test_two_vectors_in_one_place_do_not_make_the_angles_explode() -> None:
    student = drawn(6, 4, seed=1).float()
    student[1] = student[0]
    student.requires_grad_()
    (slope,) = torch.autograd.grad(rkd_loss(student, drawn(6, 4).float()), student)
    assert 0 < float(slope.norm()) < 100


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_reaches_the_student_only(name: str) -> None:
    student, teacher = drawn(7, 5, seed=1).requires_grad_(), drawn(7, 5, seed=2).requires_grad_()
    loss_named(name)(student, teacher).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None
    assert student.grad is not None and (student.grad.abs().sum(1) > 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_free_embeddings_learn(name: str) -> None:
    teacher, pictures = drawn(9, 6, seed=7).float(), torch.tensor([0, 1, 2, 3, 4, 5, 6, 0, 1])
    student = drawn(9, 6, seed=8).float().requires_grad_()

    def loss() -> Tensor:
        return loss_named(name)(student, teacher, pictures=pictures)

    before, pace = loss().item(), 0.0
    for _ in range(20):  # by hand: importing torch.optim takes longer than all of these tests
        (slope,) = torch.autograd.grad(loss(), student)
        pace = pace or 0.2 / float(slope.norm())
        student = (student.detach() - pace * slope).requires_grad_()
    assert loss().item() < 0.8 * before


@pytest.mark.parametrize("name", ["rkd", "pkt"])
def test_two_copies_of_one_picture_are_no_relation(name: str) -> None:
    """Alone in a batch they teach nothing, however differently student and teacher see them."""
    student, teacher = drawn(2, 5, seed=1), drawn(2, 5, seed=2)
    assert float(loss_named(name)(student, teacher, pictures=torch.tensor([0, 0]))) == pytest.approx(0, abs=1e-4)


def test_the_seam_opens_every_name_and_refuses_others_with_the_list() -> None:
    for name in LOSSES:
        assert float(loss_named(name)(drawn(4, 3), drawn(4, 3, seed=1), pictures=None)) > 0
    with pytest.raises(Refused, match=r"no distillation loss 'kd'; choose one of: correlation, csd, d3still"):
        loss_named("kd")


@pytest.mark.parametrize("name", ["csd", "rop", "d3still"])
def test_a_ranking_of_one_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="k is 1; give it 2 or more"):
        loss_named(name)(drawn(4, 3), drawn(4, 3), k=1)
