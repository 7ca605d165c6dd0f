"""The embedder in two languages: the same pixels to the bit, the same features on the same engine, the same refusals."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Cost, Input, Manifest, Output, read_manifest, read_model, write_manifest
from vreid.models.picture import read_picture
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.engines.table import open_engine

Built = Callable[[str], Path]  # see conftest.py
ENGINES = ("openvino", "onnxruntime")
SIZES = ((1, 1), (7, 300), (64, 64), (32, 33), (31, 90), (160, 160), (200, 150), (360, 640), (255, 17))


def json_of(program: Path, *words: str | Path) -> Any:
    """The JSON document of a run that succeeds."""
    done = subprocess.run([program, *words, "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(program: Path, *words: str | Path) -> str:
    """The sentence of a run that is refused: exit code 2, one line, nothing on stdout."""
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    return done.stderr


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Pictures of many sizes, with structure and noise."""
    paths, rng = [], np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        paths.append(tmp_path / f"{number}.png")
        coarse = rng.integers(0, 256, (1 + height // 9, 1 + width // 9, 3)).astype(np.uint8)
        fine = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
        cv2.imwrite(str(paths[-1]), cv2.addWeighted(cv2.resize(coarse, (width, height)), 0.8, fine, 1.0, 0))
    return paths


def on(engine: str, program: Path) -> str:
    """`engine`, if both languages have it here."""
    pytest.importorskip(engine)
    model = program_model()
    if engine not in json_of(program, "info", model)["engines"]:
        pytest.skip(f"vreid-native was built without the engine {engine}")
    return engine


def program_model() -> Path:
    """The bundled student."""
    return Path(__file__).resolve().parents[2] / "models" / "zoo" / "vreid-s.json"


def features(program: Path, model: Path, engine: str, pictures: list[Path]) -> Any:
    found = json_of(program, "embed", model, "--engine", engine, *pictures)
    assert [one["picture"] for one in found["features"]] == [str(path) for path in pictures]
    return np.array([one["feature"] for one in found["features"]], np.float32)


def python_embedder(model: Path, engine: str) -> Embedder:
    manifest, file = read_model(model)
    manifest = manifest.model_copy(update={"backend": engine})
    return Embedder(manifest, open_engine(manifest, file, 1))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_student_gives_the_same_features(built: Built, engine: str, pictures: list[Path]) -> None:
    program, model = built("vreid-native"), program_model()
    by_python = python_embedder(model, on(engine, program)).embed([read_picture(path) for path in pictures])
    by_native = features(program, model, engine, pictures)
    np.testing.assert_allclose(by_native, by_python, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("side", [8, 32])
def test_every_pixel_is_the_same_to_the_bit(
    built: Built, engine: str, side: int, pictures: list[Path], tmp_path: Path
) -> None:
    """The features of this model are its pixels: one level of one of them would move its feature by far more than 1e-6."""
    onnx = pytest.importorskip("onnx")
    make, kind, program = onnx.helper, onnx.TensorProto, built("vreid-native")
    nodes = [
        make.make_node("Cast", ["images"], ["float"], to=kind.FLOAT),
        make.make_node("Flatten", ["float"], ["flat"], axis=1),
        make.make_node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2),
    ]
    dim = 3 * side * side
    taken = make.make_tensor_value_info("images", kind.UINT8, ["batch", side, side, 3])
    given = make.make_tensor_value_info("embedding", kind.FLOAT, ["batch", dim])
    graph = make.make_graph(nodes, "pixels", [taken], [given])
    file = tmp_path / "pixels.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), file)
    manifest = Manifest(
        name="pixels", engine=file.name, sha256=sha256_of(file), backend=engine, precision="fp32",
        input=Input(height=side, width=side, batch=[1, 4, 4]), output=Output(dim=dim),
        cost=Cost(params=0, macs=0, flops=0), accuracy=None, match=None, fingerprint="pixels-1", built_for=None,
        made_from=None,
    )  # fmt: skip
    write_manifest(manifest, tmp_path / "pixels.json")
    by_python = open_embedder(tmp_path / "pixels.json").embed([read_picture(path) for path in pictures])
    by_native = features(program, tmp_path / "pixels.json", on(engine, program), pictures)
    np.testing.assert_allclose(by_native, by_python, atol=1e-6)


def test_codes_without_an_exact_kernel_are_run_all_the_same(built: Built, pictures: list[Path], tmp_path: Path) -> None:
    """ONNX Runtime 1.32 has no kernel of QLinearConv on int8 for `session.x64quantprecision`; both languages try without."""
    onnx = pytest.importorskip("onnx")
    make, kind, stored = onnx.helper, onnx.TensorProto, onnx.numpy_helper.from_array
    program = built("vreid-native")
    engine = on("onnxruntime", program)
    weights = np.random.default_rng(3).integers(-20, 21, (8, 3, 3, 3)).astype(np.int8)  # small: no sum overflows
    tensors = {"w": weights, "one": np.float32(2), "step": np.float32(64), "zero": np.int8(0), "half": np.float32(128)}
    nodes = [
        make.make_node("Cast", ["images"], ["float"], to=kind.FLOAT),
        make.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        make.make_node("Sub", ["planes", "half"], ["x"]),
        make.make_node("QuantizeLinear", ["x", "one", "zero"], ["x8"]),
        make.make_node("QLinearConv", ["x8", "one", "zero", "w", "one", "zero", "step", "zero"], ["y8"]),
        make.make_node("DequantizeLinear", ["y8", "step", "zero"], ["y"]),
        make.make_node("Flatten", ["y"], ["flat"], axis=1),
        make.make_node("LpNormalization", ["flat"], ["embedding"], axis=1, p=2),
    ]
    taken = make.make_tensor_value_info("images", kind.UINT8, ["batch", 6, 6, 3])
    given = make.make_tensor_value_info("embedding", kind.FLOAT, ["batch", 128])
    graph = make.make_graph(nodes, "codes", [taken], [given], [stored(np.array(v), k) for k, v in tensors.items()])
    file = tmp_path / "codes.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), file)
    manifest = Manifest(
        name="codes", engine=file.name, sha256=sha256_of(file), backend=engine, precision="int8",
        input=Input(height=6, width=6, batch=[1, 4, 4]), output=Output(dim=128),
        cost=Cost(params=0, macs=0, flops=0), accuracy=None, match=None, fingerprint="codes-in-int8", built_for=None,
        made_from=None,
    )  # fmt: skip
    write_manifest(manifest, tmp_path / "codes.json")
    by_python = open_embedder(tmp_path / "codes.json").embed([read_picture(path) for path in pictures])
    by_native = features(program, tmp_path / "codes.json", engine, pictures)
    np.testing.assert_allclose(by_native, by_python, atol=1e-6)


def test_info_prints_the_manifest(built: Built, root: Path) -> None:
    path = root / "tests" / "data" / "manifests" / "full.json"
    found = json_of(built("vreid-native"), "info", path)["manifest"]
    manifest = read_manifest(path).model_dump()
    for field in ("name", "engine", "sha256", "backend", "precision", "cost", "accuracy", "match", "calibration",
                  "fingerprint", "built_for", "made_from"):  # fmt: skip
        assert found[field] == manifest[field], field
    assert found["input"]["batch"] == manifest["input"]["batch"] and found["output"]["dim"] == manifest["output"]["dim"]


def test_bench_has_the_fields_of_the_python_bench(built: Built, root: Path) -> None:
    program = built("vreid-native")
    engine = next(one for one in json_of(program, "info", program_model())["engines"] if one != "tensorrt")
    model = root / "tests" / "data" / "colour" / "colour.json"
    found = json_of(program, "bench", model, "--engine", engine, "--runs", "3", "--batches", "1", "4")
    assert found["name"] == "colour" and found["load_ms"] > 0 and found["memory_bytes"] > 0
    assert [one["batch"] for one in found["timings"]] == [1, 4]
    for one in (*found["timings"], found["preprocess"]["bgr"], found["preprocess"]["nv12"]):
        assert one["min_ms"] <= one["p50_ms"] <= one["p90_ms"] <= one["p99_ms"] and one["images_per_s"] > 0


def same_sentence(program: Path, path: Path) -> str:
    """What the program says of a picture that Python refuses; the two sentences are one."""
    with pytest.raises(Refused) as by_python:
        read_picture(path)
    model = Path(__file__).resolve().parents[1] / "data" / "colour" / "colour.json"  # which every engine runs
    engine = next(one for one in json_of(program, "info", model)["engines"] if one != "tensorrt")
    by_native = refusal(program, "embed", model, "--engine", engine, path)
    assert by_native == f"vreid-native: {by_python.value}\n"
    return by_native


def test_pictures_are_refused_in_the_same_words(built: Built, tmp_path: Path) -> None:
    program, picture = built("vreid-native"), np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    assert "No such file" in same_sentence(program, tmp_path / "absent.png")
    assert "Is a directory" in same_sentence(program, tmp_path)
    for kind in (".jpg", ".png"):
        whole = cv2.imencode(kind, picture)[1].tobytes()
        (tmp_path / f"cut{kind}").write_bytes(whole[: len(whole) // 2])
        assert "cut short" in same_sentence(program, tmp_path / f"cut{kind}")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "words.png").write_bytes(b"no picture at all")
    for name in ("empty.png", "words.png"):
        assert "picture" in same_sentence(program, tmp_path / name)


def test_wrong_requests_are_one_sentence(built: Built, tmp_path: Path) -> None:
    program, model = built("vreid-native"), program_model()
    assert "there is no manifest" in refusal(program, "info", tmp_path / "absent.json")
    assert "bare engine" in refusal(program, "info", model.with_suffix(".onnx"))
    assert "--engine" in refusal(program, "embed", model, tmp_path / "a.png", "--engine", "abacus")
    assert "--help" in refusal(program, "embed")
    assert "--help" in refusal(program, "juggle")
    for text in ("0", "-3", "1025", str(10**23), "-" + "9" * 400):
        said = refusal(program, "embed", model, tmp_path / "a.png", f"--threads={text}")
        assert f"--threads must be at least 1 and at most 1024, not {text[:60]}" in said
    for text in ("10**23", "2.5", "0x10", "two"):
        said = refusal(program, "embed", model, tmp_path / "a.png", f"--threads={text}")
        assert f"--threads must be a whole number, not '{text}'" in said
    for flag in ("--runs", "--batches"):
        said = refusal(program, "bench", model, f"{flag}={10**23}")
        assert f"{flag} must be at least 1 and at most " in said
    said = refusal(program, "search", "--model", model, "--gallery", tmp_path / "g.db", f"--k={10**23}")
    assert f"--k must be at least 1 and at most 999999999999999999, not {10**23}" in said
    assert "--runs must be at least 1" in refusal(program, "bench", model, "--runs", "0")
