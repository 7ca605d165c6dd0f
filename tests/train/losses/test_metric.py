"""Each loss equals a slow loop written from its formula, and has a gradient where distances are zero."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vreid.models.network import Features, NetworkConfig
from vreid.train.losses.outputs import classification_loss, distances, triplet_loss
from vreid.train.losses.relations import similarity_loss
from vreid.train.optimise import losses_of
from vreid.train.recipe import Recipe

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 3])  # the last vehicle has no second picture


def drawn(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_classification(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    """-sum q log p with q = (1 - smoothing) [true] + smoothing / ids, Szegedy et al., section 7."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        whole = sum(math.exp(value) for value in row)
        for place, value in enumerate(row):
            q = (1 - smoothing) * (place == label) + smoothing / len(row)
            total -= q * math.log(math.exp(value) / whole)
    return total / len(logits)


def slow_triplet(x: Tensor, labels: Tensor, margin: float | None, cameras: list[int] | None = None) -> float:
    """Hermans et al., equation 5: the farthest of the same vehicle against the nearest of another; with cameras the one is of
    other cameras and the other of the anchor's own, where there are such."""
    rows, total = x.tolist(), 0.0
    for anchor, row in enumerate(rows):
        length = [math.dist(row, that) for that in rows]
        same = [other for other in range(len(rows)) if other != anchor and labels[anchor] == labels[other]]
        others = [other for other in range(len(rows)) if labels[anchor] != labels[other]]
        if cameras is not None:
            same = [other for other in same if cameras[other] != cameras[anchor]] or same
            others = [other for other in others if cameras[other] == cameras[anchor]] or others
        far, near = max((length[other] for other in same), default=0.0), min(length[other] for other in others)
        total += math.log1p(math.exp(far - near)) if margin is None else max(0.0, margin + far - near)
    return total / len(rows)


def slow_similarity(student: Tensor, teacher: Tensor, tau: float) -> float:
    """sum p_t log(p_t / p_s) over the pairs of a row, where p is the softmax of cosine / tau over all others."""

    def shares(features: Tensor, row: int) -> dict[int, float]:
        cosines = {
            other: float(torch.cosine_similarity(features[row], features[other], dim=0)) / tau
            for other in range(len(features))
            if other != row
        }
        whole = sum(math.exp(value) for value in cosines.values())
        return {other: math.exp(value) / whole for other, value in cosines.items()}

    total = 0.0
    for row in range(len(student)):
        student_rows, teacher_rows = shares(student, row), shares(teacher, row)
        total += sum(
            teacher_rows[other] * math.log(teacher_rows[other] / student_rows[other]) for other in teacher_rows
        )
    return total / len(student)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_classification_equals_the_formula(smoothing: float) -> None:
    logits = drawn(9, 5)
    assert float(classification_loss(logits, LABELS, smoothing)) == pytest.approx(
        slow_classification(logits, LABELS, smoothing)
    )


@pytest.mark.parametrize("margin", [0.3, 5.0, None])
def test_triplet_equals_the_formula(margin: float | None) -> None:
    x = drawn(9, 6)
    assert float(triplet_loss(x, LABELS, margin)) == pytest.approx(slow_triplet(x, LABELS, margin), rel=1e-5)


@pytest.mark.parametrize("margin", [0.3, 5.0, None])
@pytest.mark.parametrize("cameras", [[0, 1, 0, 0, 1, 1, 2, 2, 0], [0, 0, 0, 0, 1, 1, 0, 1, 0], [0] * 9])
def test_triplet_by_cameras_equals_the_formula(margin: float | None, cameras: list[int]) -> None:
    x = drawn(9, 6)
    found = float(triplet_loss(x, LABELS, margin, torch.tensor(cameras)))
    assert found == pytest.approx(slow_triplet(x, LABELS, margin, cameras), rel=1e-5)
    if cameras == [0] * 9:  # with one camera there is nothing to choose by
        assert found == float(triplet_loss(x, LABELS, margin))
    else:
        assert found < float(triplet_loss(x, LABELS, margin))


def test_the_recipe_says_whether_cameras_choose_the_triplets() -> None:
    recipe = Recipe(NetworkConfig("resnet18", 32, 32, 4), epochs=1, classification=0.0, mining="cameras")
    features, cameras = Features(drawn(9, 6), drawn(9, 4), drawn(9, 5)), torch.tensor([0, 1, 0, 0, 1, 1, 2, 2, 0])
    for by, chosen in (("cameras", cameras), ("hardest", None)):
        parts = losses_of(replace(recipe, mining=by), features, LABELS, cameras=cameras)
        assert torch.equal(parts["triplet"], triplet_loss(features.pooled.float(), LABELS, 0.3, chosen))


