"""What a training is made of, as one frozen record; the recipes in recipes/ are functions that return it."""

from dataclasses import dataclass, field

from vreid.models.network import NetworkConfig
from vreid.train.data.pictures import Augmentation
from vreid.train.losses.table import CachedDistillation
from vreid.train.online import OnlineDistillation
from vreid.train.pruning.controller import Capacity

EARLIER_NAMES = {"answers": "cached", "beside": "online"}  # of tables, in files and checkpoints of earlier commits


@dataclass(frozen=True)
class Recipe:
    """A complete training. The network's `classes` are filled in from the data.

    `sizes` is a schedule of square inputs, (share of the epochs from which it holds, side), for progressive resizing; the
    last entry must be the network's own size. Learning rate: linear warm-up over `warmup` epochs from a tenth, constant
    until `flat`, then cosine to a thousandth of it (`planned`: the epochs that these two, and the start of a capacity's
    resetting, are counted in, the recipe's own unless given; over more or fewer `epochs` they keep their shares); the head
    learns `head_lr` times faster. A gradient longer than `clip`, over all parameters, is cut to that length (0: never).
    `average` is the decay of the exponential moving average of the weights that is evaluated and kept. With `swa` the plain
    mean of the weights after each epoch of that last share of the training takes its place (stochastic weight averaging,
    Izmailov et al., UAI 2018, algorithm 1), and the rate stays at `swa_lr` of `lr` there. `limit` caps the groups a vehicle
    gives an epoch. `mining` is which pictures make triplets: the "hardest" of the batch, or by "cameras"
    (losses/outputs.py). `distil` weighs the teachers' embeddings of the untouched pictures, learnt from as `cached` says;
    without `labels` they are all that there is to learn from, and batches of p * k pictures are drawn with no regard to
    vehicles. With `online` a teacher sees every augmented batch. With `capacity` the student is compressed while it learns
    from a teacher of the same network, and what is kept is the newest folded network, not the best. With `inherit` the
    student begins with its teacher's weights.
    """

    network: NetworkConfig
    epochs: int
    optimiser: str = "adamw"  # or sgd
    lr: float = 5e-4
    head_lr: float = 2.0
    weight_decay: float = 0.02
    clip: float = 0.0
    warmup: float = 2.0
    flat: float = 0.0
    p: int = 16
    k: int = 4
    limit: int = 0
    sizes: tuple[tuple[float, int], ...] = ()
    augmentation: Augmentation = field(default_factory=Augmentation)
    classification: float = 1.0
    smoothing: float = 0.1
    margin: float | None = 0.3
    triplet: float = 1.0
    mining: str = "hardest"
    distil: float = 0.0
    cached: CachedDistillation = field(default_factory=CachedDistillation)
    labels: bool = True
    online: OnlineDistillation | None = None
    average: float = 0.998
    swa: float = 0.0
    swa_lr: float = 0.1
    validate_every: int = 2
    capacity: Capacity | None = None
    inherit: bool = False
    imagenet: bool = False  # needs --weights or the usual download
    planned: int = 0  # epochs that warmup, flat and capacity.start are counted in; 0: `epochs`

    def __post_init__(self) -> None:
        if not self.planned:
            object.__setattr__(self, "planned", self.epochs)

    @property
    def stretch(self) -> float:
        """What numbers of epochs are multiplied by; exactly 1 for a recipe over its own epochs."""
        return self.epochs / max(1, self.planned)


def side_at(recipe: Recipe, epoch: float) -> tuple[int, int]:
    """(height, width) of the input in an epoch that counts from 0."""
    size = (recipe.network.height, recipe.network.width)
    for share, side in recipe.sizes:
        if epoch >= share * recipe.epochs:
            size = (side, side)
    return size
