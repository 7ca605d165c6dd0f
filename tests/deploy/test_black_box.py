"""A foreign network as a teacher: any layer by its name, pooled, with its own preprocessing; what does not fit is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vreid.cli.main import main
from vreid.deploy.settings import NetworkInput
from vreid.models.errors import Refused
from vreid.train.teacher_cache import read_features

black_box = pytest.importorskip("vreid.deploy.black_box", exc_type=ModuleNotFoundError).black_box

RAW = NetworkInput(order="BGR", mean=(0, 0, 0), std=(1, 1, 1), scale=1.0)
WEIGHTS = np.random.default_rng(0).normal(0, 1, (5, 3, 1, 1)).astype(np.float32)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """conv (5 channels, 1x1) -> relu -> two outputs: the sum over its channels, and the map turned."""
    nodes = [
        helper.make_node("Conv", ["pixels", "weights"], ["mixed"], name="conv"),
        helper.make_node("Relu", ["mixed"], ["positive"], name="middle"),
        helper.make_node("ReduceMean", ["positive", "axis"], ["total"], keepdims=0, name="sum"),
        helper.make_node("Transpose", ["positive"], ["turned"], perm=[0, 1, 3, 2], name="turn"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 8, 12])],
        [
            helper.make_tensor_value_info("total", TensorProto.FLOAT, [1, 8, 12]),
            helper.make_tensor_value_info("turned", TensorProto.FLOAT, [1, 5, 12, 8]),
        ],
        [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (8, 12, 3), np.uint8) for _ in range(3)]


@pytest.mark.parametrize("name", ["middle", "positive"])
@pytest.mark.parametrize(
    "wants", [RAW, NetworkInput(), NetworkInput(order="BGR", mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0), scale=100.0)]
)
def test_a_middle_layer_is_pooled_and_the_pictures_come_as_the_network_wants_them(
    network: Path, name: str, wants: NetworkInput
) -> None:
    found = black_box(network, NetworkInput(**{**vars(wants), "output": name})).embed(pictures())
    assert found.shape == (3, 5) and found.dtype == np.float32
    for row, image in zip(found, pictures(), strict=True):
        planes = image[..., ::-1] if wants.order == "RGB" else image
        scaled = (planes.astype(np.float64) / wants.scale - wants.mean) / wants.std
        slow = np.maximum(scaled @ WEIGHTS[:, :, 0, 0].T.astype(np.float64), 0).mean((0, 1))
        assert np.allclose(row, slow, rtol=1e-3, atol=1e-3)


def test_its_space_is_named_by_file_layer_and_preprocessing(network: Path, tmp_path: Path) -> None:
    spaces = {
        black_box(network, NetworkInput(output=name, scale=scale)).fingerprint
        for name in ("middle", "turned")
        for scale in (1.0, 255.0)
    }
    again = tmp_path / "copy.onnx"
    again.write_bytes(network.read_bytes())
    assert len(spaces) == 4 and black_box(again, NetworkInput(output="middle")).fingerprint in spaces


def test_what_does_not_fit_is_refused(network: Path, tmp_path: Path) -> None:
    for wants, says in (
        (RAW, "has the outputs total, turned; name one of them"),
        (NetworkInput(output="last"), "has no layer last; its last ones are .*middle"),
        (NetworkInput(output="total"), "gives 3 axes"),
        (NetworkInput(output="middle", size=(9, 12)), "takes pictures of 8 x 12, not 9 x 12"),
        (NetworkInput(output="middle", std=(0, 1, 1)), "--std and --scale above 0"),
    ):
        with pytest.raises(Refused, match=says):
            black_box(network, wants)
    with pytest.raises(Refused, match=r"cannot read .*nowhere.onnx"):
        black_box(tmp_path / "nowhere.onnx", RAW)
    (tmp_path / "bad.xml").write_text("<net>")
    with pytest.raises(Refused, match=r"cannot read .*bad.bin"):
        black_box(tmp_path / "bad.xml", RAW)
    (tmp_path / "bad.bin").write_bytes(b"")
    with pytest.raises(Refused, match=r"OpenVINO cannot load .*bad.xml"):
        black_box(tmp_path / "bad.xml", RAW)


def test_a_cache_is_made_of_a_layer_and_a_model_of_vreid_takes_no_layer(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["path,vehicle,camera"]
    for number, image in enumerate(pictures()):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), image)
        rows.append(f"{number}.png,{number},c0")
    (tmp_path / "set.csv").write_text("\n".join(rows) + "\n")
    words = ["--data", str(tmp_path / "set.csv"), "--out", str(tmp_path / "cache.npz")]
    raw = ["--order", "BGR", "--mean", "0", "0", "0", "--std", "1", "1", "1", "--scale", "1"]
    assert main(["cache-teacher", str(network), "--output", "middle", *raw, *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dim"] == 5
    wants = NetworkInput(**{**vars(RAW), "output": "middle"})
    assert np.array_equal(read_features(tmp_path / "cache.npz").features, black_box(network, wants).embed(pictures()))
    assert main(["cache-teacher", "vreid-s", "--output", "middle", *words[:3], str(tmp_path / "other.npz")]) == 2
    assert "are for an .xml or .onnx" in capsys.readouterr().err


@pytest.mark.shared
def test_the_middle_map_of_an_attribute_network_finds_real_vehicles(shared: Path) -> None:
    name = "vehicle-attributes-recognition-barrier-0039"
    network = black_box(shared / "models" / name / f"{name}.xml", NetworkInput(**{**vars(RAW), "output": "ReLU5"}))
    folder = shared / "data" / "highway2cam" / "images"
    first = sorted(folder.glob("car_*_cam1.jpg"))[:60]
    pairs = (
        [cv2.imread(str(path)) for path in first],
        [cv2.imread(str(path).replace("_cam1", "_cam2")) for path in first],
    )
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in map(network.embed, pairs))
    assert one.shape == (60, 128)
    found = ((one @ other.T).argmax(1) == np.arange(60)).mean()
    assert found > 0.4, found  # seen: 0.63; by chance 0.017
