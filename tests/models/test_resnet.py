"""The ResNets have torchvision's names and numbers, any width, either last stride, and survive a checkpoint."""

from pathlib import Path

import pytest
import torch

from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.resnet import ResNet, resnet, shape_of

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def torchvision_keys(convolutions: int, depths: tuple[int, ...], first_downsamples: bool) -> list[str]:
    """The keys of a torchvision ResNet without its fc, by rule."""
    keys = ["conv1.weight", *(f"bn1.{word}" for word in NORM)]
    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            start = f"layer{stage}.{block}."
            for place in range(1, convolutions + 1):
                keys += [f"{start}conv{place}.weight", *(f"{start}bn{place}.{word}" for word in NORM)]
            if block == 0 and (stage > 1 or first_downsamples):
                keys += [f"{start}downsample.0.weight", *(f"{start}downsample.1.{word}" for word in NORM)]
    return keys


@pytest.mark.parametrize(
    ("name", "keys", "tensors", "numbers"),
    [  # parameters of torchvision's models less their fc: 11,689,512 - 513,000 and 25,557,032 - 2,049,000
        ("resnet18", torchvision_keys(2, (2, 2, 2, 2), False), 60, 11_176_512),
        ("resnet50", torchvision_keys(3, (3, 4, 6, 3), True), 159, 23_508_032),
    ],
)
def test_names_and_numbers_are_torchvisions(name: str, keys: list[str], tensors: int, numbers: int) -> None:
    with torch.device("meta"):
        body = resnet(name, {})
    assert list(body.state_dict()) == keys
    assert len(list(body.parameters())) == tensors
    assert sum(parameter.numel() for parameter in body.parameters()) == numbers


@pytest.mark.parametrize(("stride", "side"), [(1, 4), (2, 2)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_the_last_stride_sizes_the_last_map(name: str, stride: int, side: int) -> None:
    with torch.device("meta"):
        body = resnet(name, {"last_stride": stride})
        out = body(torch.zeros(2, 3, 64, 64))
    assert tuple(out.shape) == (2, body.channels, side, side)


def test_a_bottleneck_strides_in_its_3x3_as_torchvision_does() -> None:
    with torch.device("meta"):
        body = resnet("resnet50", {})
    block = body.get_submodule("layer2.0")
    assert [block.get_submodule(f"conv{place}").stride for place in (1, 2, 3)] == [(1, 1), (2, 2), (1, 1)]


def test_every_inner_width_shapes_its_own_convolutions() -> None:
    shape = shape_of("resnet50", 0.25)
    inner = [[list(block) for block in stage] for stage in shape.inner]
    inner[1][2] = [3, 5]
    body = resnet("resnet50", {"scale": 0.25, "inner": inner})
    block = body.get_submodule("layer2.2")
    found = [tuple(block.get_submodule(f"conv{place}").weight.shape) for place in (1, 2, 3)]  # type: ignore[arg-type]
    assert found == [(3, 128, 1, 1), (5, 3, 3, 3), (128, 5, 1, 1)]
    untouched = ResNet(shape).state_dict()
    changed = {key for key, value in body.state_dict().items() if value.shape != untouched[key].shape}
    assert changed == {
        f"layer2.2.{key}"
        for key in (
            *(f"conv{place}.weight" for place in (1, 2, 3)),
            *(f"bn{place}.{word}" for place in (1, 2) for word in NORM[:-1]),
        )
    }
    assert tuple(body(torch.zeros(1, 3, 32, 32)).shape) == (1, 512, 2, 2)


def test_stem_and_outer_widths_shape_what_passes_between_blocks() -> None:
    body = resnet("resnet50", {"scale": 0.25, "stem": 5, "outer": [11, 22, 33, 44]})
    assert tuple(body.conv1.weight.shape) == (5, 3, 7, 7) and body.bn1.num_features == 5
    inputs = 5
    for stage, outputs in enumerate((11, 22, 33, 44), 1):
        for block, layer in enumerate(body.get_submodule(f"layer{stage}").children()):
            first, last = layer.get_submodule("conv1"), layer.get_submodule("conv3")
            assert first.in_channels == inputs and last.out_channels == outputs
            assert (block == 0) == any(name == "downsample" for name, _ in layer.named_children())
            inputs = outputs
    assert body.channels == 44
    assert tuple(body(torch.zeros(1, 3, 32, 32)).shape) == (1, 44, 2, 2)


@pytest.mark.parametrize(("name", "stem", "outer"), [("resnet50", 9, [9] * 4), ("resnet18", 8, [8] * 4)])
def test_widths_that_meet_by_chance_keep_the_shortcuts_keys(name: str, stem: int, outer: list[int]) -> None:
    """The trained network has weights in these shortcuts, which the pruned one must have a place for."""
    with torch.device("meta"):
        whole, pruned = resnet(name, {}), resnet(name, {"stem": stem, "outer": outer})
    assert list(pruned.state_dict()) == list(whole.state_dict())


def test_the_options_of_the_usual_widths_change_nothing() -> None:
    shape = shape_of("resnet18", 0.25)
    torch.manual_seed(0)
    plain = resnet("resnet18", {"scale": 0.25}).state_dict()
    torch.manual_seed(0)
    pruned = resnet("resnet18", {"scale": 0.25, "stem": shape.stem, "outer": shape.outer, "inner": shape.inner})
    assert all(torch.equal(value, plain[key]) for key, value in pruned.state_dict().items())


@pytest.mark.parametrize("wider", [{}, {"stem": 5, "outer": [5, 6, 7, 9]}])
def test_a_pruned_network_loads_back_from_its_checkpoint(tmp_path: Path, wider: dict[str, object]) -> None:
    torch.manual_seed(0)
    inner = [[[3], [1]], [[2], [7]], [[4], [5]], [[6], [8]]]
    config = NetworkConfig("resnet18", 32, 32, 8, options={"scale": 0.125, "inner": inner, **wider})
    network = ReidNetwork(config).eval()
    save_checkpoint(Checkpoint(config, network.state_dict(), {}), tmp_path / "pruned.pt")
    again = network_from(load_checkpoint(tmp_path / "pruned.pt"))
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(network.embed(pixels), again.embed(pixels))


@pytest.mark.parametrize(
    "options",
    [
        {"inner": [[[3]], [[2], [7]], [[4], [5]], [[6], [8]]]},  # a block too few
        {"inner": [[[3, 3], [1]], [[2], [7]], [[4], [5]], [[6], [8]]]},  # a bottleneck's widths for a basic block
        {"inner": [[[3], [1]], [[2], [0]], [[4], [5]], [[6], [8]]]},  # no channel left
        {"outer": [8, 16, 32]},  # a stage too few
        {"outer": [8, 16, 32, -1]},
        {"stem": 0},
        {"stem": 8.0},
        {"last_stride": 3},
        {"width": 2},
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(Refused):
        resnet("resnet18", options)
