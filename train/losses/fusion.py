"""Several teachers as one: their pair similarities are fused, and the student learns the fused ones (Whiten-MTD, AAAI 2024).

Method of methods.md 4.1: N pairs (x_i, y_i), two pictures of one vehicle each; similarity matrices T_k = X_k Y_k' of every
teacher, fused; KL of the softmaxes over the rows plus KL over the columns, temperature 0.05 on both sides. The teachers'
features should come out of train/projection.py, or their cosines cannot be compared. Here it is extended to P x K batches
(methods.md 4.3): the batch against itself, every pair of one vehicle treated as the diagonal was, pairs of one picture left
out as in losses/relations.py; the pairs of other processes are not gathered.

Rows and columns are added, not halved, as published; with a symmetric fusion of a batch against itself the two are equal,
so one teacher gives twice `similarity_loss`. "maxrand" and "rand" draw (i, j) and (j, i) apart: there the two differ.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit

Fuse = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]  # similarities (K, N, N), same (N, N) bool -> (N, N)


def mean(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The teachers' mean, with no regard to the vehicles."""
    return similarities.mean(0)


def rand(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """Every entry from a teacher by chance, with no regard to the vehicles."""
    if generator is None:
        raise Refused("a fusion by chance needs a torch.Generator, or a resumed training would not go on as it was")
    chosen = torch.randint(len(similarities), similarities.shape[1:], generator=generator, device=generator.device)
    return similarities.gather(0, chosen.to(similarities.device)[None])[0]


def maxmin(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same vehicle: the teacher that sees it best; two vehicles: the one that separates them best."""
    return torch.where(same, similarities.amax(0), similarities.amin(0))


def maxmean(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same vehicle: the largest; two vehicles: the teachers' mean."""
    return torch.where(same, similarities.amax(0), similarities.mean(0))


def maxrand(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same vehicle: the largest; two vehicles: a teacher by chance, drawn for every entry."""
    return torch.where(same, similarities.amax(0), rand(similarities, same, generator))


FUSIONS: Mapping[str, Fuse] = {"mean": mean, "maxmin": maxmin, "maxmean": maxmean, "maxrand": maxrand, "rand": rand}
UNLABELLED = ("mean", "rand")


def fused(
    similarities: Tensor, labels: Tensor | None, mode: str = "maxmin", generator: torch.Generator | None = None
) -> Tensor:
    """similarities (K, B, B), entry (k, i, j) the k-th teacher's similarity of row i and column j; labels (B,) -> (B, B).

    `labels` None is an unlabelled batch. Refused for an unknown mode, a mode that needs labels without them, and a
    random one without a generator.
    """
    if mode not in FUSIONS:
        raise Refused(f"there is no fusion '{mode}'; choose one of: {', '.join(sorted(FUSIONS))}")
    if similarities.ndim != 3 or not len(similarities) or similarities.shape[1] != similarities.shape[2]:
        raise Refused(f"a fusion takes one square of similarities a teacher, not the shape {tuple(similarities.shape)}")
    if labels is None:
        if mode not in UNLABELLED:
            raise Refused(f"the fusion '{mode}' needs labels; without them choose one of: {', '.join(UNLABELLED)}")
        return FUSIONS[mode](similarities, torch.zeros_like(similarities[0], dtype=torch.bool), generator)
    if labels.shape != similarities.shape[1:2]:
        raise Refused(f"{similarities.shape[1]} pictures need as many labels, not the shape {tuple(labels.shape)}")
    return FUSIONS[mode](similarities, labels[:, None] == labels[None], generator)


def fusion_loss(
    student: Tensor,
    teachers: Sequence[Tensor],
    labels: Tensor | None,
    mode: str = "maxmin",
    tau: float = 0.05,
    pictures: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """student (B, D), teachers K x (B, E_k), any lengths and widths, labels (B,) or None -> scalar; no autocast.

    Mean over rows of KL(fused teachers || student) plus the same over columns. `pictures` (B,) numbers the pictures, where
    a batch may hold one more than once. Every teacher must have an embedding of every row.
    """
    if pictures is None:
        pictures = torch.arange(len(student), device=student.device)
    itself = pictures[:, None] == pictures[None]  # (B, B)
    own = unit(student) @ unit(student).T
    target = fused(_similarities(teachers, len(student)), labels, mode, generator)
    return divergence(own, target, tau, itself) + divergence(own.T, target.T, tau, itself)  # rows and columns


def divergence(student: Tensor, teacher: Tensor, tau: float, out: Tensor | None = None) -> Tensor:
    """Similarities (N, M) of student and teacher -> scalar: mean over rows of KL(teacher || student), softmaxes at `tau`.

    `out` (N, M) bool marks the entries that are left out of both softmaxes.
    """
    if tau <= 0:
        raise Refused(f"a temperature is above 0, not {tau:g}")
    logs = [(x / tau if out is None else (x / tau).masked_fill(out, -1e4)).log_softmax(1) for x in (student, teacher)]
    return torch.nn.functional.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)


def _similarities(teachers: Sequence[Tensor], count: int) -> Tensor:
    """K x (N, E_k) -> (K, N, N) cosines, without gradient: teachers are frozen."""
    if not teachers:
        raise Refused("a fusion needs one teacher or more")
    if any(len(rows) != count for rows in teachers):
        raise Refused(f"every teacher must have features of all {count} pictures; give those of the whole batch")
    with torch.no_grad():
        return torch.stack([unit(rows) @ unit(rows).T for rows in teachers])
