"""The bench tells percentiles, memory and cost of every model that runs, and the reason of every one that does not."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import torch

from vreid.deploy.bench import Result, bench, no_faster, timing_of
from vreid.deploy.bench_page import write_bench
from vreid.deploy.device import machine, memory_of, versions
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.lower import half_from
from vreid.deploy.model import open_model
from vreid.deploy.settings import ExportOptions, Turns
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.manifest import Accuracy, Cost, read_manifest, write_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.runtime.embedder import open_embedder
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import evaluate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint, its export, and a manifest whose engine was changed."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bench")
    config = NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.25})
    save_checkpoint(Checkpoint(config, ReidNetwork(config).state_dict(), {}), folder / "student.pt")
    manifest = onnx_from_checkpoint(folder / "student.pt", folder / "student.onnx", ExportOptions((1, 2, 4)))
    accuracy = Accuracy(dataset="synthetic", map=71.5, rank1=90.0, queries=20)
    write_manifest(manifest.model_copy(update={"accuracy": accuracy}), folder / "student.json")
    (folder / "changed.json").write_text((folder / "student.json").read_text().replace("student.onnx", "changed.onnx"))
    (folder / "changed.onnx").write_bytes(b"another engine")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of a test part: 6 vehicles of a colour each, from 3 cameras."""
    folder = tmp_path_factory.mktemp("coloured")
    rows = ["path,vehicle,camera"]
    for vehicle in range(6):
        for camera in range(3):
            random = np.random.default_rng((vehicle, camera))
            colour = np.random.default_rng(vehicle).integers(0, 256, 3)
            cv2.imwrite(str(folder / f"{vehicle}{camera}.png"), (random.random((40, 40, 3)) * colour).astype(np.uint8))
            rows.append(f"{vehicle}{camera}.png,{vehicle},{camera}")
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    return folder / "own.csv"


def test_percentiles_are_numpys() -> None:
    samples = list(np.random.default_rng(0).permutation(101) + 100.0)
    timing = timing_of(8, samples)
    assert (timing.min_ms, timing.p50_ms, timing.p90_ms, timing.p99_ms) == (100, 150, 190, 199)
    assert (timing.batch, timing.runs) == (8, 101)
    assert timing.spread == pytest.approx(190 / 150)
    assert timing.images_per_s == pytest.approx(8 / 0.150)


@pytest.mark.slow
def test_models_that_run_and_models_that_do_not(folder: Path) -> None:
    names = ["student.json", "changed.json", "student.pt", "absent.pt"]
    held = np.ones(
        120_000_000
    )  # 960 MB of the caller's, with which a child's ru_maxrss would begin; torch for CUDA needs 550
    lines: list[tuple[str, int, int]] = []
    results = bench(
        [str(folder / name) for name in names], Turns(1, (1, 4), 2), runs=3, report=lambda *line: lines.append(line)
    )
    assert [Path(result.model).name for result in results] == names
    lowered, changed, eager, absent = results
    assert changed.error is not None and "sha256 differs" in changed.error and not changed.timings
    assert absent.error is not None and "vreid train" in absent.error
    for result in (lowered, eager):
        assert result.error is None
        assert [(timing.batch, timing.runs) for timing in result.timings] == [(1, 6), (4, 6)]
        for timing in result.timings:
            assert 0 < timing.min_ms <= timing.p50_ms <= timing.p90_ms <= timing.p99_ms
        assert result.memory_bytes is not None and 1e6 < result.memory_bytes < held.nbytes
    assert lowered.accuracy is not None and lowered.accuracy.map == 71.5 and eager.accuracy is None
    assert (lowered.backend, eager.backend) == ("onnxruntime", "torch")
    assert lowered.cost == eager.cost == read_manifest(folder / "student.json").cost
    assert lowered.file_bytes == (folder / "student.onnx").stat().st_size
    assert len(lines) == len(names) + 2 * 2
    assert all(0 <= done < total == 3 * len(names) for _, done, total in lines)


