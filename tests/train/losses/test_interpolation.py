"""Mixed rows are the same pairs at the same weights in both spaces; each form of the loss equals a loop."""

import math

import pytest
import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.losses.interpolation import FORMS, interpolated, ranking_loss
from vreid.train.losses.relations import similarity_loss


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights_in(rows: Tensor) -> Tensor:
    """What rows of the identity were mixed with, (N, B): each row of sum 1."""
    return rows / rows.sum(1, keepdim=True)


@pytest.mark.parametrize("alpha", [None, 0.4, 2.0])
def test_a_mixed_row_has_the_same_pair_and_weight_in_both_spaces(alpha: float | None) -> None:
    """The identity as features shows who was mixed and how much; the other space must be the same mixture."""
    eye, features = torch.eye(6), drawn(6, 9)
    rows, mixed = interpolated(eye, features, 40, alpha, chance())
    assert torch.equal(rows[:6], eye) and torch.allclose(mixed[:6], unit(features))
    assert ((rows[6:] > 0).sum(1) <= 2).all()
    assert torch.allclose(mixed, unit(weights_in(rows) @ unit(features)), atol=1e-6)
    assert len({tuple((row > 0).nonzero().flatten().tolist()) for row in rows[6:]}) > 8  # many pairs
    for part in (rows, mixed):
        assert torch.allclose(part.norm(dim=1), torch.ones(46))


def test_two_different_rows_are_mixed() -> None:
    """Of two rows the only pair is both, so no mixed row at an inner weight may lie on an original."""
    weights = weights_in(interpolated(torch.eye(2), torch.eye(2), 200, 5.0, chance())[0][2:])
    assert (weights.amax(1) < 0.9999).all()
    assert float(weights[:, 0].mean()) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("alpha", "variance"), [(None, 1 / 12), (1.0, 1 / 12), (0.5, 1 / 8), (3.0, 1 / 28)])
def test_weights_have_the_requested_spread(alpha: float | None, variance: float) -> None:
    """Beta(a, a) has the variance 1 / (4 (2 a + 1)), and Beta(1, 1) is the uniform one."""
    weights = weights_in(interpolated(torch.eye(2), torch.eye(2), 8000, alpha, chance())[0][2:])
    assert float(weights[:, 0].var()) == pytest.approx(variance, rel=0.06)


def test_chance_is_only_the_generator_s() -> None:
    student, teacher = drawn(5, 3), drawn(5, 4)
    generator = chance(7)
    first = interpolated(student, teacher, 10, 0.5, generator)
    state = generator.get_state()
    second = interpolated(student, teacher, 10, 0.5, generator)
    torch.manual_seed(99)
    again = interpolated(student, teacher, 10, 0.5, chance(7))
    resumed = chance()
    resumed.set_state(state)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])
    assert torch.equal(second[1], interpolated(student, teacher, 10, 0.5, resumed)[1])


def slow_loss(form: str, student: Tensor, teacher: Tensor, tau: float, numbers: list[int]) -> float:
    """Over the pairs (p, q) of two pictures, straight from the formulas."""
    student_rows: list[list[float]] = student.tolist()
    teacher_rows: list[list[float]] = teacher.tolist()
    n = len(student_rows)
    pairs = [(p, q) for p in range(n) for q in range(n) if numbers[p] != numbers[q]]

    def dot(rows: list[list[float]], p: int, q: int) -> float:
        return sum(a * b for a, b in zip(rows[p], rows[q], strict=True))

    if form == "huber":
        lengths = [[math.dist(rows[p], rows[q]) for p, q in pairs] for rows in (student_rows, teacher_rows)]
        means = [sum(row) / len(row) for row in lengths]
        gaps = [abs(s / means[0] - t / means[1]) for s, t in zip(*lengths, strict=True)]
        return math.fsum(gap * gap / 2 if gap < 1 else gap - 0.5 for gap in gaps) / len(gaps)
    if form == "mse":
        return sum((dot(student_rows, p, q) - dot(teacher_rows, p, q)) ** 2 for p, q in pairs) / len(pairs)
    total, places = 0.0, 0.0
    for p in range(n):
        others = [q for q in range(n) if numbers[p] != numbers[q]]
        if form == "kl":
            t, s = ([math.exp(dot(rows, p, q) / tau) for q in others] for rows in (teacher_rows, student_rows))
            total += sum(a / sum(t) * math.log(a / sum(t) * sum(s) / b) for a, b in zip(t, s, strict=True)) / n
        else:
            others.sort(key=lambda q: -dot(teacher_rows, p, q))
            scores = [math.exp(dot(student_rows, p, q) / tau) for q in others]
            total -= sum(math.log(score / sum(scores[place:])) for place, score in enumerate(scores))
            places += len(scores)
    return total if form == "kl" else total / places


