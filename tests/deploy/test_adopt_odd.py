"""Foreign graphs of every odd kind are adopted with what they really are, or refused in one sentence."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.cli.main import main
from vreid.deploy.adopt import adopted, unlike
from vreid.deploy.build.engine import engine_from_onnx
from vreid.deploy.foreign import GREY
from vreid.deploy.lower import half_from
from vreid.deploy.settings import IMAGENET, Preprocessing
from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest
from vreid.runtime.embedder import open_embedder

Node = onnx.NodeProto
SIDE = 16
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32)
LAST = RANDOM.normal(0, 0.3, (6, 5)).astype(np.float32)


def node(kind: str, inputs: str, outputs: str, **attributes: object) -> Node:
    return helper.make_node(kind, inputs.split(), outputs.split(), **attributes)  # type: ignore[arg-type]


def written(
    path: Path,
    nodes: Sequence[Node],
    tensors: dict[str, np.ndarray] | None = None,
    opset: int = 18,
    batch: int | str = "n",
    shape: tuple[int, ...] = (3, SIDE, SIDE),
    kind: int = TensorProto.FLOAT,
    domains: Sequence[str] = (),
    out: int = TensorProto.FLOAT,
    functions: Sequence[onnx.FunctionProto] = (),
) -> Path:
    """A graph x -> y of these nodes; `w` (6, 3, 3, 3) and `last` (6, 5) are stored in it."""
    stored = {"w": WEIGHT, "last": LAST, **(tensors or {})}
    graph = helper.make_graph(
        list(nodes), "foreign",
        [helper.make_tensor_value_info("x", kind, [batch, *shape])],
        [helper.make_tensor_value_info("y", out, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in stored.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions)
    path.write_bytes(model.SerializeToString())
    return path


BODY = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("GlobalAveragePool", "r", "p")]  # (N, 6, 1, 1)


def by_view() -> list[Node]:
    """x.view(x.size(0), -1), as tracing writes it."""
    return [
        *BODY,
        node("Shape", "p", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 minus", "to", axis=0),
        node("Reshape", "p to", "y"),
    ]


INDEX = {"zero": np.int64(0), "axis": np.array([0]), "minus": np.array([-1])}


def in_branch() -> list[Node]:
    """An If whose branches use what is outside of them, the input too."""
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)]
    yes = helper.make_graph([node("Flatten", "p", "flat"), node("Identity", "flat", "out")], "yes", [], out)
    no = helper.make_graph([node("GlobalAveragePool", "x", "pooled"), node("Flatten", "pooled", "out")], "no", [], out)
    return [*BODY, node("If", "true", "y", then_branch=yes, else_branch=no)]


def by_sequence() -> list[Node]:
    return [
        *BODY,
        node("SplitToSequence", "p", "parts", axis=1, keepdims=1),
        node("ConcatFromSequence", "parts", "joined", axis=1),
        node("Flatten", "joined", "y"),
    ]


ADOPTED: dict[str, tuple[list[Node], dict[str, np.ndarray], int]] = {
    "view": (by_view(), INDEX, 6),
    "four dimensions": ([*BODY, node("Identity", "p", "y")], {}, 6),
    "squeeze": ([*BODY, node("Squeeze", "p", "y")], {}, 6),
    "If with outer inputs": (in_branch(), {"true": np.array(True)}, 6),
    "a sequence inside": (by_sequence(), {}, 6),
    "a product": ([*BODY, node("Flatten", "p", "f"), node("MatMul", "f last", "y")], {}, 5),
    "our own names inside": (
        [node("Conv", "x w", "images"), node("GlobalAveragePool", "images", "embedding"), node("Flatten", "embedding", "y")],
        {}, 6,
    ),
}  # fmt: skip


def by_hand(path: Path, pictures: Sequence[np.ndarray]) -> np.ndarray:
    mean, std = (np.array(part, np.float32) for part in IMAGENET)
    given = ((np.stack(pictures)[..., ::-1] / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    found = ort.InferenceSession(path.read_bytes()).run(None, {"x": given})[0].reshape(len(pictures), -1)
    out: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return out


@pytest.mark.parametrize("name", ADOPTED)
def test_it_is_adopted_with_the_dimension_of_a_run(tmp_path: Path, name: str) -> None:
    nodes, tensors, dim = ADOPTED[name]
    source = written(tmp_path / "foreign.onnx", nodes, tensors)
    manifest = adopted(source, tmp_path / "own.onnx", Preprocessing(batch=(1, 3, 8)))
    assert manifest == read_manifest(tmp_path / "own.json") and manifest.output.dim == dim
    assert manifest.precision == "fp32" and manifest.cost.macs >= 27 * 6 * 14 * 14
    pictures = unlike(5, SIDE, SIDE)
    found = open_embedder(tmp_path / "own.json").embed(pictures)
    np.testing.assert_allclose(found, by_hand(source, pictures), atol=1e-5)


def test_contrib_operators_and_functions_are_adopted(tmp_path: Path) -> None:
    fused = node("FusedConv", "x w", "c", activation="Relu", domain="com.microsoft")
    nodes = [fused, node("GlobalAveragePool", "c", "p"), node("Flatten", "p", "y")]
    found = adopted(
        written(tmp_path / "a.onnx", nodes, domains=["com.microsoft"]), tmp_path / "own.onnx", Preprocessing()
    )
    assert found.output.dim == 6 and found.cost.macs == 27 * 6 * 14 * 14
    body = helper.make_function("own", "Head", ["a"], ["b"], [node("Flatten", "a", "b")], [helper.make_opsetid("", 18)])
    nodes = [*BODY, helper.make_node("Head", ["p"], ["y"], domain="own")]
    source = written(tmp_path / "b.onnx", nodes, domains=["own"], functions=[body])
    assert adopted(source, tmp_path / "own.onnx", Preprocessing()).output.dim == 6


def test_a_batch_that_is_written_into_the_graph(tmp_path: Path) -> None:
    nodes = [*BODY, node("Reshape", "p to", "f"), node("MatMul", "f last", "y")]
    source = written(tmp_path / "a.onnx", nodes, {"to": np.array([1, 6])}, batch=1)
    with pytest.raises(Refused, match=r"does not run on 1 and 8 and 32 pictures .*--batch 1 1 1"):
        adopted(source, tmp_path / "own.onnx", Preprocessing())
    assert adopted(source, tmp_path / "own.onnx", Preprocessing(batch=(1, 1, 1))).input.batch == [1, 1, 1]
    assert open_embedder(tmp_path / "own.json").embed(unlike(3, SIDE, SIDE)).shape == (3, 5)


def normalised(training: int) -> list[Node]:
    outputs = "y a b" if training else "y"
    return [
        *BODY,
        node("Flatten", "p", "f"),
        node("BatchNormalization", "f one none none one", outputs, training_mode=training),
    ]


FLAT = [*BODY, node("Flatten", "p", "f")]
ONES = {"one": np.ones(6, np.float32), "none": np.zeros(6, np.float32), "axes": np.array([0])}
NO_EMBEDDER: dict[str, tuple[list[Node], str]] = {
    "batch norm in training mode": (normalised(1), "in evaluation mode"),
    "a mean over the batch": (
        [*FLAT, node("ReduceMean", "f axes", "m", keepdims=1), node("Sub", "f m", "d"), node("Add", "d f", "y")],
        "depends on the other pictures",
    ),
    "the hardest of the batch": (
        [*FLAT, node("ReduceMax", "f axes", "m", keepdims=1), node("Div", "f m", "y")],
        "depends on the other pictures",
    ),
    "a softmax over the batch": ([*FLAT, node("Softmax", "f", "y", axis=0)], "depends on the other pictures"),
    "noise": ([*FLAT, node("RandomUniformLike", "f", "n"), node("Add", "f n", "y")], "another embedding each time"),
    "nothing": ([*FLAT, node("Mul", "f none", "y")], "gives zero"),
    "a constant": ([*FLAT, node("Mul", "f none", "z"), node("Add", "z one", "y")], "the same embedding for every"),
    "no number": ([*FLAT, node("Log", "none", "l"), node("Mul", "l none", "n"), node("Add", "f n", "y")], "gives NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_EMBEDDER)
def test_what_is_no_embedder_is_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    nodes, said = NO_EMBEDDER[name]
    with pytest.raises(Refused, match=said):
        adopted(written(tmp_path / "a.onnx", nodes, ONES), tmp_path / "own.onnx", Preprocessing())
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_batch_norm_in_evaluation_mode_is_an_embedder(tmp_path: Path) -> None:
    assert (
        adopted(written(tmp_path / "a.onnx", normalised(0), ONES), tmp_path / "own.onnx", Preprocessing()).output.dim
        == 6
    )


# Precision


def of_codes() -> list[Node]:
    return [
        node("QuantizeLinear", "x xs xz", "xq"),
        node("QLinearConv", "xq xs xz wq ws wz cs xz", "cq"),
        node("DequantizeLinear", "cq cs xz", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "y"),
    ]


def of_pairs() -> list[Node]:
    return [
        node("QuantizeLinear", "x xs xz", "xq"),
        node("DequantizeLinear", "xq xs xz", "xd"),
        node("DequantizeLinear", "wq ws wz", "wd"),
        node("Conv", "xd wd", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "y"),
    ]


def codes(kind: type) -> dict[str, np.ndarray]:
    return {
        "xs": np.float32(0.03), "xz": kind(0), "ws": np.float32(0.01), "wz": np.int8(0), "cs": np.float32(0.1),
        "wq": np.clip(WEIGHT / 0.01, -127, 127).astype(np.int8),
    }  # fmt: skip


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("nodes", [of_codes(), of_pairs()], ids=["QLinearConv", "Q/DQ"])
def test_int8_is_called_int8_and_its_work_is_counted(tmp_path: Path, nodes: list[Node], kind: type) -> None:
    source = written(tmp_path / "a.onnx", nodes, codes(kind))
    manifest = adopted(source, tmp_path / "own.onnx", Preprocessing())
    assert manifest.precision == "int8" and manifest.cost.macs == 27 * 6 * 14 * 14
    assert manifest.cost.params == WEIGHT.size
    assert engine_from_onnx(tmp_path / "own.json", "onnxruntime", tmp_path / "built.json").tried
    with pytest.raises(Refused, match="is int8"):
        half_from(tmp_path / "own.json", tmp_path / "half.onnx")


def test_half_precision_is_called_fp16(tmp_path: Path) -> None:
    half = {"w": WEIGHT.astype(np.float16), "last": LAST.astype(np.float16)}
    nodes = [*FLAT, node("MatMul", "f last", "y")]
    source = written(tmp_path / "a.onnx", nodes, half, kind=TensorProto.FLOAT16, out=TensorProto.FLOAT16)
    assert adopted(source, tmp_path / "own.onnx", Preprocessing()).precision == "fp16"
    inside = [
        node("Cast", "x", "xh", to=TensorProto.FLOAT16),
        node("Conv", "xh w", "c"),
        *BODY[1:],
        node("Flatten", "p", "y"),
    ]
    source = written(tmp_path / "b.onnx", inside, half, out=TensorProto.FLOAT16)
    assert adopted(source, tmp_path / "own.onnx", Preprocessing()).precision == "fp16"
    assert engine_from_onnx(tmp_path / "own.json", "onnxruntime", tmp_path / "built.json").manifest.precision == "fp16"


def test_an_adopted_and_a_bundled_model_are_lowered_to_fp16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adopted(written(tmp_path / "a.onnx", by_view(), INDEX), tmp_path / "own.onnx", Preprocessing())
    for model in (str(tmp_path / "own.json"), "vreid-s"):
        out = tmp_path / f"{Path(model).stem}.half.onnx"
        assert main(["export", model, "--half", "--out", str(out), "--batch", "2", "2", "2"]) == 0
        found = read_manifest(out.with_suffix(".json"))
        assert found.precision == "fp16" and found.input.batch == [2, 2, 2]
        assert open_embedder(out.with_suffix(".json")).embed(unlike(3, 20, 20)).shape[0] == 3
    capsys.readouterr()
    assert main(["export", "vreid-s", "--out", str(tmp_path / "same.onnx")]) == 2
    assert "--half" in capsys.readouterr().err


# Grey networks, channels last


def test_grey_pictures_and_channels_last(tmp_path: Path) -> None:
    pictures = unlike(5, SIDE, SIDE)
    mean, std = (np.array(part, np.float32) for part in IMAGENET)
    scaled = ((np.stack(pictures)[..., ::-1] / 255 - mean) / std).astype(np.float32)  # (N, H, W, 3)
    grey = ((np.stack(pictures) @ np.array(GREY)) / 255 - mean.mean()) / std.mean()  # (N, H, W)
    turned = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "c"),
        *BODY[1:],
        node("Flatten", "p", "y"),
    ]
    one = {"w": WEIGHT[:, :1]}
    kinds: list[tuple[list[Node], dict[str, np.ndarray], tuple[int, ...], np.ndarray]] = [
        (turned, {}, (SIDE, SIDE, 3), scaled),
        (turned, one, (SIDE, SIDE, 1), grey[..., None].astype(np.float32)),
        ([*FLAT[:-1], node("Flatten", "p", "y")], one, (1, SIDE, SIDE), grey[:, None].astype(np.float32)),
    ]
    for nodes, tensors, shape, given in kinds:
        source = written(tmp_path / "a.onnx", nodes, tensors, shape=shape)
        manifest = adopted(source, tmp_path / "own.onnx", Preprocessing())
        assert (manifest.input.height, manifest.input.width) == (SIDE, SIDE)
        raw = ort.InferenceSession(source.read_bytes()).run(None, {"x": given})[0]
        found = open_embedder(tmp_path / "own.json").embed(pictures)
        np.testing.assert_allclose(found, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-4)


# What cannot be adopted says so in a sentence


def no_opset(path: Path) -> Path:
    model = onnx.load(str(written(path, FLAT)))
    del model.opset_import[:]
    path.write_bytes(model.SerializeToString())
    return path


def with_two_inputs(path: Path) -> Path:
    model = onnx.load(str(written(path, [*BODY, node("Flatten", "p", "y")])))
    model.graph.input.append(helper.make_tensor_value_info("age", TensorProto.FLOAT, ["n"]))
    path.write_bytes(model.SerializeToString())
    return path


def giving_a_sequence(path: Path) -> Path:
    model = onnx.load(str(written(path, [*BODY, node("SplitToSequence", "p", "y", axis=1)])))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    path.write_bytes(model.SerializeToString())
    return path


def of(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


def unknown_operator(path: Path) -> Path:
    return written(path, [*BODY, helper.make_node("Own", ["p"], ["y"], domain="nobody")], domains=["nobody"])


def absent(path: Path) -> Path:
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def plain(path: Path) -> Path:
    return written(path, [*BODY, node("Flatten", "p", "y")])


@pytest.mark.parametrize(
    ("make", "flags", "said"),
    [
        (no_opset, "", "not a complete ONNX file"),
        (with_two_inputs, "", "has 2 inputs"),
        (giving_a_sequence, "", "is a sequence and not a tensor"),
        (of(b""), "", "not a complete ONNX file"),
        (of(b"\x08\x0a"), "", "not a complete ONNX file"),
        (of(b"\0" * 100), "", "not a complete ONNX file"),
        (unknown_operator, "", "does not run on"),
        (absent, "", "cannot read"),
        (folder, "", "cannot read"),
        (plain, "--batch 0 8 32", "--batch is least, best, most in rising order from 1"),
        (plain, "--batch -1 1 1", "--batch is least, best, most in rising order from 1"),
        (plain, "--batch 8 4 32", "--batch is least, best, most in rising order from 1"),
        (plain, "--batch 1 8 1000000000", "--batch is least, best, most in rising order from 1 to 1024"),
        (plain, "--size 1000000 1000000", "--size is a height and a width from 1 to 4096, not 1000000 1000000"),
        (plain, "--std 0 1 1", "--std and --scale above 0"),
        (plain, "--scale 0", "--std and --scale above 0"),
        (plain, "--mean nan 0 0", "finite numbers"),
        (plain, "--size 0 16", "--size is a height and a width from 1"),
        (plain, "--size 16 17", "takes pictures of 16 x 16"),
        (plain, "--output z", "has no output z"),
        (plain, "--layout NHWC", "16 channels"),
    ],
)
def test_one_sentence(
    tmp_path: Path, make: Callable[[Path], Path], flags: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make(tmp_path / "a.onnx")
    assert main(["adopt", str(source), "--out", str(tmp_path / "own.onnx"), *flags.split()]) == 2
    text = capsys.readouterr().err
    assert said in " ".join(text.split()) and "Traceback" not in text and not list(tmp_path.glob("own*"))
