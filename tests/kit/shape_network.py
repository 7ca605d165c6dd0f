"""Made vehicles, and a network that has learnt to tell such apart: its weights are a file, ../data/trained/shapes.npz.

They are kept because a training comes out otherwise on every processor: each has its own order of summing, and sixty steps
blow that up to points of mAP, more than what the gate is to find. Trained anew (other weights, other figures in
tests/deploy/test_verify.py): python tests/kit/shape_network.py
"""

from pathlib import Path

import numpy as np
import torch

from vreid.models.checkpoint import Checkpoint
from vreid.models.network import NetworkConfig, ReidNetwork

LEARNT, CAMERAS, PICTURES = 40, 2, 3
CONFIG = NetworkConfig("resnet18", 32, 32, 24, "gap", LEARNT, {"scale": 0.25})
WEIGHTS = Path(__file__).resolve().parent.parent / "data" / "trained" / "shapes.npz"


def drawn(vehicle: int, camera: int, picture: int) -> np.ndarray:
    """(32, 32, 3) uint8 BGR: two colours and a pattern are the vehicle's, ground and light the camera's, the place varies."""
    body = np.random.default_rng(vehicle)
    colours, stripes = body.integers(30, 230, (2, 3)), int(body.integers(1, 4))
    random = np.random.default_rng((vehicle, camera, picture))
    image = np.full((32, 32, 3), (70, 120)[camera], np.float64)
    x, y = random.integers(2, 7, 2)
    image[y : y + 24, x : x + 24] = colours[0]
    if vehicle % 2:
        image[y : y + 24 : 2 * stripes, x : x + 24] = colours[1]
    else:
        image[y : y + 24, x + 2 * stripes : x + 12] = colours[1]
    return np.clip((1.0, 0.8)[camera] * image + random.normal(0, 5, image.shape), 0, 255).astype(np.uint8)


def trained() -> Checkpoint:
    """The network that has learnt the first LEARNT vehicles, the same one everywhere."""
    stored = np.load(WEIGHTS)
    wide = {name: np.float32 if stored[name].dtype == np.float16 else stored[name].dtype for name in stored}
    return Checkpoint(CONFIG, {name: torch.from_numpy(stored[name].astype(wide[name])) for name in stored}, {})


def train(steps: int = 60) -> dict[str, torch.Tensor]:
    """Weights learnt anew, in seconds."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = ReidNetwork(CONFIG)
    pixels = [drawn(v, c, p) for v, c, p in np.ndindex(LEARNT, CAMERAS, PICTURES)]
    pictures, labels = torch.from_numpy(np.stack(pixels)), torch.arange(LEARNT).repeat_interleave(CAMERAS * PICTURES)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    network.train()
    for _ in range(steps):
        rows = torch.randint(len(pictures), (48,))
        loss = torch.nn.functional.cross_entropy(network(pictures[rows]).logits, labels[rows])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return network.state_dict()


if __name__ == "__main__":
    half = {name: value.half() if value.ndim > 1 else value for name, value in train().items()}
    np.savez_compressed(WEIGHTS, **{name: value.numpy() for name, value in half.items()})
