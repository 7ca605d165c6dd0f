"""The head computes what its papers say, and the network begins with camera pixels and ends at unit length."""

import pytest
import torch
from torch import nn

from vreid.models.errors import Refused
from vreid.models.network import MEAN, STD, GeM, GlobalAverage, Head, NetworkConfig, Pixels, ReidNetwork, unit


def test_gem_with_power_one_is_the_average() -> None:
    x = torch.rand(2, 5, 4, 3)
    torch.testing.assert_close(GeM(1.0)(x), GlobalAverage()(x))
    torch.testing.assert_close(GlobalAverage()(x), nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def test_gem_is_its_formula_and_nears_the_maximum() -> None:
    x = torch.rand(2, 3, 2, 2)
    slow = torch.stack([torch.stack([sum(v**3 for v in plane.flatten()) / 4 for plane in image]) for image in x]) ** (
        1 / 3
    )
    torch.testing.assert_close(GeM()(x), slow)
    torch.testing.assert_close(GeM(200.0)(x + 0.5), (x + 0.5).amax((2, 3)), rtol=0.02, atol=0)


def test_gem_learns_its_power_and_takes_zeros() -> None:
    gem = GeM()
    gem(torch.zeros(1, 2, 3, 3)).sum().backward()
    assert gem.p.grad is not None and torch.isfinite(gem.p.grad)


def test_the_order_is_norm_relu_linear_norm_classifier() -> None:
    torch.manual_seed(0)
    head = Head(6, 4, classes=3).eval()
    for norm in (head.neck, head.norm):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            nn.init.uniform_(tensor, 0.5, 1.5)  # type: ignore[arg-type]
    x = torch.rand(5, 6, 2, 2)

    def normed(norm: nn.BatchNorm1d, y: torch.Tensor) -> torch.Tensor:
        assert norm.running_mean is not None and norm.running_var is not None
        return (y - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias

    pooled = x.mean((2, 3))
    embedding = normed(head.norm, normed(head.neck, pooled).clamp(min=0) @ head.embed.weight.T)
    out = head(x)
    torch.testing.assert_close(out.pooled, pooled)
    torch.testing.assert_close(out.embedding, embedding)
    assert head.classifier is not None
    torch.testing.assert_close(out.logits, embedding @ head.classifier.weight.T)


def test_without_classes_there_are_no_logits() -> None:
    head = Head(6, 4).eval()
    assert head(torch.rand(1, 6, 2, 2)).logits is None
    assert not any("classifier" in key for key in head.state_dict())


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(Refused, match="gap or gem"):
        Head(6, 4, pool="max")


def test_pixels_become_normalised_rgb() -> None:
    pixels = torch.randint(0, 256, (2, 3, 4, 3), dtype=torch.uint8)
    out = Pixels()(pixels)
    assert out.dtype == torch.float32 and tuple(out.shape) == (2, 3, 3, 4)
    for channel in range(3):  # 0 is red, which a camera gives last
        expected = (pixels[..., 2 - channel].float() / 255 - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(out[:, channel], expected)


def test_features_are_of_unit_length_and_zero_is_no_nan() -> None:
    torch.testing.assert_close(unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 8, options={"scale": 0.125})).eval()
    with torch.inference_mode():
        out = network.embed(torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8))
    torch.testing.assert_close(out.norm(dim=1), torch.ones(3))
