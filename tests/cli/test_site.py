"""`vreid site`, and `vreid run site.toml`: the same run as by the short command line, and all that is wrong in one go."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vreid.cli.main import main
from vreid.runtime.gallery import open_gallery, read_gallery

RED, GREEN = (0, 0, 255), (0, 255, 0)
Write = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, film: Any, tiny_model: Path) -> Write:
    """Writes tmp_path/site.toml of two films; `more` stands above the tables, `cameras` after them."""
    film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)])
    film(tmp_path / "two.avi", [(GREEN, 0, 20)])

    def write(cameras: str = '[camera.one]\nuri = "one.avi"\n[camera.two]\nuri = "two.avi"\n', more: str = "") -> Path:
        tables = '[gallery]\nfile = "known.db"\nenrol_unknown = true\n[outputs]\nfolder = "out"\n'
        (tmp_path / "site.toml").write_text(f'model = "{tiny_model}"\n{more}\n{tables}{cameras}')
        return tmp_path / "site.toml"

    return write


def checked(capsys: pytest.CaptureFixture[str], path: Path, *flags: str) -> tuple[int, dict[str, Any]]:
    code = main(["site", "check", str(path), "--json", *flags])
    return code, json.loads(capsys.readouterr().out)


def lines(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "sightings.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in ("seen", "zones")} for row in rows]


def test_a_file_and_a_short_command_line_give_the_same_run(
    tmp_path: Path, site: Write, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    zones = "zones.all = [[0, 0], [1, 0], [1, 1], [0, 1]]\nzones.top = [[0, 0], [1, 0], [1, 0.5], [0, 0.5]]\n"
    path = site(f'[camera.one]\nuri = "one.avi"\n{zones}[camera.two]\nuri = "two.avi"\n')
    assert main(["run", str(path), "--json"]) == 0
    by_file = json.loads(capfd.readouterr().out)
    short = ["--model", str(tiny_model), "--gallery", str(tmp_path / "short.db"), "--out", str(tmp_path / "short")]
    assert main(["run", str(tmp_path / "one.avi"), str(tmp_path / "two.avi"), *short, "--enrol-unknown", "--json"]) == 0
    by_flags = json.loads(capfd.readouterr().out)
    assert lines(tmp_path / "out") == lines(tmp_path / "short") and len(lines(tmp_path / "out")) == 3
    timed = ("seconds", "stages", "frames_per_second", "peak_memory_mb", "outside", "started")
    assert {**by_file, **dict.fromkeys(timed)} == {**by_flags, **dict.fromkeys(timed)}
    rows = [json.loads(line) for line in (tmp_path / "out" / "sightings.jsonl").read_text().splitlines()]
    assert {(row["camera"], row["track"]): row["zones"] for row in rows} == {
        ("one", 1): ["all", "top"], ("one", 2): ["all"], ("two", 1): []
    }  # fmt: skip


def test_cameras_have_their_own_detector_rate_mask_and_least_box(
    tmp_path: Path, site: Write, capfd: pytest.CaptureFixture[str]
) -> None:
    """The boxes of the first run stand in for the second camera's; the first camera sees one vehicle less."""
    assert main(["run", str(site())]) == 0
    (tmp_path / "out" / "mot").rename(tmp_path / "boxes")
    path = site(
        '[camera.one]\nuri = "one.avi"\nmasks.low = [[0, 0.7], [1, 0.7], [1, 1], [0, 1]]\n'
        '[camera.two]\nuri = "two.avi"\nrate = 5\ndetector = "replay:boxes?min_visibility=0"\n'
    )
    path.write_text(path.read_text().replace('"out"', '"again"'))
    capfd.readouterr()
    assert main(["run", str(path), "--json"]) == 0
    done = json.loads(capfd.readouterr().out)
    assert done["detector"] == f"motion, replay:{tmp_path / 'boxes'}?min_visibility=0"
    assert [(one["frames"], one["tracks"]) for one in done["cameras"].values()] == [(50, 1), (25, 1)]
    assert done["cameras"]["two"]["frame_rate"] == 5
    path.write_text(path.read_text().replace("[camera.one]", "[defaults]\nleast_box = 60\n[camera.one]"))
    assert main(["run", str(path)]) == 2 and "no vehicle was found in one, two" in capfd.readouterr().err


