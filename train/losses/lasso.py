"""Group lasso on compactors (ResRep, ICCV 2021; CDD, CVPR 2023: rows; DEAP, 2024: columns of the near ones)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from vreid.models.compactor import Compactor


def group_lasso(compactors: Iterable[Compactor]) -> Tensor:
    """Sum over compactors and channels of the norm of a channel's row (far) or column (near); a scalar."""
    return torch.stack([compactor.norms().sum() for compactor in compactors]).sum()
