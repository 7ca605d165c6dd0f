"""Gradient resetting equals loops written from the text, and a masked channel gets lasso and weight decay alone."""

import math
from collections import deque
from collections.abc import Iterable

import numpy as np
import pytest
import torch

from vreid.models.pruning import Compactor
from vreid.train.losses.outputs import blocks_loss, logits_loss
from vreid.train.pruning.controller import apply_masks
from vreid.train.pruning.resetting import Memory, ResettingRules, reset, unimportant


def group_lasso(compactors: Iterable[Compactor]) -> torch.Tensor:
    """The slow version: the sum over compactors and channels of the norm of a channel's row (far) or column (near)."""
    return torch.stack([compactor.norms().sum() for compactor in compactors]).sum()


class Slow:
    """methods.md 1.4, step by step, with Python sets and float64."""

    def __init__(self, rules: ResettingRules, width: int) -> None:
        self.rules, self.queue, self.mask = rules, deque(maxlen=rules.memory), np.ones(width)

    def batch(self, student: np.ndarray, teacher: np.ndarray) -> None:
        student = student / np.linalg.norm(student, axis=1, keepdims=True)
        teacher = teacher / np.linalg.norm(teacher, axis=1, keepdims=True)
        tagged = [(object(), row) for row in teacher]
        self.queue.extend(tagged)
        votes = np.zeros(student.shape[1])
        retrievals = 0
        for b, (tag, query) in enumerate(tagged):
            gallery = [row for other, row in self.queue if self.rules.itself or other is not tag]
            ranked = sorted(range(len(gallery)), key=lambda g: -float(query @ gallery[g]))
            for g in ranked[: self.rules.k]:
                contribution = np.abs(gallery[g] * student[b])
                low = set(np.argsort(contribution, kind="stable")[: math.floor(self.rules.p * len(contribution))])
                votes += [channel in low for channel in range(len(votes))]
                retrievals += 1
        keep = votes < self.rules.consensus * retrievals - 1e-6
        self.mask = self.mask * keep if self.rules.sticky else keep.astype(float)


@pytest.mark.parametrize(
    "rules",
    [
        ResettingRules(memory=20),
        ResettingRules(k=3, p=0.7, memory=17, sticky=False),
        ResettingRules(k=1, memory=64, itself=False, consensus=0.8),
    ],
)
def test_it_equals_the_loops_of_the_text(rules: ResettingRules) -> None:
    width, random = 24, np.random.default_rng(0)
    compactor, memory, slow = (
        Compactor(width, "far"),
        Memory(rules.memory, width, torch.device("cpu")),
        Slow(rules, width),
    )
    weak = np.where(np.arange(width) % 4 == 0, 0.02, 1.0)  # channels that a lasso has already made small
    masked = []
    for _ in range(6):
        student, teacher = random.normal(size=(2, 8, width)) * weak + 0.3 * weak
        compactor.mask = reset(compactor.mask, memory, torch.tensor(student), torch.tensor(teacher), rules)
        slow.batch(student.astype(np.float32), teacher.astype(np.float32))
        np.testing.assert_array_equal(compactor.mask.numpy(), slow.mask)
        masked.append(int((slow.mask == 0).sum()))
    assert 0 < max(masked) < width


def test_the_memory_is_a_ring() -> None:
    memory = Memory(5, 2, torch.device("cpu"))
    vectors = torch.arange(16.0).reshape(8, 2)
    for start in (0, 3, 6):
        rows = memory.push(vectors[start : start + 3])
        assert torch.equal(memory.vectors[rows], vectors[start : start + 3])
    assert sorted(memory.filled()[:, 0].tolist()) == [6.0, 8.0, 10.0, 12.0, 14.0]


def test_ties_take_the_first_channels_and_an_easy_consensus_takes_more() -> None:
    student, found = torch.ones(2, 4), torch.ones(2, 1, 4)
    assert unimportant(student, found, ResettingRules()).tolist() == [True, True, False, False]
    found[0, 0] = torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert unimportant(student, found, ResettingRules()).tolist() == [False, True, False, False]
    assert unimportant(student, found, ResettingRules(consensus=0.5)).tolist() == [True, True, True, False]


@pytest.mark.parametrize("side", ["near", "far"])
def test_a_masked_channel_gets_only_lasso_and_weight_decay(side: str) -> None:
    torch.manual_seed(0)
    strength, decay, rate = 0.004, 5e-4, 0.1
    compactor = Compactor(6, side)  # type: ignore[arg-type]
    with torch.no_grad():
        compactor.weight.add_(0.1 * torch.randn(6, 6))
    compactor.mask[2] = 0
    before = compactor.weight.detach().clone()
    optimiser = torch.optim.SGD(compactor.parameters(), rate, weight_decay=decay)
    compactor(torch.randn(3, 6, 2, 2)).pow(2).sum().backward()
    task = compactor.weight.grad.clone()
    apply_masks([compactor], [strength])
    optimiser.step()
    channel = (lambda x: x[2]) if side == "far" else (lambda x: x[:, 2])
    row = channel(before)
    expected = row - rate * (strength * row / row.norm() + decay * row)
    torch.testing.assert_close(channel(compactor.weight.detach()), expected)
    others = before - rate * (task + strength * before / before.norm(dim=compactor.dim, keepdim=True) + decay * before)
    keep = [0, 1, 3, 4, 5]
    pick = (lambda x: x[keep]) if side == "far" else (lambda x: x[:, keep])
    torch.testing.assert_close(pick(compactor.weight.detach()), pick(others))


def test_the_losses_equal_their_formulas() -> None:
    torch.manual_seed(1)
    far, near = Compactor(3, "far"), Compactor(4, "near")
    with torch.no_grad():
        for compactor in (far, near):
            compactor.weight.normal_()
    rows = sum(math.sqrt(sum(float(q) ** 2 for q in row)) for row in far.weight.detach())
    columns = sum(math.sqrt(sum(float(q) ** 2 for q in column)) for column in near.weight.detach().T)
    assert float(group_lasso([far, near])) == pytest.approx(rows + columns, rel=1e-5)
    for compactor in (far, near):  # what is added to the gradient is the lasso's own
        (expected,) = torch.autograd.grad(0.3 * group_lasso([compactor]), compactor.weight)
        compactor.weight.grad = torch.zeros_like(compactor.weight)
        apply_masks([compactor], [0.3])
        torch.testing.assert_close(compactor.weight.grad, expected)

    student, teacher = torch.randn(5, 4, requires_grad=True), torch.randn(5, 4)
    slow = 0.0
    for student_row, teacher_row in zip(
        (student / 2).softmax(1).tolist(), (teacher / 2).softmax(1).tolist(), strict=True
    ):
        slow += sum(t * (math.log(t) - math.log(s)) for s, t in zip(student_row, teacher_row, strict=True))
    assert float(logits_loss(student, teacher)) == pytest.approx(4 * slow / 5, rel=1e-4)

    a, b = [torch.randn(5, 3), torch.randn(5, 8)], [torch.randn(5, 3), torch.randn(5, 8)]
    slow = sum(float((x - y).norm(dim=1).mean()) for x, y in zip(a, b, strict=True))
    assert float(blocks_loss(a, b)) == pytest.approx(slow, rel=1e-5)
    same = [torch.zeros(5, 3, requires_grad=True)]
    blocks_loss(same, [torch.zeros(5, 3)]).backward()
    assert torch.isfinite(same[0].grad).all()
