"""The torch embedder: the reference that every lowered model is compared with."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vreid.models.network import ReidNetwork
from vreid.models.preprocess import Image, batch_of
from vreid.train.evaluate import Embed


def embed_with(network: ReidNetwork, size: tuple[int, int] | None = None) -> Embed:
    """N pictures of any size -> (N, D) float32 of unit length; `size` overrides the network's own (height, width)."""
    height, width = size or (network.config.height, network.config.width)
    device = next(network.parameters()).device

    def embed(images: Sequence[Image]) -> NDArray[np.float32]:
        network.eval()
        with torch.inference_mode():
            pixels = torch.from_numpy(batch_of(images, height, width)).to(device)
            return np.asarray(network.embed(pixels).cpu().numpy(), np.float32)

    return embed
