"""Engines agree with the plain one, hold what they run against the manifest, and never fall back in silence."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from vreid.deploy.device import machine
from vreid.models.errors import Refused
from vreid.models.manifest import Manifest, read_manifest, write_manifest
from vreid.runtime.embedder import open_embedder
from vreid.runtime.engines import devices
from vreid.runtime.engines.devices import ANY_RTX, Device, Driver, differences, driver, refuse_elsewhere
from vreid.runtime.engines.table import Port, refuse_ports

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)


def with_backend(model: Path, backend: str) -> Path:
    write_manifest(read_manifest(model).model_copy(update={"backend": backend}), model)
    return model


# OpenVINO


def test_openvino_embeds_as_onnxruntime_at_every_batch(tiny_model: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    plain = open_embedder(tiny_model)
    found = open_embedder(with_backend(tiny_model, "openvino"))
    for count in (1, 2, 32, 40):
        np.testing.assert_allclose(found.infer(PICTURES[:count]), plain.infer(PICTURES[:count]), atol=1e-6)


def test_openvino_computes_in_float32_on_the_threads_it_is_given(tiny_model: Path) -> None:
    """Its own choice is bfloat16 on a CPU that has it."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    engine: Any = open_embedder(with_backend(tiny_model, "openvino"), threads=2).engine
    compiled = engine._request.get_compiled_model()
    assert "float32" in str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    assert compiled.get_property("INFERENCE_NUM_THREADS") == min(2, int(machine()["cores"]))
    assert compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS") == 1


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_engine_serves_several_threads(tiny_model: Path, backend: str) -> None:
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    embedder = open_embedder(with_backend(tiny_model, backend))
    expected = embedder.infer(PICTURES)
    with ThreadPoolExecutor(8) as pool:
        for place, found in enumerate(pool.map(lambda n: embedder.infer(PICTURES[n : n + 1]), range(40))):
            np.testing.assert_allclose(found[0], expected[place], atol=1e-6)


def test_what_an_engine_gave_is_the_callers(tiny_model: Path) -> None:
    """Buffers are used again, results are not."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    engine = open_embedder(with_backend(tiny_model, "openvino")).engine
    first = engine.infer(PICTURES[:1])
    kept = first.copy()
    engine.infer(PICTURES[1:2])
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_bytes_that_were_hashed_are_the_bytes_that_run(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """The file is gone as soon as it was read once: nothing opens it by its path again."""
    pytest.importorskip(backend, reason=f"{backend} is not installed")
    plain = open_embedder(tiny_model).infer(PICTURES)
    engine, read = with_backend(tiny_model, backend).with_name("colour.onnx"), Path.read_bytes

    def read_once(path: Path) -> bytes:
        data = read(path)
        if path == engine:
            path.unlink()
        return data

    monkeypatch.setattr(Path, "read_bytes", read_once)
    found = open_embedder(tiny_model)
    assert not engine.exists()
    np.testing.assert_allclose(found.infer(PICTURES), plain, atol=1e-6)


# Providers of ONNX Runtime

GPU = [("onnxruntime_cuda", "CUDAExecutionProvider"), ("onnxruntime_tensorrt", "TensorrtExecutionProvider")]


@pytest.mark.parametrize(("backend", "provider"), GPU)
def test_a_provider_that_is_not_there_is_refused_with_the_way_to_it(
    tiny_model: Path, backend: str, provider: str
) -> None:
    if provider in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has the {provider}")
    with pytest.raises(Refused, match=f"has no {provider}: .*pip install onnxruntime-gpu"):
        open_embedder(with_backend(tiny_model, backend))


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.parametrize(("backend", "provider"), GPU)
def test_a_session_that_fell_back_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, backend: str, provider: str
) -> None:
    """As where the provider was compiled in and its CUDA libraries are not found: ONNX Runtime only warns."""
    if provider in ort.get_available_providers():
        pytest.skip(f"this ONNX Runtime has the {provider}")
    monkeypatch.setattr(ort, "get_available_providers", lambda: [provider, "CPUExecutionProvider"])
    with pytest.raises(Refused, match=f"fell back to CPUExecutionProvider since {provider}"):
        open_embedder(with_backend(tiny_model, backend))


# The contract


def port(manifest: Manifest, batch: int | None) -> tuple[Port, Port]:
    spec, out = manifest.input, manifest.output
    return Port(spec.name, "uint8", (batch, spec.height, spec.width, 3)), Port(out.name, "float32", (batch, out.dim))


def test_a_batch_may_vary_or_be_the_only_one(tiny_model: Path) -> None:
    manifest = read_manifest(tiny_model)
    rigid = manifest.model_copy(update={"input": manifest.input.model_copy(update={"batch": [4, 4, 4]})})
    for about, batch in ((manifest, None), (rigid, None), (rigid, 4)):
        given, out = port(about, batch)
        refuse_ports(about, tiny_model, [given], [out])
    for about, batch in ((manifest, 32), (rigid, 1)):
        given, out = port(about, batch)
        with pytest.raises(Refused, match=f"takes {batch} images at a time and its manifest says"):
            refuse_ports(about, tiny_model, [given], [out])


def test_nothing_more_goes_in_or_comes_out(tiny_model: Path) -> None:
    manifest = read_manifest(tiny_model)
    given, out = port(manifest, None)
    for inputs, outputs in (
        ([given, given], [out]),
        ([], [out]),
        ([given], []),
        ([given], [out, out]),
        ([out], [given]),
    ):
        with pytest.raises(Refused, match="its manifest says"):
            refuse_ports(manifest, tiny_model, inputs, outputs)


# The machine an engine was built for

HERE = {"device": "Orin", "compute_capability": "8.7", "tensorrt": "10.3.0", "driver": "12.6"}
CARD = {"device": "RTX 4090", "compute_capability": "8.9", "tensorrt_rtx": "1.7.1.116", "driver": "13.0"}
# what libcuda says of all three, and the device tree does not
ORINS = {
    "NVIDIA Jetson AGX Orin Developer Kit": 16,
    "NVIDIA Jetson Orin NX Engineering Reference Developer Kit": 8,
    "NVIDIA Jetson Orin Nano Developer Kit": 8,
}
RTX = {"onnx": "0" * 64, "device": ANY_RTX, "compute_capability": "8.6 8.9", "tensorrt_rtx": "1.7.1.116"}


def test_an_engine_is_for_one_machine() -> None:
    built = {"onnx": "0" * 64, "precision": "fp16", "profile": "1 8 32", **HERE}
    assert differences(built, HERE) == []
    for field, words in (("device", "device"), ("driver", "driver"), ("tensorrt", "TensorRT")):
        assert differences(built, {**HERE, field: "other"}) == [f"{words} {HERE[field]} and here is other"]
    assert len(differences({}, HERE)) == 4


def test_a_key_differs_between_the_orins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for libcuda and the device tree: no Jetson is here."""
    keys = {}
    for board, count in ORINS.items():
        there = Driver("12.6", (Device("Orin", "8.7", count),), board)
        monkeypatch.setattr(devices, "driver", lambda there=there: there)
        keys[board] = devices.machine_key("tensorrt", "10.3.0")
    for name, key in keys.items():
        assert [differences(key, other) == [] for other in keys.values()] == [board == name for board in ORINS]
        assert differences(key, key) == []
    nx, nano = list(keys.values())[1:]
    assert differences(nano, nx) == [f"board {nano['board']} and here is {nx['board']}"]


