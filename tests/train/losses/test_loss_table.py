"""Every way of learning from cached embeddings is its loss on the rows that there are, with their labels, pictures and chance."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vreid.train.losses.interpolation import interpolated, ranking_loss
from vreid.train.losses.outputs import alignment_loss
from vreid.train.losses.relations import fusion_loss, rkd_loss, similarity_loss
from vreid.train.losses.table import CachedDistillation, cached_loss

KNOWN = torch.tensor([1, 1, 0, 1, 1, 1, 0, 1, 1], dtype=torch.bool)
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
PICTURES = torch.tensor([0, 1, 2, 3, 4, 3, 5, 6, 7])  # one comes twice


def drawn(columns: int, seed: int) -> Tensor:
    return torch.randn(9, columns, generator=torch.Generator().manual_seed(seed))


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(5)


STUDENT = drawn(6, 1)
TEACHERS = [drawn(6, 2), drawn(4, 3)]
for _rows in TEACHERS:
    _rows[~KNOWN] = 0
KNOWN_STUDENT, KNOWN_TEACHERS = STUDENT[KNOWN], [rows[KNOWN] for rows in TEACHERS]
LEFT = {"labels": LABELS[KNOWN], "pictures": PICTURES[KNOWN]}
RANKING = CachedDistillation(by="ranking", form="kl", tau=0.3, mixed=5, alpha=0.5, pairs="all", align=2.0)


def ranked() -> Tensor:
    student_rows, teacher_rows = interpolated(KNOWN_STUDENT, KNOWN_TEACHERS[0], 5, 0.5, chance())
    relations = ranking_loss(student_rows, teacher_rows, "kl", 0.3, "all", 5, LEFT["pictures"])
    return relations + 2.0 * alignment_loss(KNOWN_STUDENT, KNOWN_TEACHERS[0])


@pytest.mark.parametrize(
    ("rules", "count", "expected"),
    [
        (
            CachedDistillation(tau=0.3),
            1,
            lambda: similarity_loss(KNOWN_STUDENT, KNOWN_TEACHERS[0], 0.3, LEFT["pictures"]),
        ),
        (
            CachedDistillation(by="rkd"),
            1,
            lambda: rkd_loss(KNOWN_STUDENT, KNOWN_TEACHERS[0], pictures=LEFT["pictures"]),
        ),
        (RANKING, 1, ranked),
        *(
            (
                CachedDistillation(by="fusion", fusion=mode, tau=0.3),
                2,
                lambda mode=mode: fusion_loss(
                    KNOWN_STUDENT, KNOWN_TEACHERS, LEFT["labels"], mode, 0.3, LEFT["pictures"], generator=chance()
                ),
            )
            for mode in ("maxmin", "maxrand")
        ),
    ],
)
def test_it_is_the_loss_on_what_was_embedded(rules: CachedDistillation, count: int, expected: object) -> None:
    found = cached_loss(rules, STUDENT, TEACHERS[:count], LABELS, PICTURES, chance())
    assert found is not None and callable(expected)
    assert float(found) == pytest.approx(float(expected()), rel=1e-6)
    others = [(LABELS, torch.arange(9)), (LABELS.roll(1), PICTURES)] if count > 1 else [(LABELS, torch.arange(9))]
    for labels, pictures in others:
        other = cached_loss(rules, STUDENT, TEACHERS[:count], labels, pictures, chance())
        assert other is not None and abs(float(other) - float(found)) > 1e-5


def test_only_what_is_looked_at_counts_as_tempered() -> None:
    for rules in (
        CachedDistillation(),
        CachedDistillation(by="fusion"),
        RANKING,
        CachedDistillation(by="ranking", form="huber"),
        CachedDistillation(by="pkt"),
    ):
        changes = []
        for tau in (0.2, 0.5):
            found = cached_loss(replace(rules, tau=tau), STUDENT, TEACHERS[:1], LABELS, PICTURES, chance())
            assert found is not None
            changes.append(float(found))
        assert (changes[0] != changes[1]) == rules.tempered, rules
