"""Relational knowledge distillation (Park et al., CVPR 2019, sections 3.2.1 and 3.2.2): the distances of pairs, divided by
their mean, and the angles of triples, both by the Huber loss.

Weights 25 and 50 and embeddings at unit length as in methods.md 6. The means run over the pairs and triples of different
pictures; common implementations count the zeros of the diagonals too. A triple takes B^3 numbers and B^2 D: meant for
batches, not for memories. The spaces need not be aligned.
"""

from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from vreid.models.network import unit
from vreid.train.losses.pkt import others

DISTANCE = 25.0
ANGLE = 50.0


def huber(ours: Tensor, theirs: Tensor, counted: Tensor) -> Tensor:
    """Mean Huber loss (its bend at 1) over the `counted` entries, 0 where there are none; all of one shape."""
    return (smooth_l1_loss(ours, theirs, reduction="none") * counted).sum() / counted.sum().clamp(min=1)


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
