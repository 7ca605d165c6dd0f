"""vreid get: the list, the cache of models, files that were brought, and a detector by the name of a public model."""

import json
from pathlib import Path

import pytest

from vreid.cli.main import main


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vreid" / "models"


def test_without_a_name_it_lists_what_there_is(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get"]) == 0
    shown = capsys.readouterr().out
    assert "yolox_nano" in shown and "Apache-2.0" in shown
    assert main(["get", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["folder"] == str(cache)
    entry = next(model for model in document["models"] if model["name"] == "vehicle-detection-0202")
    assert entry["hash_from"] and entry["licence"] == "Apache-2.0" and not entry["here"]
    assert all(file["digest"].startswith("sha") for file in entry["files"])


def test_wrong_requests_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "yolox"]) == 2
    assert "there is no public model 'yolox'" in capsys.readouterr().err
    assert main(["get", "--out", str(tmp_path)]) == 2
    assert "need the name of a model" in capsys.readouterr().err
    other = tmp_path / "yolox_nano.onnx"
    other.write_bytes(b"not it")
    assert main(["get", "yolox_nano", "--from", str(other)]) == 2
    assert "another file than the list" in capsys.readouterr().err
    out = tmp_path / "run"
    words = ["run", "gate.mp4", "--detector", "model:yolox_nano", "--enrol-unknown", "--out", str(out)]
    assert main(words) == 2
    assert "fetch it once: vreid get yolox_nano" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.shared
def test_files_that_were_brought_serve_a_detector(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[3] / "shared" / "models" / "vehicle-detection-0202"
    if not folder.is_dir():
        pytest.skip("needs ../shared")
    assert main(["get", "vehicle-detection-0202", "--from", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    paths = [Path(path) for path in document["paths"]]
    assert [path.parent for path in paths] == [cache / "vehicle-detection-0202"] * 2
    assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in paths)
    assert document["use"] == "--detector model:vehicle-detection-0202"
