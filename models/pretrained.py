"""ImageNet weights for a body: from a local file or the usual download."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused

BASE = "https://download.pytorch.org/models/"
DOWNLOADS = {
    "resnet18": BASE + "resnet18-f37072fd.pth",
    "resnet34": BASE + "resnet34-b627a593.pth",
    "resnet50": BASE + "resnet50-11ad3fa6.pth",
    "resnet101": BASE + "resnet101-cd907fc2.pth",
    "mobilenet_v2": BASE + "mobilenet_v2-7ebf99e0.pth",
}


def imagenet_weights(body: str, source: str) -> dict[str, Tensor]:
    """State dict of `source`: a local file, a URL, or "imagenet" for the usual download. Loads no code."""
    if Path(source).is_file():
        weights = torch.load(source, map_location="cpu", weights_only=True)
    elif source == "imagenet" or source.startswith(("http://", "https://")):
        address = DOWNLOADS[body] if source == "imagenet" else source
        try:
            weights = torch.hub.load_state_dict_from_url(address, map_location="cpu", weights_only=True, progress=False)
        except OSError as error:
            raise Refused(f"the ImageNet weights could not be fetched ({error}); give a local file instead") from error
    else:
        raise Refused(f"there are no weights at {source}; give a local state dict or 'imagenet' for the usual download")
    return OrderedDict(weights)


def load_body(body: nn.Module, weights: dict[str, Tensor]) -> int:
    """Fill `body` and return how many tensors were taken; classifier layers of `weights` are left over.

    Keys are matched as they are; where a file names the layers otherwise (MobileNetV2 before torchvision), tensors are
    matched in order, each of the same shape. Raises Refused unless every tensor of the body is filled.
    """
    own = body.state_dict()
    wanted = [key for key in own if not key.endswith("num_batches_tracked")]
    if all(key in weights for key in wanted):
        found = {key: weights[key] for key in wanted}
    else:
        given = [value for key, value in weights.items() if not key.endswith("num_batches_tracked")]
        found = dict(zip(wanted, given, strict=False))
    for key in wanted:
        if key not in found or found[key].shape != own[key].shape:
            raise Refused(f"the weights do not fit the body: {key} should have shape {tuple(own[key].shape)}")
    body.load_state_dict(found, strict=False)
    return len(found)
