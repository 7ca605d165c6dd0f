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
    """A complete training. Numbers of epochs may be fractions; `swa` is stochastic weight averaging (Izmailov et al., UAI 2018,
    algorithm 1)."""

    network: NetworkConfig  # its `classes` are counted in the data
    epochs: int
    optimiser: str = "adamw"  # or sgd
    lr: float = 5e-4  # the highest learning rate
    head_lr: float = 2.0  # the head's, times that
    weight_decay: float = 0.02  # none on norms and biases
    clip: float = 0.0  # length that a longer gradient over all parameters is cut to; 0: none is
    warmup: float = 2.0  # epochs of linear warm-up from a tenth of lr
    flat: float = 0.0  # epoch up to which the rate is constant; a cosine to a thousandth of lr follows
    p: int = 16  # vehicles in a batch
    k: int = 4  # pictures of each
    limit: int = 0  # groups of k pictures of one vehicle in an epoch, at most; 0: all
    sizes: tuple[
        tuple[float, int], ...
    ] = ()  # (share of the epochs from which it holds, side); ends with the network's size
    augmentation: Augmentation = field(default_factory=Augmentation)
    classification: float = 1.0  # weight of the loss
    smoothing: float = 0.1  # of its labels
    margin: float | None = 0.3  # of the triplet loss; None: a soft one
    triplet: float = 1.0  # weight of the loss
    mining: str = "hardest"  # triplets of the batch, or those by "cameras" (losses/outputs.py)
    cameras: float = 0.0  # weight of the loss on cameras' mean embeddings (losses/cameras.py)
    distil: float = 0.0  # weight of the loss on teachers' embeddings of the pictures, which are not augmented
    cached: CachedDistillation = field(default_factory=CachedDistillation)  # how these are learnt from
    labels: bool = True  # without, only from teachers, in batches of p * k pictures drawn with no regard to vehicles
    online: OnlineDistillation | None = None  # how is learnt from a teacher that sees every augmented batch
    average: float = 0.998  # decay of the exponential moving average of the weights, which is evaluated and kept
    swa: float = 0.0  # last share of the training, whose epochs' mean weights are kept instead
    swa_lr: float = 0.1  # the rate there, times lr
    validate_every: int = 2  # epochs
    capacity: Capacity | None = (
        None  # how the student is compressed, by a teacher of its network; the newest epoch is kept
    )
    inherit: bool = False  # begin with the teacher's weights
    imagenet: bool = False  # needs --weights or the usual download
    planned: int = (
        0  # epochs that warmup, flat and capacity.start are counted in (0: epochs); over others they keep their shares
    )

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
