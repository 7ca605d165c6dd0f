"""A compressed network of inverted residuals is exported as one that was never wider, and costs what the budget left of it."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
import torch

from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.onnx_cost import layers_of_onnx
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.cost import cost_of, total_of
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import fold, insert
from vreid.runtime.embedder import open_embedder
from vreid.train.pruning.budget import Budget, BudgetRules
from vreid.train.pruning.channels import channel_maps


@pytest.mark.parametrize("body", ["mobilenet_v2", "efficientnet_lite0"])
def test_the_exported_student_has_the_macs_of_the_budget_and_nothing_but_convolutions(
    body: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = NetworkConfig(body, 32, 32, 16, options={"scale": 0.375, "last": 96})
    network = ReidNetwork(config)
    pixels = torch.randint(0, 256, (16, 32, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        for _ in range(5):
            network(pixels)  # so that the BNs have means to fold
    whole = total_of(cost_of(network)).macs
    insert(network)
    share = Budget(network, channel_maps(network), BudgetRules(0.4, by="random"), 8).choose()
    student = fold(network.eval(), multiple=8, masked=True)
    assert 0.38 * whole <= total_of(cost_of(student)).macs == share * whole <= 0.4 * whole
    save_checkpoint(Checkpoint(student.config, student.state_dict(), {}), tmp_path / "student.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        manifest = onnx_from_checkpoint(tmp_path / "student.pt", tmp_path / "student.onnx")
    assert manifest.cost.macs == total_of(cost_of(student)).macs
    assert sum(layer.cost.macs for layer in layers_of_onnx((tmp_path / "student.onnx").read_bytes(), tmp_path)) == (
        manifest.cost.macs
    )
    graph = onnx.load(str(tmp_path / "student.onnx")).graph
    kinds = Counter(node.op_type for node in graph.node)
    convs = sum(isinstance(module, torch.nn.Conv2d) for module in student.modules())
    assert kinds["Conv"] == convs and kinds["BatchNormalization"] == 2 and not kinds["Pad"]  # the head's two
    images = list(pixels.numpy())
    with torch.no_grad():
        expected = student.embed(pixels).numpy()
    np.testing.assert_allclose(open_embedder(tmp_path / "student.json").embed(images), expected, atol=1e-4)
