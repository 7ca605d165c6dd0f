"""Distillation of logits (Hinton et al., 2015), as CDD weighs it: T = 2, times T squared, the mean over the batch."""

from torch import Tensor
from torch.nn.functional import kl_div


def logits_loss(student: Tensor, teacher: Tensor, temperature: float = 2.0) -> Tensor:
    """student, teacher (B, ids) -> scalar KL(teacher || student); no gradient reaches the teacher."""
    ours = (student / temperature).log_softmax(1)
    theirs = (teacher.detach() / temperature).log_softmax(1)
    return kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2