@pytest.mark.parametrize("form", list(FORMS))
@pytest.mark.parametrize("pairs", ["all", "original", "mixed"])
@pytest.mark.parametrize("pictures", [None, [3, 5, 5, 9, 4, 1]])
def test_each_form_equals_its_formula(form: str, pairs: str, pictures: list[int] | None) -> None:
    student, teacher = interpolated(drawn(6, 4, 1), drawn(6, 7, 2), 5, None, chance())
    numbers = (pictures or list(range(6))) + [100, 101, 102, 103, 104]
    part = {"all": slice(None), "original": slice(6), "mixed": slice(6, None)}[pairs]
    expected = slow_loss(form, student[part], teacher[part], 0.2, numbers[part])
    given = None if pictures is None else torch.tensor(pictures)
    loss = ranking_loss(student, teacher, form, 0.2, pairs, mixed=5, pictures=given)
    assert expected > 0.005 and float(loss) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("form", list(FORMS))
def test_without_mixed_rows_it_is_the_plain_loss(form: str) -> None:
    student, teacher = drawn(6, 4, 1), drawn(6, 7, 2)
    joint = interpolated(student, teacher, 0, None, chance())
    plain = slow_loss(form, unit(student), unit(teacher), 0.2, list(range(6)))
    assert float(ranking_loss(*joint, form, 0.2)) == pytest.approx(plain, rel=1e-3)
    more = interpolated(student, teacher, 4, None, chance())
    assert float(ranking_loss(*more, form, 0.2, "original", 4)) == pytest.approx(plain, rel=1e-3)
    if form == "kl":
        assert float(ranking_loss(*joint, form)) == pytest.approx(float(similarity_loss(student, teacher)), rel=1e-4)


def test_the_loss_is_zero_for_the_same_relations_in_another_space() -> None:
    teacher = drawn(6, 5)
    student = torch.cat([3 * teacher @ torch.linalg.qr(drawn(5, 5, 3))[0], torch.zeros(6, 2)], 1)
    for form in ("huber", "mse", "kl"):
        assert abs(float(ranking_loss(*interpolated(student, teacher, 8, None, chance()), form, 0.2))) < 1e-4
        other = interpolated(drawn(6, 7, 9), teacher, 8, None, chance())
        assert float(ranking_loss(*other, form, 0.2)) > 1e-2


def test_the_ranking_form_is_least_for_the_teacher_s_order_and_sees_nothing_else() -> None:
    teacher = unit(drawn(6, 5))
    bent = unit(torch.cat([teacher, torch.full((6, 1), 2.0)], 1))  # all cosines nearer to 1, in the same order
    student = drawn(6, 4, 3)
    assert float(ranking_loss(student, teacher, "ranking")) == float(ranking_loss(student, bent, "ranking"))
    low = float(ranking_loss(teacher, teacher, "ranking", 0.02))
    assert low < 0.5 * float(ranking_loss(unit(drawn(6, 5, 8)), teacher, "ranking", 0.02))


@pytest.mark.parametrize("form", list(FORMS))
def test_gradients_are_finite_and_the_teacher_gets_none(form: str) -> None:
    for x in (torch.zeros(4, 5), torch.ones(4, 5), drawn(2, 5).repeat(2, 1) * 30):
        for pictures in (None, torch.tensor([0, 0, 1, 2]), torch.zeros(4, dtype=torch.long)):
            student, teacher = x.clone().requires_grad_(), drawn(4, 3).requires_grad_()
            joint = interpolated(student, teacher, 3, 0.3, chance())
            loss = ranking_loss(*joint, form, mixed=3, pictures=pictures)
            loss.backward()  # type: ignore[no-untyped-call]
            assert torch.isfinite(loss) and student.grad is not None and torch.isfinite(student.grad).all()
            assert teacher.grad is None


@pytest.mark.parametrize("form", list(FORMS))
def test_a_few_steps_lower_the_loss(form: str) -> None:
    student, teacher, losses = drawn(8, 6, 1), drawn(8, 9, 2), []
    for _ in range(30):
        student.requires_grad_()
        loss = ranking_loss(*interpolated(student, teacher, 6, None, chance(1)), form, 0.5)
        (slope,) = torch.autograd.grad(loss, student)
        student = student.detach() - slope
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_a_batch_without_a_pair_costs_nothing() -> None:
    same = torch.zeros(4, dtype=torch.long)
    for form in FORMS:
        assert float(ranking_loss(drawn(4, 3), drawn(4, 3), form, pictures=same)) == 0.0
        assert float(ranking_loss(drawn(1, 3), drawn(1, 3), form)) == 0.0


def test_what_cannot_be_mixed_or_ranked_is_refused() -> None:
    x = drawn(4, 3)
    with pytest.raises(Refused, match="same pictures"):
        interpolated(x, x[:3], 2, None, chance())
    with pytest.raises(Refused, match="two pictures"):
        interpolated(x[:1], x[:1], 2, None, chance())
    for count, alpha in ((-1, None), (2, 0.0)):
        with pytest.raises(Refused, match="alpha above 0"):
            interpolated(x, x, count, alpha, chance())
    for options, word in (
        ({"form": "rank"}, "choose one of"),
        ({"pairs": "some"}, "choose one of"),
        ({"pairs": "mixed"}, "two mixed rows"),
        ({"mixed": 5}, "of them mixed"),
        ({"tau": 0.0}, "temperature"),
        ({"pictures": torch.zeros(3)}, "picture numbers"),
    ):
        with pytest.raises(Refused, match=word):
            ranking_loss(x, x, **options)
