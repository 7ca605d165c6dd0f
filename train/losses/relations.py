"""Losses that compare the relations of the pictures in a batch with those that one teacher sees, or several fused."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import kl_div, smooth_l1_loss

from vreid.models.errors import Refused
from vreid.models.network import unit

# Similarity distillation: KL between the softmaxes of pair similarities (Whiten-MTD, AAAI 2024, section on the loss).
#
# Here with one teacher and a P x K batch against itself; pairs of one picture, 1 by definition, are left out: next to them the
# same vehicle in another camera would look like a stranger. Dimensions of teacher and student need not agree.


def similarity_loss(student: Tensor, teacher: Tensor, tau: float = 0.05, pictures: Tensor | None = None) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar: mean over rows of KL(teacher || student).

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once.
    """
    itself = ~others(student, pictures)
    student, teacher = unit(student), unit(teacher.detach())
    return divergence(student @ student.T, teacher @ teacher.T, tau, itself)


def divergence(student: Tensor, teacher: Tensor, tau: float, out: Tensor) -> Tensor:
    """Similarities (N, M) of student and teacher -> scalar: mean over rows of KL(teacher || student), softmaxes at `tau`.

    `out` (N, M) bool marks the entries that are left out of both softmaxes. Raises Refused for a `tau` of 0 or less.
    """
    if tau <= 0:
        raise Refused(f"a temperature is above 0, not {tau:g}")
    logs = [(similarity / tau).masked_fill(out, -1e4).log_softmax(1) for similarity in (student, teacher)]
    return kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)


def others(rows: Tensor, pictures: Tensor | None) -> Tensor:
    """rows (B, D), pictures (B,) or None where all differ -> (B, B) bool: the pairs of two different pictures."""
    if pictures is None:
        pictures = torch.arange(len(rows), device=rows.device)
    return pictures[:, None] != pictures[None]


# Probabilistic knowledge transfer (Passalis and Tefas, Learning Deep Representations with Probabilistic Knowledge Transfer,
# ECCV 2018, section 3): KL between the shares that a picture's neighbours have of its affinity, affinity being (cosine + 1) / 2.
#
# As in the paper's equations a picture is no neighbour of itself; here not of its own copies either. The paper writes a sum. Our
# reconstruction: the mean over the B x B entries, the only one with which the weight of 30000 (methods.md 6) makes sense. The
# spaces need not be aligned.


PKT_WEIGHT = 30_000.0


def log_shares(features: Tensor, pairs: Tensor) -> Tensor:
    """features (B, D) of unit length, pairs (B, B) bool -> (B, B) log of each pair's share of its row, 0 for no pair.

    Two opposite vectors have an affinity of 1e-6, not of 0, whose log is infinite.
    """
    affinity = ((features @ features.T + 1) / 2).clamp(min=1e-6)
    whole = affinity.masked_fill(~pairs, 0.0).sum(1, keepdim=True).clamp(min=1e-6)
    return (affinity.log() - whole.log()).masked_fill(~pairs, 0.0)


def pkt_loss(student: Tensor, teacher: Tensor, pictures: Tensor | None = None, weight: float = PKT_WEIGHT) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar: `weight` times the mean entry of KL(teacher || student).

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once.
    """
    pairs = others(student, pictures)
    found, wanted = log_shares(unit(student), pairs), log_shares(unit(teacher.detach()), pairs)
    return weight * (wanted.exp() * (wanted - found)).masked_fill(~pairs, 0.0).mean()


# Correlation congruence (Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019, sections 3.2 and 3.3): the
# squared differences between the correlation matrices of teacher and student, mean over the B x B entries.
#
# The correlation is the paper's best: a Gaussian kernel exp(-gamma |x - y|^2), which for unit vectors is
# exp(-2 gamma) exp(2 gamma x.y), by its Taylor series up to `order`; gamma 0.4 and order 2 are the paper's. Only relations
# inside each space are compared, so dimensions need not agree. The weight 1 is that of methods.md 6, whose library seems to
# mean another, asymmetric form under this name (its query networks retrieve from the teacher's gallery); this is the paper's.


CORRELATION_WEIGHT = 1.0


def correlations(features: Tensor, gamma: float, order: int) -> Tensor:
    """features (B, D) of unit length -> (B, B) sum over p up to `order` of exp(-2 gamma) (2 gamma)^p / p! (x.y)^p."""
    cosine = features @ features.T
    total = cosine.new_ones(cosine.shape)
    term = total
    for power in range(1, order + 1):
        term = term * cosine * (2 * gamma / power)
        total = total + term
    return math.exp(-2 * gamma) * total


def correlation_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    weight: float = CORRELATION_WEIGHT,
    gamma: float = 0.4,
    order: int = 2,
) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar.

    `pictures` changes nothing: two copies of a picture are to be as alike as the teacher finds them, and spoil no
    other pair.
    """
    found = correlations(unit(student), gamma, order)
    wanted = correlations(unit(teacher.detach()), gamma, order)
    return weight * (found - wanted).pow(2).mean()


# Relational knowledge distillation (Park et al., CVPR 2019, sections 3.2.1 and 3.2.2): the distances of pairs, divided by
# their mean, and the angles of triples, both by the Huber loss.
#
# Weights 25 and 50 and embeddings at unit length as in methods.md 6. The means run over the pairs and triples of different
# pictures; common implementations count the zeros of the diagonals too. A triple takes B^3 numbers and B^2 D: meant for
# batches, not for memories. The spaces need not be aligned.