def test_a_run_keeps_the_retention_of_the_file(tmp_path: Path, site: Write) -> None:
    path = site()
    for span, seconds in (("90d", 90 * 86400), ("off", None), ("2w", 14 * 86400)):
        text = path.read_text().partition("enrol_unknown = true\n")
        rest = "".join(line for line in text[2].splitlines(True) if not line.startswith("retain"))
        path.write_text(f'{text[0]}{text[1]}retain = "{span}"\n{rest}')
        assert main(["run", str(path)]) == 0
        with read_gallery(tmp_path / "known.db") as gallery:
            assert gallery.retention() == seconds


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["site.toml", "two.avi"], "a site's file comes alone"),
        (["site.toml", "--detector", "motion:?warm_up=9"], "--detector has no place next to a site's file"),
        (["site.toml", "--enrol-unknown"], "--enrol-unknown has no place"),
        (["none.toml"], "the site's file none.toml cannot be read"),
        (["two.avi"], "a run needs a folder for what it finds; give --out"),
    ],
)
def test_a_site_and_flags_are_not_mixed(
    tmp_path: Path, site: Write, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    site()
    monkeypatch.chdir(tmp_path)
    assert main(["run", *words]) == 2
    assert sentence in capfd.readouterr().err and not (tmp_path / "out").exists()


def test_a_sound_site(tmp_path: Path, site: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = site()
    code, said = checked(capsys, path)
    assert (code, said["faults"]) == (0, [])
    assert said["cameras"]["two"] == {"width": 160, "height": 120, "frame_rate": 10.0}
    assert main(["site", "check", str(path)]) == 0
    assert f"{path.name} is sound: 2 cameras" in capsys.readouterr().out.replace("\n", "")
    assert {each.name for each in tmp_path.iterdir()} == {
        "one.avi",
        "two.avi",
        "model",
        "site.toml",
    }  # nothing is written


def test_everything_that_is_wrong_comes_in_one_go(
    tmp_path: Path, site: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """Faults of the file and of what it names; each once."""
    with open_gallery(tmp_path / "known.db", fingerprint="another", dim=8, model="other", write=True):
        pass
    (tmp_path / "out").write_text("a file")
    path = site(
        '[metrics]\nlisten = "here"\n[thresholds]\nnew_below = 0.95\n'
        '[topology]\npair = [{ cameras = ["on", "two"] }, { cameras = ["two", "one"] }]\n'
        '[camera.one]\nuri = "one.avi"\ndetector = "yolox:none.onnx"\n'
        '[camera.two]\nuri = "none.avi"\ndetector = "yolox:none.onnx"\nfps = 5\n'
        '[camera.gate]\nuri = "rtsp://viewer:${WORD}@192.0.2.11/"\n[camera.yard]\nuri = "v4l2:///dev/video77"\n',
        more='plates = "nobody:reads"',
    )
    path.write_text(path.read_text().replace('folder = "out"', 'folder = "out"\nto = ["ftp://x/", "mqtt://b/a+b"]'))
    code, said = checked(capsys, path)
    expected = [
        "[camera.two] has no key 'fps'; the nearest is",
        "[camera.gate]: the environment variable WORD is not set",
        "[gallery]: the gallery",
        "new_below 0.95 is over the threshold 0.9",
        "detector of one, two: there is no",
        "[topology] names a camera 'on' that the site does not have; did you mean 'one'?",
        "out is a file; name a folder",
        "[outputs]: an output's address has no known scheme",
        "[outputs]: mqtt://b: the topic 'a+b' has a '+' or '#'",
        "[metrics]: 'here' is not an address to serve metrics at",
        "plates: there is no plate reader 'nobody:reads'",
        "camera two: there is no",
    ]
    assert code == 1
    for sentence in expected:
        assert sum(sentence in fault for fault in said["faults"]) == 1, (sentence, said["faults"])
    assert len(said["faults"]) == len(expected)
    assert all(fault.startswith(f"{path}: ") and "\n" not in fault for fault in said["faults"])
    code, said = checked(capsys, path, "--connect")
    assert len(said["faults"]) == len(expected) + 1 and "camera yard: " in said["faults"][-1]


def test_a_model_and_a_gallery_that_are_not_there(
    tmp_path: Path, site: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site()
    text = path.read_text()
    path.write_text(text.replace("enrol_unknown = true", ""))
    code, said = checked(capsys, path)
    assert code == 1 and len(said["faults"]) == 1 and "[gallery]: there is no gallery" in said["faults"][0]
    path.write_text(text.replace("known.db", "nowhere/known.db"))
    assert "there is no folder" in checked(capsys, path)[1]["faults"][0]
    path.write_text('model = "nobody"\n' + text.partition("\n")[2])
    assert "model: there is no model 'nobody'" in checked(capsys, path)[1]["faults"][0]
    path.write_text("[gallery\n")
    code, said = checked(capsys, path)
    assert code == 1 and len(said["faults"]) == 1 and "(at line 1, column 9)" in said["faults"][0]
    assert main(["site", "check", str(tmp_path / "none.toml")]) == 2
    assert "none.toml cannot be read" in capsys.readouterr().err


def test_connect_opens_live_cameras(
    tmp_path: Path, site: Write, device: Callable[[Path], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = site(f'[camera.gate]\nuri = "{device(tmp_path / "one.avi")}"\n')
    assert checked(capsys, path) == (0, {"file": str(path), "faults": [], "cameras": {}})
    code, said = checked(capsys, path, "--connect")
    assert code == 0 and said["cameras"] == {"gate": {"width": 160, "height": 120, "frame_rate": 30.0}}


def test_a_check_finds_a_kind_that_no_detector_has(site: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = site()
    path.write_text(
        path.read_text().replace("[outputs]", '[[watch]]\nkind = "truck"\n[outputs]\nto = ["http://broker/a"]')
    )
    code, found = checked(capsys, path)
    assert code == 1 and len(found["faults"]) == 1
    assert "the watch 'kind truck' looks for the kind 'truck', and the detectors" in found["faults"][0]