def test_distances_are_euclidean_and_zero_on_the_diagonal() -> None:
    x = drawn(7, 5, seed=3)
    assert torch.allclose(distances(x), torch.cdist(x, x), atol=1e-5)


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_similarity_equals_the_formula(tau: float) -> None:
    student, teacher = drawn(8, 6, seed=1), drawn(8, 11, seed=2)  # lengths need not agree
    expected = slow_similarity(student, teacher, tau)
    assert expected > 0.01
    assert float(similarity_loss(student, teacher, tau)) == pytest.approx(expected, rel=1e-4)


def test_similarity_is_zero_for_the_same_relations_and_only_then() -> None:
    teacher = drawn(8, 6).float()
    turned = torch.linalg.qr(drawn(6, 6, seed=5))[0].float()  # a rotation, a scale and empty axes change no cosine
    student = torch.cat([3 * teacher @ turned, torch.zeros(8, 4)], dim=1)
    assert abs(float(similarity_loss(teacher, teacher))) < 1e-6
    assert abs(float(similarity_loss(student, teacher))) < 1e-3
    assert float(similarity_loss(drawn(8, 6, seed=9).float(), teacher)) > 0.1


@pytest.mark.parametrize("margin", [0.3, None])
def test_gradients_are_finite_where_pictures_coincide(margin: float | None) -> None:
    for x in (torch.zeros(4, 5), torch.ones(4, 5), drawn(2, 5).float().repeat(2, 1) * 30):
        for labels in (torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1]), torch.zeros(4, dtype=torch.long)):
            student = x.clone().requires_grad_()
            loss = triplet_loss(student, labels, margin) + similarity_loss(student, drawn(4, 3).float())
            loss.backward()  # type: ignore[no-untyped-call]
            assert torch.isfinite(loss) and student.grad is not None and torch.isfinite(student.grad).all()


def test_a_step_down_the_gradient_lowers_every_loss() -> None:
    teacher = drawn(9, 4, seed=7)
    for loss in (
        lambda x: classification_loss(x, LABELS),
        lambda x: triplet_loss(x, LABELS),
        lambda x: similarity_loss(x, teacher, 0.5),
    ):
        x = drawn(9, 6).requires_grad_()
        before = loss(x)
        before.backward()
        assert x.grad is not None
        assert float(loss(x.detach() - 0.01 * x.grad)) < float(before.detach())


def test_pictures_without_a_teacher_embedding_are_left_out_of_the_distillation() -> None:
    features = Features(drawn(9, 6), drawn(9, 4, seed=1), drawn(9, 5, seed=2))
    recipe = Recipe(NetworkConfig("resnet18"), 1, distil=2.0)
    target = drawn(9, 3, seed=3)
    target[5:] = 0
    parts = losses_of(recipe, features, LABELS, [target])
    expected = 2.0 * similarity_loss(features.embedding[:5], target[:5])
    assert float(parts["distil"]) == pytest.approx(float(expected))
    for known in (1, 0):  # a mean over no pair would be NaN
        target[known:] = 0
        parts = losses_of(recipe, features, LABELS, [target])
        assert set(parts) == {"classification", "triplet"} and all(map(torch.isfinite, parts.values()))


def test_two_copies_of_a_picture_are_no_pair() -> None:
    """Otherwise the copy takes the whole softmax, and the vehicle's other camera is taught as a stranger."""
    student, teacher = drawn(4, 3, seed=1).float(), drawn(4, 5, seed=2).float()
    twice, numbers = torch.cat([teacher, teacher[:1]]), torch.tensor([0, 1, 2, 3, 0])
    student_rows = torch.cat([student, student[:1]])
    slow = 0.0
    for i in range(5):
        others = [j for j in range(5) if numbers[j] != numbers[i]]
        a, b = (torch.nn.functional.normalize(x, dim=1) for x in (student_rows, twice))
        p, q = ((x[others] @ x[i] / 0.5).log_softmax(0) for x in (b, a))
        slow += float((p.exp() * (p - q)).sum())
    assert float(similarity_loss(student_rows, twice, 0.5, numbers)) == pytest.approx(slow / 5, rel=1e-4)
    assert float(similarity_loss(student_rows, twice, 0.5)) != pytest.approx(slow / 5, rel=1e-2)
