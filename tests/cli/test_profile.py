"""`vreid profile` and `vreid bench` say one JSON document on stdout, tables on stderr, and the right exit code."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import torch

from vreid.cli.main import main
from vreid.deploy.export import onnx_from_checkpoint
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.network import NetworkConfig, ReidNetwork


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint and its export."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("profile")
    config = NetworkConfig("resnet18", 32, 32, 16, classes=7, options={"scale": 0.25})
    save_checkpoint(Checkpoint(config, ReidNetwork(config).state_dict(), {}), folder / "student.pt")
    onnx_from_checkpoint(folder / "student.pt", folder / "student.onnx")
    return folder


def test_a_checkpoint_and_its_export_have_the_same_macs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {}
    for name in ("student.pt", "student.json"):
        assert main(["profile", str(folder / name), "--json"]) == 0
        said[name] = json.loads(capsys.readouterr().out)
    eager, lowered = said["student.pt"], said["student.json"]
    for document in (eager, lowered):
        assert document["flops"] == 2 * document["macs"]
        for word in ("params", "macs", "flops"):
            assert document[word] == sum(layer[word] for layer in document["layers"])
        assert set(document["layers"][0]) == {"name", "kind", "shape", "params", "macs", "flops"}
    assert eager["macs"] == lowered["macs"] == json.loads((folder / "student.json").read_text())["cost"]["macs"]
    assert lowered["params"] < eager["params"]  # batch norms are folded
    assert eager["layers"][-1]["shape"] == [16]


def test_the_table_is_for_people(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(folder / "student.pt")]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    for word in ("params", "MACs", "FLOPs", "% of MACs", "total", "body.layer4.1.conv2"):
        assert word in shown


def test_it_says_why_the_manifest_counts_other_parameters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(folder / "student.json")]) == 0
    counted = json.loads((folder / "student.json").read_text())["cost"]["params"]
    assert f"the manifest counts {counted:,}, those of the network before its batch norms" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["absent.pt", "absent.json", "student.onnx", "nobody"])
def test_what_is_no_model_is_refused_in_a_sentence(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(folder / name)]) == 2
    out, shown = capsys.readouterr()
    assert out == "" and shown.startswith("vreid: ") and "Traceback" not in shown


def test_bench_says_one_document(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", str(folder / "student.json"), "--rounds", "1", "--batches", "1", "2", "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) == {"machine", "versions", "threads", "models", "warnings"}
    (model,) = said["models"]
    assert model["error"] is None and [timing["batch"] for timing in model["timings"]] == [1, 2]
    assert model["flops"] == 2 * model["macs"] > 0 and model["memory_bytes"] > 0 and model["accuracy"] is None


def test_bench_shows_a_failed_model_and_its_reason(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", str(folder / "absent.json"), "nobody"]
    assert main(words) == 1
    out, shown = capsys.readouterr()
    assert out.count("❌") == 2 and "there is no manifest" in shown and "bundled name" in shown
    assert main([*words, "--json"]) == 1
    assert [model["timings"] for model in json.loads(capsys.readouterr().out)["models"]] == [[], []]
