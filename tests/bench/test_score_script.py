"""bench/score.py: landmarks and videos that are told apart by their colours are found, and what is wrong is said."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from score import main

from vreid.cli.main import main as vreid
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.network import NetworkConfig, ReidNetwork

COLOURS = [(230, 30, 30), (30, 230, 30), (30, 30, 230), (220, 220, 20)]


def drawn(path: Path, colour: tuple[int, int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 5, (40, 48, 3))
    assert cv2.imwrite(str(path), np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def test_landmarks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [f"p{place}" for place in range(12)]
    for place, name in enumerate(names):
        drawn(tmp_path / "jpg" / f"{name}.jpg", COLOURS[place % 4], place)
    for place in range(4):
        drawn(tmp_path / "jpg" / f"q{place}.jpg", COLOURS[place], 50 + place)
    truth = {
        "imlist": names,
        "qimlist": [f"q{place}" for place in range(4)],
        "gnd": [
            {"bbx": [2.0, 2.0, 40.0, 30.0], "easy": [place], "hard": [place + 4], "junk": [place + 8]}
            for place in range(4)
        ],
    }
    (tmp_path / "gnd.json").write_text(json.dumps(truth))
    others = np.random.default_rng(0).normal(size=(9, 288)).astype(np.float32)
    np.save(tmp_path / "others.npy", others / np.linalg.norm(others, axis=1, keepdims=True))
    words = ["landmarks", "hsv", "--truth", str(tmp_path / "gnd.json"), "--images", str(tmp_path / "jpg")]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["medium"]["map"] == 100.0 and found["hard"]["queries"] == 4 and found["easy"]["gallery"] == 12
    assert main([*words, "--distractors", str(tmp_path / "others.npy"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["easy"]["gallery"] == 21
    assert main([*words, "--scales", "1", "0.5"]) == 2
    assert "one input size" in capsys.readouterr().err
    (tmp_path / "jpg" / "p3.jpg").unlink()
    assert main(words) == 2
    assert "p3.jpg" in capsys.readouterr().err


def test_videos(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = []
    for place, colour in enumerate(COLOURS):
        for frame in range(3):
            drawn(tmp_path / "videos" / f"q{place}.mp4" / f"{frame}.png", colour, frame)
            drawn(tmp_path / "videos" / f"v{place}" / f"{frame}.png", colour, 10 + frame)
        lines += [f"q{place}.mp4 v{other}.mp4 {int(other == place)}" for other in range(4)]
    for place in range(4):  # the truth names files; a folder of frames may lie in their place
        (tmp_path / "videos" / f"v{place}").rename(tmp_path / "videos" / f"v{place}.mp4")
    (tmp_path / "truth").write_text("\n".join(lines) + "\n")
    words = ["videos", "hsv", "--truth", str(tmp_path / "truth"), "--videos", str(tmp_path / "videos")]
    assert main([*words, "--every", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["videos"]
    assert found["map"] == 100.0 and found["queries"] == 4 and found["distractors"] == 0
    assert main(words) == 0
    assert "100" in capsys.readouterr().out
    (tmp_path / "truth").write_text("q0.mp4 gone.mp4 1\n")
    assert main(words) == 2
    assert "there is no video gone.mp4" in capsys.readouterr().err


def test_the_verb_of_before_names_the_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert vreid(["score", "landmarks", "hsv", "--truth", "gnd.json"]) == 2
    assert "run python bench/score.py" in capsys.readouterr().err


def test_a_checkpoint_sees_landmarks_at_several_sizes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 8, options={"scale": 0.125}))
    save_checkpoint(Checkpoint(network.config, network.state_dict(), {}), tmp_path / "best.pt")
    for place, name in enumerate(("a", "b", "q")):
        drawn(tmp_path / f"{name}.png", COLOURS[place], place)
    marks = {"bbx": [2.0, 2.0, 30.0, 30.0], "easy": [0], "hard": [], "junk": []}
    (tmp_path / "gnd.json").write_text(json.dumps({"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [marks]}))
    words = ["landmarks", str(tmp_path / "best.pt"), "--truth", str(tmp_path / "gnd.json"), "--images", str(tmp_path)]
    assert main([*words, "--suffix", ".png", "--scales", "1", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["easy"]["queries"] == 1
