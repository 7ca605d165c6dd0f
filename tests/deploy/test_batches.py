"""An engine that is right at one batch size and wrong at another is caught with the batch; sound ones are not, in any precision."""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
from onnx import TensorProto, helper, numpy_helper

from vreid.cli.main import main
from vreid.deploy.compare import MOVED, batch_runs, moved_reasons, spread_places
from vreid.deploy.model import open_lowered
from vreid.deploy.precision import precision_of, shares_in
from vreid.deploy.settings import Bounds
from vreid.deploy.verify import verify
from vreid.models.files import sha256_of
from vreid.models.manifest import read_manifest, write_manifest
from vreid.train.data.table import read_dataset

Graph = onnx.ModelProto
PICTURES = [np.asarray(one) for one in np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3)).astype(np.uint8)]


def tensors(graph: Graph, **values: np.ndarray) -> None:
    graph.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in values.items())


def at_size(graph: Graph, size: int, value: str) -> list[onnx.NodeProto]:
    """`embedding` is `value` where the batch has that size, else what it was."""
    tensors(graph, size=np.int64(size))
    return [
        helper.make_node("Shape", ["was"], ["shape"], end=1),
        helper.make_node("Squeeze", ["shape"], ["count"]),
        helper.make_node("Equal", ["count", "size"], ["is"]),
        helper.make_node("Where", ["is", value, "was"], ["embedding"]),
    ]


def nan_at(size: int) -> Callable[[Graph], list[onnx.NodeProto]]:
    def change(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, nan=np.float32(np.nan))
        return [helper.make_node("Mul", ["was", "nan"], ["bad"]), *at_size(graph, size, "bad")]

    return change


def turned_at(size: int) -> Callable[[Graph], list[onnx.NodeProto]]:
    def change(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, order=np.array([1, 2, 0]))
        return [helper.make_node("Gather", ["was", "order"], ["bad"], axis=1), *at_size(graph, size, "bad")]

    return change


def first_picture_at(size: int) -> Callable[[Graph], list[onnx.NodeProto]]:
    """The whole batch gets the embedding of its first picture."""

    def change(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, zero=np.array([0]))
        nodes = [
            helper.make_node("Gather", ["was", "zero"], ["first"], axis=0),
            helper.make_node("Shape", ["was"], ["whole"]),
            helper.make_node("Expand", ["first", "whole"], ["bad"]),
        ]
        return [*nodes, *at_size(graph, size, "bad")]

    return change


def with_batch_mean(share: float) -> Callable[[Graph], list[onnx.NodeProto]]:
    """Every embedding less a share of the batch's mean, at length one again."""

    def change(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, share=np.float32(share), axes=np.array([0]))
        return [
            helper.make_node("ReduceMean", ["was"], ["mean_of"], axes=[0], keepdims=1),
            helper.make_node("Mul", ["mean_of", "share"], ["part"]),
            helper.make_node("Sub", ["was", "part"], ["less"]),
            helper.make_node("LpNormalization", ["less"], ["embedding"], axis=1, p=2),
        ]

    return change


def with_noise(graph: Graph) -> list[onnx.NodeProto]:
    return [
        helper.make_node("RandomNormalLike", ["was"], ["noise"], scale=0.1),
        helper.make_node("Add", ["was", "noise"], ["less"]),
        helper.make_node("LpNormalization", ["less"], ["embedding"], axis=1, p=2),
    ]


def changed(
    model: Path, change: Callable[[Graph], list[onnx.NodeProto]], name: str = "changed", **about: object
) -> Path:
    graph = onnx.load(str(model.with_suffix(".onnx")))
    for node in graph.graph.node:
        node.output[:] = ["was" if one == "embedding" else one for one in node.output]
    graph.graph.node.extend(change(graph))
    onnx.checker.check_model(graph)
    path = model.with_name(f"{name}.json")
    onnx.save(graph, str(path.with_suffix(".onnx")))
    update = {"name": name, "engine": f"{name}.onnx", "sha256": sha256_of(path.with_suffix(".onnx")), **about}
    write_manifest(read_manifest(model).model_copy(update=update), path)
    return path


