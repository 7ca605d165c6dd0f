"""Ranking distillation with interpolated samples: DRD, Data-efficient Ranking Distillation (ACCV 2020; methods.md 5).

What the abstract states, and no more: teacher queries are few, the teacher is a black box of which only the final
representation is seen, the pictures are few and have no labels, the two dimensions may differ; the training set is enlarged
by linear interpolation in the final output representation space; distillation is "in the joint space of original and
augmented teacher-student sample representations".

Our reconstruction (methods.md 5.2, the paper's own text was not to be had): everything else. That pairs are drawn in the
batch and share one weight in both spaces; uniform or Beta weights; unit length before and after mixing; and every form of
the loss: Huber on distances over their mean (RKD's distance term), squares between cosine matrices, KL of softmaxes (as
losses/relations.py), and the likelihood of the teacher's order (ListMLE, Xia et al., ICML 2008). The recipe drd_resnet18_small
adds the teacher's own vectors (losses/outputs.py); whether that is what "joint" means, the abstract does not say. None of
it may be quoted as the authors'.
"""

from collections.abc import Callable, Mapping

import torch
from scipy.special import betaincinv
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import unit
from vreid.train.losses.outputs import distances
from vreid.train.losses.relations import divergence

Form = Callable[[Tensor, Tensor, Tensor, float], Tensor]  # student (N, D), teacher (N, E), out (N, N) bool, tau


def interpolated(
    student: Tensor,
    teacher: Tensor,
    count: int,
    alpha: float | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """student (B, D), teacher (B, E), any lengths -> (B + count, D), (B + count, E) float32, the mixed rows last.

    The first B rows are the originals at unit length; each mixed one is w a + (1 - w) b of two different rows, the same two
    and the same w in both spaces, brought to unit length. w is uniform in [0, 1), or
    Beta(alpha, alpha). Draws are the generator's only, so that a resumed training is the same. Raises Refused for a batch of one,
    for unequal batches, and for a count or an alpha that makes no sense.
    """
    if len(student) != len(teacher):
        raise Refused(f"student and teacher must see the same pictures, not {len(student)} and {len(teacher)} of them")
    if count < 0 or (alpha is not None and alpha <= 0):
        raise Refused(f"a count is 0 or more and an alpha above 0 or None, not {count} and {alpha}")
    if count and len(student) < 2:
        raise Refused("interpolation needs two pictures or more in a batch")
    student, teacher = unit(student), unit(teacher)
    if not count:
        return student, teacher
    place = generator.device
    one = torch.randint(len(student), (count,), generator=generator, device=place)
    two = (one + torch.randint(1, len(student), (count,), generator=generator, device=place)) % len(student)
    share = torch.rand(count, generator=generator, device=place, dtype=torch.float64)
    if alpha is not None:  # torch's Beta takes no generator; the inverse of its distribution function does
        share = torch.as_tensor(betaincinv(alpha, alpha, share.cpu().numpy()))
    one, two, weight = (drawn.to(student.device) for drawn in (one, two, share.float()[:, None]))
    mixed = [unit(weight * rows[one] + (1 - weight) * rows[two]) for rows in (student, teacher)]
    return torch.cat([student, mixed[0]]), torch.cat([teacher, mixed[1]])


def ranking_loss(
    student: Tensor,
    teacher: Tensor,
    form: str = "huber",
    tau: float = 0.05,
    pairs: str = "all",
    mixed: int = 0,
    pictures: Tensor | None = None,
) -> Tensor:
    """student (N, D), teacher (N, E) as `interpolated` returns them, the last `mixed` rows the mixed -> scalar.

    Only relations within each space are compared, a row's to itself never. `pairs` counts "all", those between two
    "original" rows, or those between two "mixed" ones. `pictures` (N - mixed,) numbers the originals, where a batch may
    hold one more than once; pairs of one picture are left out, and 0 is the loss of no pair at all. Rows are not brought
    to unit length here: similarities are inner products. `tau` is for "kl" and "ranking"; "ranking" is the negative log
    of a likelihood, not zero where the orders agree.
    A mixed row lies near the two that it is made of, which at a low `tau` have much of its softmax. Raises Refused for an unknown
    form or pairs, and for numbers that do not fit.
    """
    if form not in FORMS:
        raise Refused(f"there is no ranking loss '{form}'; choose one of: {', '.join(sorted(FORMS))}")
    if len(student) != len(teacher) or not 0 <= mixed <= len(student):
        raise Refused(
            f"student and teacher must have the same rows, {mixed} of them mixed, not {len(student)} and {len(teacher)}"
        )
    if tau <= 0:
        raise Refused(f"a temperature is above 0, not {tau:g}")
    originals = len(student) - mixed
    numbers = torch.arange(len(student), device=student.device)
    if pictures is not None:
        if len(pictures) != originals:
            raise Refused(f"{originals} original rows need as many picture numbers, not {len(pictures)}")
        first = (pictures[:, None] == pictures[None]).int().argmax(1)  # of equal pictures, the place of the first
        numbers = torch.cat([first.to(student.device), numbers[originals:]])  # a mixed row is a picture of its own
    chosen = {"all": slice(None), "original": slice(originals), "mixed": slice(originals, None)}
    if pairs not in chosen:
        raise Refused(f"there are no pairs '{pairs}'; choose one of: {', '.join(chosen)}")
    if pairs == "mixed" and mixed < 2:
        raise Refused("mixed pairs need two mixed rows or more; raise the count of the interpolation")
    student, teacher, numbers = (rows[chosen[pairs]] for rows in (student.float(), teacher.float().detach(), numbers))
    out = numbers[:, None] == numbers[None]  # (N, N)
    if out.all():  # by chance a batch may hold no pair, and a mean over none would be NaN
        return 0.0 * student.sum()
    return FORMS[form](student, teacher, out, tau)


def _huber(student: Tensor, teacher: Tensor, out: Tensor, tau: float) -> Tensor:
    student, teacher = (distances(rows)[~out] for rows in (student, teacher))
    return torch.nn.functional.smooth_l1_loss(student / student.mean(), teacher / teacher.mean())


def _mse(student: Tensor, teacher: Tensor, out: Tensor, tau: float) -> Tensor:
    return (student @ student.T - teacher @ teacher.T)[~out].pow(2).mean()


def _kl(student: Tensor, teacher: Tensor, out: Tensor, tau: float) -> Tensor:
    return divergence(student @ student.T, teacher @ teacher.T, tau, out)


def _ranking(student: Tensor, teacher: Tensor, out: Tensor, tau: float) -> Tensor:
    """-log of the Plackett-Luce likelihood of the teacher's order of the others, under the student's scores / tau; mean
    over all places of all rows."""
    wanted = (teacher @ teacher.T).masked_fill(out, -float("inf"))
    order = wanted.argsort(stable=True, dim=1, descending=True)
    scores = (student @ student.T / tau).masked_fill(out, -1e4).gather(1, order)  # what is left out comes last
    rest = scores.flip(1).logcumsumexp(1).flip(1)  # (N, N): over this place and all behind it
    return (rest - scores)[~out.gather(1, order)].mean()


FORMS: Mapping[str, Form] = {"huber": _huber, "mse": _mse, "kl": _kl, "ranking": _ranking}