def test_an_engine_of_an_old_key_is_taken_where_the_name_of_the_device_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = {"onnx": "0" * 64, "device": "NVIDIA L4", "compute_capability": "8.9", "tensorrt": "10.3.0", "driver": "12.6"}
    card = Driver("12.6", (Device("NVIDIA L4", "8.9", 58),))
    monkeypatch.setattr(devices, "driver", lambda: card)
    here = devices.machine_key("tensorrt", "10.3.0")
    assert here["multiprocessors"] == "58" and differences(old, here) == []
    assert len(differences({**old, "multiprocessors": "48"}, here)) == 1
    monkeypatch.setattr(devices, "driver", lambda: Driver("12.6", (Device("Orin", "8.7", 8),), "NVIDIA Jetson Orin NX"))
    assert (
        len(
            differences(
                {**old, "device": "Orin", "compute_capability": "8.7"}, devices.machine_key("tensorrt", "10.3.0")
            )
        )
        == 2
    )


def test_an_engine_is_held_against_the_machine_as_in_cpp(root: Path) -> None:
    """tests/native/built_for_test.cpp reads the same cases."""
    for case in json.loads((root / "tests/data/built_for/cases.json").read_text()):
        found = differences(case["built"], case["here"])
        assert (found[0] if found else None) == case["differs"], case["about"]


def test_an_rtx_engine_is_for_every_card_of_its_generations() -> None:
    assert differences(RTX, CARD) == []
    assert differences(RTX, {**CARD, "device": "RTX 3060", "compute_capability": "8.6", "driver": "13.1"}) == []
    assert differences({**RTX, "compute_capability": "default"}, CARD) == []
    assert differences(RTX, {**CARD, "compute_capability": "12.0"}) == ["compute capability 8.6 8.9 and here is 12.0"]
    assert differences(RTX, {**CARD, "tensorrt_rtx": "1.8"}) == ["TensorRT for RTX 1.7.1.116 and here is 1.8"]
    assert differences(RTX, HERE) == [
        "compute capability 8.6 8.9 and here is 8.7",
        "TensorRT unknown and here is 10.3.0",
    ]


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_an_onnx_that_was_not_built_is_sent_to_build(tiny_model: Path, backend: str) -> None:
    with pytest.raises(Refused, match=f"not built for any device; run: vreid build .* --engine {backend}"):
        open_embedder(with_backend(tiny_model, backend))


@pytest.mark.skipif(bool(driver().devices), reason="this machine has an NVIDIA device")
def test_a_plan_without_a_device_is_refused(tiny_model: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    about = read_manifest(tiny_model).model_copy(update={"backend": "tensorrt_rtx", "built_for": RTX})
    write_manifest(about, tiny_model)
    with pytest.raises(Refused, match="there is no NVIDIA device here"):
        open_embedder(tiny_model)
    with pytest.raises(
        Refused, match=r"built for compute capability 8\.6 8\.9 and here is 7\.5; run vreid build again"
    ):
        refuse_elsewhere(about, tiny_model, {**CARD, "compute_capability": "7.5"})