FAULTS: dict[str, tuple[Callable[[Graph], list[onnx.NodeProto]], str]] = {
    "NaN at 1": (nan_at(1), "batch 1,"),
    "NaN at 8": (nan_at(8), "batch 8,"),
    "NaN at 32": (nan_at(32), "batch 32,"),
    "NaN at 5": (nan_at(5), "batch 5,"),
    "turned at 1": (turned_at(1), "batch 1,"),
    "turned at 8": (turned_at(8), "batch 8,"),
    "turned at 31": (turned_at(31), "batch 31,"),
    "the first picture at 8": (first_picture_at(8), "batch 8,"),
    "a mean over the batch": (with_batch_mean(0.5), "batch 8,"),
    "a little of a mean over the batch": (with_batch_mean(0.02), "another order of the pictures"),
    "noise": (with_noise, "a second time"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_moves_is_reported_with_the_batch(tiny_model: Path, name: str) -> None:
    change, said = FAULTS[name]
    model = open_lowered(changed(tiny_model, change), finite=False)
    reference = open_lowered(tiny_model, finite=False).embed(PICTURES)
    ways = batch_runs(model.embed, PICTURES, model.manifest, reference)
    assert any(said in f"{way.name}," for way in ways if not way.sound), ways
    reasons = moved_reasons(ways)
    assert 0 < len(reasons) <= 4 and all(reason.startswith("at ") for reason in reasons)
    if " at " in name:  # and of no other batch is anything said
        assert reasons[0].startswith(f"at batch {name.split()[-1]},")
        assert len(reasons) <= 3


@pytest.mark.parametrize("batch", [[1, 8, 32], [1, 1, 1], [4, 4, 4], [1, 2, 100], [3, 5, 7]])
def test_a_sound_engine_is_sound_at_every_batch(tiny_model: Path, batch: list[int]) -> None:
    manifest = read_manifest(tiny_model)
    write_manifest(
        manifest.model_copy(update={"input": manifest.input.model_copy(update={"batch": batch})}), tiny_model
    )
    model = open_lowered(tiny_model, finite=False)
    ways = batch_runs(model.embed, PICTURES, model.manifest, model.embed(PICTURES))
    assert moved_reasons(ways) == [] and {way.name for way in ways} >= {f"batch {size}" for size in {1, *batch}}


def test_pictures_are_drawn_over_the_whole_set(tiny_model: Path) -> None:
    about = read_manifest(tiny_model)
    assert spread_places(10, about) == list(range(10))
    assert len(spread_places(10_000, about)) == 64 and spread_places(10_000, about)[-1] == 9_999


def colours(folder: Path) -> Path:
    """30 vehicles of one colour each, under two cameras."""
    folder.mkdir()
    random, rows = np.random.default_rng(0), ["path,vehicle,camera"]
    for vehicle, colour in enumerate(random.integers(0, 256, (30, 3))):
        for camera in "ab":
            name = f"{vehicle}{camera}.png"
            noise = random.integers(-8, 9, (8, 8, 3))
            cv2.imwrite(str(folder / name), np.clip(colour + noise, 0, 255).astype(np.uint8))
            rows.append(f"{name},{vehicle},{camera}")
    (folder / "colours.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("change", [nan_at(1), turned_at(8), with_batch_mean(0.5)])
def test_the_gate_fails_it_and_says_the_batch(
    tiny_model: Path,
    tmp_path: Path,
    change: Callable[[Graph], list[onnx.NodeProto]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, path = colours(tmp_path / "data"), changed(tiny_model, change)
    words = ["--against", str(tiny_model), "--data", str(data), "--json"]
    assert main(["verify", str(path), *words]) == 1
    found = json.loads(capsys.readouterr().out)
    assert any(reason.startswith(("at batch 1,", "at batch 8,")) for reason in found["reasons"])
    assert main(["verify", str(tiny_model), *words, "--dry-run"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cross_map"] == found["after"]["map"] and found["shares"] == {"fp32": 1.0, "fp16": 0.0, "int8": 0.0}
    assert len(found["ways"]) >= 34 and not any(way["moved"] for way in found["ways"])


def with_constant_batch(size: int, reshape: bool = True) -> Callable[[Graph], list[onnx.NodeProto]]:
    """A batch that the exporter wrote as a constant: into a Reshape, which fails at all other sizes, or as the number of rows
    that come out, which are too few above."""

    def change(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, shape=np.array([size, 3]), zero=np.int64(0), one=np.int64(1), size=np.int64(size))
        nodes = [
            helper.make_node("Reshape" if reshape else "Identity", ["was", "shape"][: 1 + reshape], ["all"]),
            helper.make_node("Shape", ["was"], ["length"], end=1),
            helper.make_node("Squeeze", ["length"], ["count"]),
            helper.make_node("Mul", ["count", "one" if reshape else "zero"], ["varying"]),
            helper.make_node("Add", ["varying", "zero" if reshape else "size"], ["end"]),
            helper.make_node("Range", ["zero", "end", "one"], ["rows"]),
        ]
        return [*nodes, helper.make_node("Gather", ["all", "rows"], ["embedding"], axis=0)]  # hides the constant

    return change


@pytest.mark.parametrize(
    ("change", "batch", "said", "runs"),
    [
        (with_constant_batch(8), [1, 8, 32], "at batch 1, 2, 3, 4, 5, 6, 7, 9 and 23 other sizes, the engine", 8),
        (with_constant_batch(32), [1, 8, 32], "at batch 1, 2, 3, 4, 5, 6, 7, 8 and 23 other sizes, the engine", 32),
        (with_constant_batch(1), [1, 4, 4], "at batch 2, 3, 4, the engine cannot run", 1),
        (with_constant_batch(7), [1, 4, 4], "at batch 1, 2, 3, 4, the engine cannot run", 0),
    ],
)
def test_a_batch_that_the_engine_cannot_run_is_a_reason_that_names_it(
    tiny_model: Path,
    tmp_path: Path,
    change: Callable[[Graph], list[onnx.NodeProto]],
    batch: list[int],
    said: str,
    runs: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = read_manifest(tiny_model).input.model_copy(update={"batch": batch})
    data, path = colours(tmp_path / "data"), changed(tiny_model, change, input=given)
    before = path.read_bytes()
    words = ["--data", str(data), "--json", "--report", str(tmp_path / "page.html")]
    assert main(["verify", str(path), "--against", str(tiny_model), *words]) == 1
    found = json.loads(capsys.readouterr().out)
    (reason,) = (reason for reason in found["reasons"] if "cannot run" in reason)
    assert reason.startswith(said) and f"the manifest promises {batch[0]} to {batch[2]}" in reason
    assert not any("NaN" in reason for reason in found["reasons"]), found["reasons"]
    for way in found["ways"]:
        assert way["no_numbers"] == way["moved"] == 0
        assert way["not_run"] < way["pictures"] if f"batch {runs}" in way["name"] else way["not_run"] > 0, way
    assert path.read_bytes() == before and "cannot run" in (tmp_path / "page.html").read_text()
    assert main(["verify", str(tiny_model), "--against", str(path), *words]) == 2  # no reference for anything
    assert "run" in capsys.readouterr().err


def test_too_few_rows_are_a_failed_run(tiny_model: Path) -> None:
    failures: dict[int, str] = {}
    model = open_lowered(changed(tiny_model, with_constant_batch(2, reshape=False)), 1, False, failures)
    assert np.isfinite(model.embed(PICTURES[:2])).all() and not failures
    assert np.isposinf(model.embed(PICTURES[:3])).all() and failures == {3: "the engine gave (2, 3) and not (3, 3)"}


def test_the_cross_figure_is_of_the_old_gallery(tiny_model: Path, tmp_path: Path) -> None:
    """A candidate that turns every embedding the same way retrieves as well by itself, and not in the gallery of before."""

    def turn(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, order=np.array([1, 2, 0]))
        return [helper.make_node("Gather", ["was", "order"], ["embedding"], axis=1)]

    data = read_dataset(colours(tmp_path / "data"))
    verification = verify(changed(tiny_model, turn), str(tiny_model), data, Bounds())
    assert verification.after.map == pytest.approx(verification.before.map) and verification.cross_map is not None
    assert verification.cross_map < 0.5 * verification.after.map


# Shares of the MACs


def convolutions(count: int, wide: tuple[int, ...] = ()) -> Graph:
    """`count` convolutions of 4 channels 3 x 3 in a row, and 1 x 1 where not `wide`."""
    graph = helper.make_graph(
        [
            helper.make_node("Conv", [f"x{n}", f"w{n}"], [f"x{n + 1}"], f"conv{n}", auto_pad="SAME_UPPER")
            for n in range(count)
        ],
        "row",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [helper.make_tensor_value_info(f"x{count}", TensorProto.FLOAT, ["n", 4, 8, 8])],
        [
            numpy_helper.from_array(np.ones((4, 4, *((3, 3) if n in wide else (1, 1))), np.float32), f"w{n}")
            for n in range(count)
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def in_int8(model: Graph, which: tuple[int, ...]) -> Graph:
    """Those convolutions between Q/DQ."""
    tensors(model, s=np.float32(0.1), z=np.int8(0))
    nodes = []
    for node in model.graph.node:
        if int(node.name[4:]) in which:
            for place, name in enumerate(node.input[:2]):
                nodes.append(helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"]))
                nodes.append(helper.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"]))
                node.input[place] = f"{name}d"
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize(
    ("model", "share", "precision"),
    [
        (in_int8(convolutions(50), (7,)), 0.02, "fp32"),
        (in_int8(convolutions(50), tuple(range(26))), 0.52, "int8"),
        (in_int8(convolutions(50), tuple(range(50))), 1.0, "int8"),
        (in_int8(convolutions(10, wide=(3,)), (3,)), 0.5, "int8"),  # one layer of ten, and half of the work
        (in_int8(convolutions(10, wide=(3,)), (0, 1, 2, 4, 5, 6, 7, 8)), 8 / 18, "fp32"),
    ],
)
def test_a_claim_is_judged_by_shares_of_the_macs(model: Graph, share: float, precision: str) -> None:
    found = shares_in(model.SerializeToString(), Path("a.onnx"))
    assert found["int8"] == pytest.approx(share) and sum(found.values()) == pytest.approx(1)
    assert precision_of(found) == precision


def test_the_gate_fails_a_claim_that_holds_for_one_layer(tiny_model: Path, tmp_path: Path) -> None:
    def with_layers(graph: Graph) -> list[onnx.NodeProto]:
        tensors(graph, eye=np.eye(3, dtype=np.float32), s=np.float32(1 / 127), z=np.int8(0))
        nodes = [helper.make_node("MatMul", ["was", "eye"], ["a0"])]
        nodes += [helper.make_node("MatMul", [f"a{n}", "eye"], [f"a{n + 1}"]) for n in range(4)]
        nodes += [helper.make_node("QuantizeLinear", [name, "s", "z"], [f"{name}q"]) for name in ("a4", "eye")]
        nodes += [helper.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [f"{name}d"]) for name in ("a4", "eye")]
        nodes += [helper.make_node("MatMul", ["a4d", "eyed"], ["a5"])]
        return [*nodes, helper.make_node("LpNormalization", ["a5"], ["embedding"], axis=1, p=2)]

    data = read_dataset(colours(tmp_path / "data"))
    verification = verify(
        changed(tiny_model, with_layers, precision="int8"), str(tiny_model), data, Bounds(max_map_loss=100)
    )
    (reason,) = verification.reasons
    assert "claims int8 and the ONNX computes in fp32 (83.3 % fp32, 16.7 % int8 of the MACs)" in reason
    assert verification.shares is not None and verification.shares["int8"] == pytest.approx(1 / 6)


def test_bounds_of_moving_widen_with_the_rounding() -> None:
    assert MOVED["fp32"] < MOVED["fp16"] < MOVED["int8"] < 0.1
