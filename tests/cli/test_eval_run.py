"""`vreid eval run`: a run evaluated by its truth, one document or tables, and sentences for what is wrong."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from vreid.cli.main import main

pytest.importorskip("motrics", reason="the extra eval is not installed")

RED, GREEN = (0, 0, 255), (0, 255, 0)


@pytest.fixture
def words(tmp_path: Path, film: Any, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """eval run of a real run over two films, its own boxes being the truth."""
    one = film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)])
    two = film(tmp_path / "two.avi", [(GREEN, 0, 20)])
    out = tmp_path / "out"
    assert main(["run", str(one), str(two), "--out", str(out), "--model", str(tiny_model), "--enrol-unknown"]) == 0
    shutil.copytree(out / "mot", tmp_path / "gt")
    capfd.readouterr()
    return ["eval", "run", str(out), "--gt", str(tmp_path / "gt")]


def test_the_document_is_what_is_written(tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--json"]) == 0
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert said.err == "" and document == json.loads((tmp_path / "out" / "eval.json").read_text())
    assert list(document["boxes"]) == ["one", "two", "all"]
    assert [document["boxes"]["all"][name] for name in ("idf1", "hota", "mota")] == [1, 1, 1]
    assert (document["identity"]["precision"], document["identity"]["kept_over_cameras"]) == (1, 1)
    assert document["time_to_identify"]["decision"]["count"] == 3
    assert 0 < document["latency"]["outside_detector_and_embedder"] < 1
    assert not (tmp_path / "out" / "eval.html").exists()


def test_people_read_tables_on_stdout(tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--html"]) == 0
    said = capfd.readouterr()
    assert (tmp_path / "out" / "eval.html").is_file()
    for part in (
        "HOTA",
        "time to identify",
        "went outside detector and embedder",
        "sightings: 3 of 3 have the right id (precision 100.0 %)",
        "vehicles: 2 of 2 found under 2 ids; 1 of 1 found in several cameras keep one id",
        str(tmp_path / "out" / "eval.json"),
    ):
        assert part in said.out and part not in said.err


def test_wrong_requests_are_sentences(tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gt" / "two.txt").unlink()
    assert main(words) == 2
    assert "no truth of camera two" in capfd.readouterr().err
    assert main([*words[:4], str(tmp_path / "nowhere")]) == 2
    assert "give the folder of the ground truth" in capfd.readouterr().err
    assert main([*words[:2], str(tmp_path), *words[3:]]) == 2
    assert "is not a finished run" in capfd.readouterr().err
    assert main([*words, "--min-visibility", "2"]) == 2
    assert "a share from 0 to 1" in capfd.readouterr().err
    assert not (tmp_path / "out" / "eval.json").exists()


def test_a_missing_library_says_how_to_get_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "motrics", None)  # what Python does with a package that is not there
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "needs the package 'motrics': pip install 'vreid[eval]'" in said and "Traceback" not in said


def test_the_old_name_runs_as_before_with_a_notice(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval-run", *words[2:], "--json"]) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["identity"] and said.err.startswith("vreid eval-run is called vreid eval run now")
    assert main(["--help"]) == 0
    assert "eval-run" not in capfd.readouterr().out
