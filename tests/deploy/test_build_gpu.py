"""On a machine with an NVIDIA device: engines are built for it, agree with ONNX Runtime, and say how fast they are."""

import time
from pathlib import Path

import numpy as np
import pytest

from vreid.deploy.build.engine import engine_from_onnx
from vreid.deploy.settings import BuildOptions
from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest, write_manifest
from vreid.models.zoo import manifest_path
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.engines.devices import driver

pytestmark = pytest.mark.gpu
ENGINES = ("onnxruntime", "onnxruntime_cuda", "onnxruntime_tensorrt", "tensorrt", "tensorrt_rtx")
BATCHES = (1, 8)
WARM_UP, RUNS = 10, 50


def p50_ms(embedder: Embedder, batch: int) -> float:
    """Of whole calls: copies to the device and back and the wait for them are in it."""
    spec = embedder.manifest.input
    pixels = np.random.default_rng(0).integers(0, 256, (batch, spec.height, spec.width, 3)).astype(np.uint8)
    times = []
    for turn in range(WARM_UP + RUNS):
        start = time.perf_counter()
        embedder.engine.infer(pixels)
        if turn >= WARM_UP:
            times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))


def test_engines_of_this_device_agree_and_are_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = manifest_path("vreid-s")
    plain = open_embedder(source)
    spec = plain.manifest.input
    pictures = np.random.default_rng(1).integers(0, 256, (40, spec.height, spec.width, 3)).astype(np.uint8)
    expected = plain.infer(pictures)
    rows, ran = [], 0
    for engine in ENGINES:
        try:
            built = engine_from_onnx(
                source, engine, tmp_path / f"{engine}.json", BuildOptions(cache=tmp_path / "cache")
            )
            embedder = open_embedder(built.path)
        except Refused as refused:
            rows.append(f"{engine:<22} refused: {refused}")
            continue
        cosine = float((embedder.infer(pictures) * expected).sum(1).min())
        times = " ".join(f"{p50_ms(embedder, batch):9.3f}" for batch in BATCHES)
        rows.append(f"{engine:<22}{times}   {cosine:.6f}")
        assert cosine > 0.999, rows[-1]
        ran += engine != "onnxruntime"
    with capsys.disabled():
        print(f"\n{driver().devices[0].name}, {plain.manifest.name} {plain.manifest.precision}")
        print(f"{'engine':<22}{'p50 ms of 1':>9} {'of 8':>7}   least cosine to onnxruntime")
        print("\n".join(rows))
    if not ran:
        pytest.skip("; ".join(rows))


@pytest.mark.parametrize("engine", ["tensorrt", "tensorrt_rtx"])
def test_an_engine_of_another_device_is_refused_here(tmp_path: Path, engine: str) -> None:
    try:
        built = engine_from_onnx(manifest_path("vreid-s"), engine, tmp_path / "built.json")
        open_embedder(built.path)
    except Refused as refused:
        pytest.skip(str(refused))
    assert not engine_from_onnx(manifest_path("vreid-s"), engine, tmp_path / "built.json").fresh
    about = read_manifest(built.path)
    elsewhere = {**(about.built_for or {}), "compute_capability": "1.0"}
    write_manifest(about.model_copy(update={"built_for": elsewhere}), built.path)
    with pytest.raises(Refused, match=r"compute capability 1\.0 and here is"):
        open_embedder(built.path)
