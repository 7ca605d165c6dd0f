"""`vreid verify`: exit codes, the one document, what is written and what is left alone."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.manifest import read_manifest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve vehicles of one colour each under two cameras, as the model of mean colours tells them apart."""
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(12, 2):
        colour = np.random.default_rng(vehicle).integers(20, 236, 3) + 5 * camera
        cv2.imwrite(str(tmp_path / f"{vehicle}{camera}.png"), np.full((12, 12, 3), colour, np.uint8))
        rows.append(f"{vehicle}{camera}.png,v{vehicle},c{camera}")
    (tmp_path / "colours.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "colours.csv"


@pytest.fixture
def other(tiny_model: Path, tmp_path: Path) -> Path:
    """The same engine as the form of another checkpoint."""
    path = tmp_path / "other.json"
    fields = json.loads(tiny_model.read_text()) | {"fingerprint": "colour-2"}
    path.write_text(json.dumps(fields))
    (tmp_path / fields["engine"]).write_bytes(tiny_model.with_name(fields["engine"]).read_bytes())
    return path


def words(candidate: object, against: object, data: object, *more: str) -> list[str]:
    return ["verify", str(candidate), "--against", str(against), "--data", str(data), *more]


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_passes_is_written(
    tiny_model: Path, colour_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, engine = read_manifest(tiny_model), tiny_model.with_suffix(".onnx").read_bytes()
    more = ("--false-match-rate", "0.1", "--gallery-size", "5", "--json")
    assert main(words(tiny_model, colour_model, data, *more)) == 0
    found, after = document(capsys), read_manifest(tiny_model)
    assert found["passed"] and found["written"] and found["reasons"] == []
    assert found["agreement"]["cosine_mean"] == pytest.approx(1) and found["top1"] == 1.0
    assert after.accuracy is not None and after.accuracy.map == round(found["after"]["map"], 2) == 100
    assert after.match is not None and after.match.threshold == found["match"]["threshold"]
    assert (after.match.false_match_rate, after.match.gallery) == (0.1, 5)
    assert after.fingerprint == before.fingerprint and tiny_model.with_suffix(".onnx").read_bytes() == engine


def test_a_dry_run_writes_nothing(
    tiny_model: Path, colour_model: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tiny_model.read_bytes()
    assert main(words(tiny_model, colour_model, data, "--dry-run")) == 0
    said = capsys.readouterr()
    assert tiny_model.read_bytes() == before
    assert "colour passed on 24 pictures" in said.out and "known vehicles missed" in said.out


def test_what_fails_is_reported_and_left_as_it_is(
    tiny_model: Path, other: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, page = other.read_bytes(), tmp_path / "page.html"
    assert main(words(other, tiny_model, data, "--report", str(page))) == 1
    said = capsys.readouterr()
    assert "vreid: colour is an engine of another checkpoint" in said.err and "colour failed on 24 pictures" in said.out
    assert other.read_bytes() == before
    assert "engine of another checkpoint" in page.read_text() and "<svg" in page.read_text()
    assert main(words(other, tiny_model, data, "--json")) == 1
    found = document(capsys)
    assert not found["passed"] and not found["written"] and len(found["reasons"]) == 1


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--threads", "0"), "--threads must be at least 1"),
        (("--max-map-loss", "-1"), "--max-map-loss"),
        (("--false-match-rate", "1"), "--false-match-rate"),
        (("--gallery-size", "0"), "--gallery-size"),
    ],
)
def test_a_wrong_request_is_refused(
    tiny_model: Path, data: Path, more: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(tiny_model, tiny_model, data, *more)) == 2
    assert said in capsys.readouterr().err


def test_a_bundled_model_is_not_written_to(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert main(words("vreid-s", "vreid-s", data)) == 2
    assert "came with the package" in capsys.readouterr().err
    assert main(words("no-such", "vreid-s", data)) == 2
