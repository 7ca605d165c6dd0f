"""A foreign embedder under the contract says of raw pixels what it says of pixels prepared by hand."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
import torch
from torch import Tensor, nn

from vreid.cli.main import main
from vreid.deploy.adopt import adopted
from vreid.deploy.settings import Preprocessing
from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest
from vreid.runtime.embedder import open_embedder

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 24, 16, 3)).astype(np.uint8)


class Foreign(nn.Module):
    """(N, 3, H, W) float -> (N, 6, 1, 1), and a second output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.second(torch.relu(self.first(x)))
        return x.mean((2, 3), keepdim=True), x.amax((2, 3))


def written(path: Path, opset: int = 18, batch: bool = True, open_size: bool = False, outputs: int = 1) -> Path:
    network: nn.Module = Foreign()
    if outputs == 1:
        network = First(network)
    names = ["feature", "other"][:outputs]
    axes: dict[str, dict[int, str]] = {"input": {}, **{name: {} for name in names}}
    if batch:
        axes = {name: {0: "n"} for name in axes}
    if open_size:
        axes["input"] |= {2: "h", 3: "w"}
    torch.onnx.export(
        network.eval(), (torch.zeros(1, 3, 24, 16),), str(path), opset_version=opset, dynamo=False,
        input_names=["input"], output_names=names, dynamic_axes=axes,
    )  # fmt: skip
    return path


class First(nn.Module):
    """The first output alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x)[0]
        return out


def by_hand(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    pixels = PICTURES[..., ::-1] if preprocessing.order == "RGB" else PICTURES
    scaled = (pixels / preprocessing.scale - np.array(preprocessing.mean)) / np.array(preprocessing.std)
    given = scaled.transpose(0, 3, 1, 2).astype(np.float32)
    found = ort.InferenceSession(str(path)).run([preprocessing.output or "feature"], {"input": given})[0].reshape(3, -1)
    out: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return out


@pytest.mark.parametrize(
    ("opset", "preprocessing"),
    [
        (18, Preprocessing()),
        (11, Preprocessing("BGR", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))),
        (17, Preprocessing(mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4), scale=1.0, batch=(1, 2, 4))),
    ],
)
def test_it_says_the_same_of_raw_pixels(tmp_path: Path, opset: int, preprocessing: Preprocessing) -> None:
    source = written(tmp_path / "foreign.onnx", opset)
    manifest = adopted(source, tmp_path / "out" / "own.onnx", preprocessing)
    assert manifest == read_manifest(tmp_path / "out" / "own.json")
    assert (manifest.input.height, manifest.input.width, manifest.output.dim) == (24, 16, 6)
    assert manifest.cost.params == 8 * 28 + 6 * 73
    found = open_embedder(tmp_path / "out" / "own.json").embed(list(PICTURES))
    np.testing.assert_allclose(found, by_hand(source, preprocessing), atol=1e-5)
    first = next(node for node in onnx.load(str(tmp_path / "out" / "own.onnx")).graph.node if "images" in node.input)
    assert first.op_type == "Cast"


def test_what_the_graph_leaves_open_must_be_given(tmp_path: Path) -> None:
    source = written(tmp_path / "open.onnx", open_size=True)
    with pytest.raises(Refused, match="--size"):
        adopted(source, tmp_path / "own.onnx", Preprocessing())
    assert adopted(source, tmp_path / "own.onnx", Preprocessing(size=(24, 16))).input.width == 16
    two = written(tmp_path / "two.onnx", outputs=2)
    with pytest.raises(Refused, match="--output"):
        adopted(two, tmp_path / "own.onnx", Preprocessing())
    with pytest.raises(Refused, match="feature, other"):
        adopted(two, tmp_path / "own.onnx", Preprocessing(output="third"))
    preprocessing = Preprocessing(output="other")
    adopted(two, tmp_path / "own.onnx", preprocessing)
    found = open_embedder(tmp_path / "own.json").embed(list(PICTURES))
    np.testing.assert_allclose(found, by_hand(two, preprocessing), atol=1e-5)


def test_what_is_no_embedder_of_any_batch_is_refused(tmp_path: Path, colour_model: Path) -> None:
    fixed = written(tmp_path / "fixed.onnx", batch=False)
    model = onnx.load(str(fixed))
    for node in model.graph.node:  # a batch of one that is written into the graph
        if node.op_type == "ReduceMean":
            shape = onnx.numpy_helper.from_array(np.array([1, 6, 1, 1], np.int64), "shape")
            model.graph.initializer.append(shape)
            model.graph.node.append(onnx.helper.make_node("Reshape", ["raw", "shape"], [node.output[0]]))
            node.output[0] = "raw"
    onnx.save(model, str(fixed))
    with pytest.raises(Refused):
        adopted(fixed, tmp_path / "own.onnx", Preprocessing())
    with pytest.raises(Refused, match="float pictures"):
        adopted(colour_model.with_suffix(".onnx"), tmp_path / "own.onnx", Preprocessing())
    with pytest.raises(Refused, match="not 8 x 8"):
        adopted(written(tmp_path / "foreign.onnx"), tmp_path / "own.onnx", Preprocessing(size=(8, 8)))
    assert not list(tmp_path.glob("own*"))


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path / "foreign.onnx")
    assert main(["adopt", str(source), "--out", str(tmp_path / "own.onnx"), "--order", "BGR", "--json"]) == 0
    assert '"dim": 6' in capsys.readouterr().out
    assert main(["adopt", str(tmp_path / "none.onnx"), "--out", str(tmp_path / "own.onnx")]) == 2
    assert "none.onnx" in capsys.readouterr().err