DISTANCE = 25.0
ANGLE = 50.0


def huber(student: Tensor, teacher: Tensor, counted: Tensor) -> Tensor:
    """Mean Huber loss (its bend at 1) over the `counted` entries, 0 where there are none; all of one shape."""
    return (smooth_l1_loss(student, teacher, reduction="none") * counted).sum() / counted.sum().clamp(min=1)


def distances_and_angles(features: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """features (B, D) of unit length, pairs (B, B) bool -> distances (B, B) over their mean in `pairs`; angles (B, B, B).

    angles[j, i, k] is the cosine of the angle at j between i and k. Two vectors nearer than 1e-4 have no direction: it is
    zero, and so is its gradient, which otherwise would be of the order of the inverse distance.
    """
    difference = features[None] - features[:, None]  # (B, B, D) from row to column
    square = difference.pow(2).sum(2)
    distance = square.clamp(min=1e-12).sqrt()
    mean = (distance * pairs).sum() / pairs.sum().clamp(min=1)
    near = (square < 1e-8)[:, :, None]
    direction = difference.masked_fill(near, 0.0) / distance.masked_fill(near[:, :, 0], 1.0)[:, :, None]
    return distance / mean.clamp(min=1e-6), direction @ direction.transpose(1, 2)


def rkd_loss(
    student: Tensor,
    teacher: Tensor,
    pictures: Tensor | None = None,
    distance: float = DISTANCE,
    angle: float = ANGLE,
) -> Tensor:
    """student (B, D), teacher (B, E), any lengths -> scalar: `distance` and `angle` weigh the two terms.

    `pictures` (B,) numbers the pictures, where a batch may hold one more than once: pairs and triples that hold a picture
    twice are left out, also of the mean distance.
    """
    pairs = others(student, pictures)
    triples = pairs[:, :, None] & pairs[:, None] & pairs[None]  # (B, B, B) of three different pictures
    our_distances, our_angles = distances_and_angles(unit(student), pairs)
    their_distances, their_angles = distances_and_angles(unit(teacher.detach()), pairs)
    return distance * huber(our_distances, their_distances, pairs) + angle * huber(our_angles, their_angles, triples)


# Several teachers as one: their pair similarities are fused, and the student learns the fused ones (Whiten-MTD, AAAI 2024).
#
# Method of methods.md 4.1: N pairs (x_i, y_i), two pictures of one vehicle each; similarity matrices T_k = X_k Y_k' of every
# teacher, fused; KL of the softmaxes over the rows plus KL over the columns, temperature 0.05 on both sides. The teachers'
# features should come out of train/projection.py, or their cosines cannot be compared. Here it is extended to P x K batches
# (methods.md 4.3): the batch against itself, every pair of one vehicle treated as the diagonal was, pairs of one picture left
# out as in `similarity_loss`; the pairs of other processes are not gathered.
#
# Rows and columns are added, not halved, as published; with a symmetric fusion of a batch against itself the two are equal,
# so one teacher gives twice `similarity_loss`. "maxrand" and "rand" draw (i, j) and (j, i) apart: there the two differ.


Fuse = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]  # similarities (K, N, N), same (N, N) bool -> (N, N)


def _mean(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The teachers' mean, with no regard to the vehicles."""
    return similarities.mean(0)


def _rand(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """Every entry from a teacher by chance, with no regard to the vehicles."""
    if generator is None:
        raise Refused("a fusion by chance needs a torch.Generator, or a resumed training would not go on as it was")
    chosen = torch.randint(len(similarities), similarities.shape[1:], generator=generator, device=generator.device)
    return similarities.gather(0, chosen.to(similarities.device)[None])[0]


def _maxmin(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same vehicle: the teacher that sees it best; two vehicles: the one that separates them best."""
    return torch.where(same, similarities.amax(0), similarities.amin(0))


def _maxmean(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same vehicle: the largest; two vehicles: the teachers' mean."""
    return torch.where(same, similarities.amax(0), similarities.mean(0))


def _maxrand(similarities: Tensor, same: Tensor, generator: torch.Generator | None) -> Tensor:
    """The same vehicle: the largest; two vehicles: a teacher by chance, drawn for every entry."""
    return torch.where(same, similarities.amax(0), _rand(similarities, same, generator))


FUSIONS: Mapping[str, Fuse] = {
    "mean": _mean,
    "maxmin": _maxmin,
    "maxmean": _maxmean,
    "maxrand": _maxrand,
    "rand": _rand,
}
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
    itself = ~others(student, pictures)
    own = unit(student) @ unit(student).T
    target = fused(_similarities(teachers, len(student)), labels, mode, generator)
    return divergence(own, target, tau, itself) + divergence(own.T, target.T, tau, itself)  # rows and columns


def _similarities(teachers: Sequence[Tensor], count: int) -> Tensor:
    """K x (N, E_k) -> (K, N, N) cosines, without gradient: teachers are frozen."""
    if not teachers:
        raise Refused("a fusion needs one teacher or more")
    if any(len(rows) != count for rows in teachers):
        raise Refused(f"every teacher must have features of all {count} pictures; give those of the whole batch")
    with torch.no_grad():
        return torch.stack([unit(rows) @ unit(rows).T for rows in teachers])
