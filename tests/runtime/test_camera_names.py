"""A camera's name in another form of Unicode is the same camera: in cameras.toml, ground truth, boxes, and the run's files."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.camera_names import camera_name, file_of, plain_name, valid_text
from vreid.runtime.evaluate.truth import truth_file
from vreid.runtime.topology import read_topology

NAME = "Hof-Süd ворота"
APART = unicodedata.normalize("NFD", NAME)
RED = (0, 0, 255)


def test_a_name_is_written_in_one_form_and_may_have_any_letters() -> None:
    assert APART != NAME and camera_name(APART) == camera_name(f" {NAME} ") == NAME
    for name in ("門", "بوابة", "Tor 2 (alt)", "a.b", "-x", "क्षेत्र", "🚗", "O'Neill & Söhne, 50%"):
        assert camera_name(name) == name
    assert plain_name("क्षेत्र 1/2") == "क्षेत्र_1_2" and plain_name("caf\udce9") == "caf"
    assert len(plain_name("é" * 300).encode()) <= 200
    assert not any(valid_text(text) for text in ("a\nb", "\x1b", "\x85", "\u2028", "\udce9"))


def test_files_of_a_camera_are_found_in_either_form(tmp_path: Path) -> None:
    (tmp_path / f"gt_{APART}.txt").write_text("")
    found = truth_file(tmp_path, NAME)
    assert found.is_file() and unicodedata.normalize("NFC", found.name) == f"gt_{NAME}.txt"
    with pytest.raises(Refused, match="has no truth of camera"):
        truth_file(tmp_path, "other")
    assert file_of(tmp_path / "nowhere", [f"{NAME}.txt"]) is None


def test_the_topology_knows_the_camera_in_either_form(tmp_path: Path) -> None:
    (tmp_path / "cameras.toml").write_text(
        f'[[pair]]\ncameras = ["{APART}", "yard"]\nleast_s = 4.0\n', encoding="utf-8"
    )
    assert read_topology(tmp_path / "cameras.toml", [NAME, "yard"]).least(NAME, "yard") == 4.0


def test_a_run_and_its_gallery_call_a_camera_by_its_name(
    tmp_path: Path, film: Any, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = film(tmp_path / "one.avi", [(RED, 0, 20)])
    out, gallery = tmp_path / "out", str(tmp_path / "known.db")
    words = ["--out", str(out), "--model", str(tiny_model), "--gallery", gallery, "--enrol-unknown"]
    assert main(["run", f"{APART}={video}", *words, "--json"]) == 0
    assert list(json.loads((out / "report.json").read_text("utf-8"))["cameras"]) == [NAME]
    assert [path.name for path in (out / "mot").iterdir()] == [f"{NAME}.txt"]
    line = json.loads((out / "sightings.jsonl").read_text("utf-8").splitlines()[0])
    assert line["camera"] == NAME and NAME in (out / "report.html").read_text("utf-8")
    capsys.readouterr()
    for name in (NAME, APART):
        assert main(["gallery", "list", "--gallery", gallery, "--camera", name, "--json"]) == 0
        assert len(json.loads(capsys.readouterr().out)["vehicles"]) >= 1
