"""The control arm meets its share of MACs, and what it gives back is a network of narrow that computes what the library cut."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from vreid.models.checkpoint import Checkpoint, load_checkpoint, network_from, save_checkpoint
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import insert

pytest.importorskip("torch_pruning", reason="the control arm needs torch-pruning")

STEPS = 40  # coarser than the arm's own 400, whose steps only come nearer
HALF = NetworkConfig("resnet50", 64, 64, 256, classes=10, options={"scale": 0.5, "last_stride": 1})
MOBILE = NetworkConfig("mobilenet_v2", 32, 32, 24, classes=5, options={"scale": 0.375, "last": 64})
SMALL = NetworkConfig("resnet18", 32, 32, 24, "gem", classes=5, options={"scale": 0.5})


@pytest.fixture(scope="module")
def arm(root: Path) -> ModuleType:
    """bench/ is no package: the script by its path."""
    spec = importlib.util.spec_from_file_location("torch_pruning_arm", root / "bench" / "torch_pruning_arm.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def network(config: NetworkConfig) -> ReidNetwork:
    """Its channels differ in size and its batch norms have seen something, so that a wrong channel shows."""
    torch.manual_seed(0)
    made = ReidNetwork(config)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 1.0)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return made.eval()


def pixels(config: NetworkConfig, count: int = 6) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randint(0, 256, (count, config.height, config.width, 3), dtype=torch.uint8)


def weights(made: ReidNetwork) -> dict[str, torch.Tensor]:
    """The tensors themselves, by name."""
    return made.state_dict(keep_vars=True)


def macs(made: ReidNetwork) -> int:
    return total_of(cost_of(made)).macs


@pytest.mark.parametrize(
    ("config", "share", "multiple"),
    [
        pytest.param(HALF, 0.34, 1, marks=pytest.mark.slow),
        pytest.param(HALF, 0.21, 1, marks=pytest.mark.slow),
        (SMALL, 0.5, 1),
        (SMALL, 0.21, 4),
        (MOBILE, 0.5, 4),
    ],
)
def test_it_meets_the_share_and_computes_what_the_library_cut(
    arm: ModuleType, config: NetworkConfig, share: float, multiple: int
) -> None:
    whole = network(config)
    cut = arm.cut_to(whole, share, multiple, arm.Rules(steps=STEPS))
    narrow = arm.reid_network_from(cut)
    assert share - 0.01 <= macs(narrow) / macs(whole) <= share
    with torch.inference_mode():
        expected, found = cut(pixels(config)), narrow(pixels(config))
    for there, here in zip(expected, found, strict=True):
        torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-5)
    assert found.embedding.shape[1] == config.dim
    assert torch.equal(narrow.head.classifier.weight, weights(whole)["head.classifier.weight"])
    options = narrow.config.options
    widths = [
        options["stem"],
        *options.get("outer", ()),
        *(w for stage in options["inner"] for block in stage for w in block),
    ]
    assert all(width % multiple == 0 for width in widths)


def test_the_rows_of_the_stem_are_rows_of_the_network(arm: ModuleType) -> None:
    whole = network(SMALL)
    before, after = weights(whole), weights(arm.pruned_by_torch_pruning(whole, 0.5, rules=arm.Rules(steps=STEPS)))
    stem, kept = before["body.conv1.weight"], after["body.conv1.weight"]
    rows = [next(row for row in range(len(stem)) if torch.equal(stem[row], one)) for one in kept]
    assert rows == sorted(set(rows)) and len(rows) < len(stem)
    assert torch.equal(after["body.bn1.running_mean"], before["body.bn1.running_mean"][rows])


@pytest.mark.parametrize("isomorphic", [True, False])
def test_a_layer_keeps_its_eighth(arm: ModuleType, isomorphic: bool) -> None:
    """All but six filters of one convolution are as good as nothing: they go first."""
    whole = network(SMALL)
    with torch.no_grad():
        weights(whole)["body.layer1.0.conv1.weight"][6:] *= 1e-3
    narrow = arm.pruned_by_torch_pruning(whole, 0.5, rules=arm.Rules(isomorphic, steps=STEPS))
    assert narrow.config.options["inner"][0][0] == [4]  # of 32


def test_the_network_given_is_left_as_it_was(arm: ModuleType) -> None:
    whole = network(SMALL).train()
    weights(whole)["body.conv1.weight"].requires_grad_(False)
    before = {key: value.clone() for key, value in whole.state_dict().items()}
    with torch.no_grad():
        narrow = arm.pruned_by_torch_pruning(whole, 0.5, rules=arm.Rules(steps=STEPS))
    assert whole.training and narrow.training
    assert all(torch.equal(value, before[key]) for key, value in whole.state_dict().items())
    assert all(parameter.requires_grad for parameter in narrow.parameters())


@pytest.mark.slow
def test_it_learns_on_and_survives_a_checkpoint(arm: ModuleType, tmp_path: Path) -> None:
    narrow = arm.pruned_by_torch_pruning(network(SMALL), 0.34, rules=arm.Rules(steps=STEPS)).train()
    optimiser = torch.optim.SGD(narrow.parameters(), 0.05)
    logits = narrow(pixels(SMALL)).logits
    nn.functional.cross_entropy(logits, torch.arange(6) % 5).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in narrow.parameters())
    before = narrow.body.conv1.weight.detach().clone()
    optimiser.step()
    assert not torch.equal(before, narrow.body.conv1.weight)
    narrow.eval()
    save_checkpoint(Checkpoint(narrow.config, narrow.state_dict(), {}), tmp_path / "cut.pt")
    again = network_from(load_checkpoint(tmp_path / "cut.pt"))
    with torch.inference_mode():
        assert torch.equal(again.embed(pixels(SMALL)), narrow.embed(pixels(SMALL)))


def test_it_is_exported_like_any_other(arm: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxsim")
    from vreid.deploy.export import onnx_from_checkpoint

    narrow = arm.pruned_by_torch_pruning(network(SMALL), 0.34, rules=arm.Rules(steps=STEPS))
    save_checkpoint(Checkpoint(narrow.config, narrow.state_dict(), {}), tmp_path / "cut.pt")
    manifest = onnx_from_checkpoint(tmp_path / "cut.pt", tmp_path / "cut.onnx")  # which compares its engine with torch
    assert manifest.cost.macs == macs(narrow)


def test_what_cannot_be_cut_is_refused(arm: ModuleType) -> None:
    whole = network(SMALL)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(Refused, match="between 0 and 1"):
            arm.pruned_by_torch_pruning(whole, share)
    with pytest.raises(Refused, match="out of reach"):
        arm.pruned_by_torch_pruning(whole, 0.001, rules=arm.Rules(steps=10))
    insert(whole)
    with pytest.raises(Refused, match="fold it first"):
        arm.pruned_by_torch_pruning(whole, 0.5)