@pytest.mark.slow
def test_accuracy_cosine_and_peak_are_measured_in_the_same_run(folder: Path, pictures: Path) -> None:
    names = ["student.pt", "student.json", "half.json", "changed.json"]
    half_from(folder / "student.json", folder / "half.onnx")
    data = read_dataset(pictures)
    results = bench([str(folder / name) for name in names], Turns(1, (1, 2), 2), runs=3, data=data)
    eager, lowered, half, changed = results
    expected = evaluate(data, open_embedder(folder / "student.json").embed)
    assert lowered.accuracy is not None and lowered.accuracy.queries == expected.queries
    assert lowered.accuracy.map == pytest.approx(expected.map, abs=0.01)
    assert eager.cosine_min == pytest.approx(1) and lowered.cosine_min == pytest.approx(1, abs=1e-5)
    assert half.cosine_mean is not None and 0.999 < half.cosine_mean < 1 and half.precision == "fp16"
    assert changed.cosine_mean is None and changed.load_ms is None and changed.error is not None
    for result in (eager, lowered, half):
        assert result.load_ms is not None and result.load_ms > result.timings[0].min_ms
        for timing in result.timings:
            assert timing.peak_share is not None and 0 < timing.peak_share < 3
            assert len(timing.samples) == timing.runs and timing.p50_ms == pytest.approx(
                np.median(timing.samples), 1e-3
            )
    about = {"machine": machine(), "versions": versions(), "threads": 1}
    json_file, markdown, page = write_bench(results, about, folder / "out")
    assert [model["name"] for model in json.loads(json_file.read_text())["models"]] == [
        "student",
        "student",
        "half",
        None,
    ]
    assert markdown.read_text().count("| student |") == 2 and "sha256 differs" in markdown.read_text()
    drawn = page.read_text()
    assert drawn.count("<svg") == 3 and "changed.json" in drawn and "<script" not in drawn


def test_fewer_macs_that_are_not_faster_are_reported() -> None:
    timing = timing_of(1, [10.0])
    wide = Result("a", "wide", "onnxruntime", "fp32", Cost(params=1, macs=1000, flops=2000), timings=(timing,))
    slow = replace(wide, name="slow", cost=Cost(params=1, macs=400, flops=800), timings=(timing_of(1, [8.0]),))
    fast = replace(slow, name="fast", timings=(timing_of(1, [5.0]),))
    other = replace(slow, name="elsewhere", backend="openvino")
    (said,) = no_faster([wide, slow, fast, other, Result("b", error="broken")])
    assert said.startswith("slow has 60% fewer MACs than wide and is 20% faster")


def test_a_checkpoint_and_its_export_embed_alike(folder: Path) -> None:
    eager, lowered = (open_model(str(folder / name), 1) for name in ("student.pt", "student.json"))
    pictures = lowered.noise(3)
    assert [picture.shape for picture in pictures] == [(32, 32, 3)] * 3
    np.testing.assert_allclose(eager.embed(pictures), lowered.embed(pictures), atol=1e-4)


def test_a_batch_over_the_manifests_is_a_reason(folder: Path) -> None:
    (result,) = bench([str(folder / "student.json")], Turns(batches=(1, 5), rounds=1), runs=1)
    assert result.error is not None and "at most 4 images" in result.error


def test_memory_of_a_model_that_fails_is_refused_with_its_reason(folder: Path) -> None:
    with pytest.raises(Refused, match="sha256 differs"):
        memory_of(str(folder / "changed.json"), 1, 1)


@pytest.mark.parametrize("wrong", [Turns(threads=0), Turns(batches=(0,)), Turns(batches=()), Turns(rounds=0), None])
def test_numbers_that_make_no_sense_are_refused(folder: Path, wrong: Turns | None) -> None:
    models = [] if wrong is None else [str(folder / "student.json")]
    with pytest.raises(Refused, match="bench needs a model"):
        bench(models, wrong or Turns())


def test_the_machine_has_a_name_and_cores() -> None:
    here = machine()
    assert here["cpu"] and int(here["cores"]) >= 1 and str(here["python"]).startswith("3.")
