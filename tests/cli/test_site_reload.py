"""A live site reloaded under way: nothing of an unchanged camera is lost, others come and go, and a fault changes nothing."""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from live_run import run_during, until

from vreid.cli.main import main

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)
Rows = list[dict[str, Any]]


class Site:
    """A folder with videos, a site's file, and a run of it in this thread, while `steps` change the file in another one."""

    def __init__(self, folder: Path, model: Path, device: Callable[[Path], str]) -> None:
        self.folder, self.model, self.device = folder, model, device
        self.cameras: dict[str, str] = {}
        self.top, self.topology = "", ""

    def camera(self, name: str, video: str, more: str = "") -> None:
        """Add a camera or change it; the clip is looped without end, and none of its frames is lost."""
        self.cameras[name] = f'[camera.{name}]\nuri = "{self.device(self.folder / video)}"\n{more}\n'

    def write(self, **changes: str) -> None:
        """The file as it is now, whole at once as an editor does it."""
        text = f'model = "{self.model}"\n{self.top}\n[gallery]\nfile = "known.db"\nenrol_unknown = true\n'
        text += '[outputs]\nfolder = "out"\n' + self.topology + "".join(self.cameras.values())
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        (self.folder / "new.toml").write_text(text)
        (self.folder / "new.toml").replace(self.folder / "site.toml")

    def rows(self) -> Rows:
        """The sightings so far; a line that is being written is left out."""
        path = self.folder / "out" / "sightings.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def of(self, name: str) -> Rows:
        return [row for row in self.rows() if row["camera"] == name]

    def wait(self, name: str, more: int = 1) -> None:
        """Until so many more sightings of a camera have come."""
        before = len(self.of(name))
        until(lambda: len(self.of(name)) >= before + more)

    def run(self, steps: Callable[[], None], capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
        """The report of a run that ends when `steps` have."""
        self.write()
        run_during(steps, ["run", str(self.folder / "site.toml"), "--json"])
        return dict(json.loads(capfd.readouterr().out))


class Log:
    """The sentences of the log; `reload` sends the signal and waits for what is said of it."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def said(self) -> list[str]:
        return [record.getMessage() for record in self._caplog.records]

    def reload(self) -> str:
        before = len(self.answers())
        os.kill(os.getpid(), signal.SIGHUP)
        end = time.monotonic() + 300
        while len(self.answers()) == before:
            assert time.monotonic() < end
            time.sleep(0.01)
        return self.answers()[-1]

    def answers(self) -> list[str]:
        return [text for text in self.said() if "read again" in text or "was not taken" in text]


@pytest.fixture
def site(tmp_path: Path, tiny_model: Path, film: Any, device: Callable[[Path], str]) -> Site:
    film(tmp_path / "red.avi", [(RED, 0, 20)])
    film(tmp_path / "green.avi", [(GREEN, 4, 70)])
    film(tmp_path / "blue.avi", [(BLUE, 2, 45)])
    return Site(tmp_path, tiny_model, device)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Log]:
    caplog.set_level(logging.WARNING, "vreid")
    yield Log(caplog)


def passes(rows: Sequence[dict[str, Any]]) -> list[tuple[int, int, int]]:
    return [(row["track"], row["first_frame"], row["last_frame"]) for row in rows]


def undisturbed(site: Site, names: Sequence[str], capfd: pytest.CaptureFixture[str]) -> dict[str, list[Any]]:
    """What cameras report in a run of their own that is never reloaded, as long as theirs was."""
    wanted = {name: len(site.of(name)) for name in names}
    other = Site(site.folder / "other", site.model, site.device)
    other.folder.mkdir()
    other.cameras = {name: site.cameras[name] for name in names}

    def steps() -> None:
        for name, count in wanted.items():
            until(lambda name=name, count=count: len(other.of(name)) >= count)  # type: ignore[misc]

    other.run(steps, capfd)
    return {name: passes(other.of(name))[: wanted[name] - 1] for name in names}  # the last one was cut short by the end


def test_cameras_come_and_go_and_an_unchanged_one_notices_nothing(
    site: Site, log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    site.camera("still", "red.avi")
    site.camera("gone", "green.avi")
    site.camera("moved", "green.avi")
    said: list[str] = []

    def steps() -> None:
        site.wait("moved")
        del site.cameras["gone"]
        site.camera("moved", "blue.avi")
        site.camera("new", "green.avi")
        site.write()
        said.append(log.reload())
        site.wait("new")
        site.wait("moved")
        site.write(**{"[camera.new]": "[camera.new]\nfps = 3"})
        said.append(log.reload())
        site.wait("new")

    report = site.run(steps, capfd)
    assert said[0].endswith("added new; removed gone; changed moved; 1 cameras go on as they were")
    assert "was not taken: " in said[1] and "[camera.new] has no key 'fps'" in said[1]
    rows = site.rows()
    assert report["sightings"] == len(rows) and {row["camera"] for row in rows} == {"still", "gone", "moved", "new"}
    for name, camera in report["cameras"].items():
        assert camera["tracks"] == len(site.of(name)) and camera["dropped"] == 0
    assert report["cameras"]["gone"]["frames"] < report["cameras"]["still"]["frames"] - 40
    tracks = [row["track"] for row in site.of("moved")]
    assert tracks == sorted(set(tracks))  # numbers go on, though the camera was opened anew


def test_zones_masks_and_ways_change_under_open_tracks(site: Site, log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    site.camera("gate", "red.avi")
    site.camera("yard", "green.avi")
    frames: list[int] = []

    def steps() -> None:
        site.wait("gate", 2)
        site.camera("gate", "red.avi", "zones.road = [[0, 0], [1, 0], [1, 1], [0, 1]]")
        site.topology = '[topology]\npair = [{ cameras = ["gate", "yard"], least_s = 1 }]\n'
        site.write()
        assert "changed gate; other ways between cameras; 1 cameras go on as they were" in log.reload()
        frames.append(max(row["last_frame"] for row in site.of("gate")))
        site.wait("gate", 3)
        site.camera("yard", "green.avi", "masks.road = [[0, 0], [1, 0], [1, 1], [0, 1]]")
        site.write()
        assert "changed yard" in log.reload()
        site.wait("gate", 2)

    report = site.run(steps, capfd)
    rows = site.of("gate")
    assert [row["zones"] for row in rows if row["first_frame"] > frames[0]][:2] == [["road"]] * 2
    assert rows[0]["zones"] == []
    yard = report["cameras"]["yard"]
    assert max(row["last_frame"] for row in site.of("yard")) < yard["frames"] - 40  # nothing is detected there any more
    assert undisturbed(site, ["gate"], capfd) == {"gate": passes(rows)[:-1]}


def test_what_is_kept_changes_under_open_tracks(site: Site, log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    site.camera("gate", "red.avi")
    frames: list[int] = []

    def steps() -> None:
        site.wait("gate", 2)
        site.camera("gate", "red.avi", 'keep = "frame"')
        site.write()
        assert "changed gate" in log.reload()
        frames.append(max(row["last_frame"] for row in site.of("gate")))
        site.wait("gate", 4)

    report = site.run(steps, capfd)
    rows = site.of("gate")
    assert [row["kept"] for row in rows[:2]] == [None, None]
    later = [row["kept"] for row in rows if row["first_frame"] > frames[0]]
    assert len(later) >= 2
    assert all((site.folder / "known.db.pictures" / name).is_file() for name in later)
    assert report["kept"]["frame"] >= len(later)
    assert undisturbed(site, ["gate"], capfd) == {"gate": passes(rows)[:-1]}


def test_what_cannot_change_under_way_is_said(site: Site, log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    site.camera("gate", "red.avi")

    def steps() -> None:
        site.wait("gate")
        site.camera("yard", "green.avi")
        site.top = "threads = 2"
        site.write(**{"known.db": "other.db"})
        assert "added yard" in log.reload()
        until(lambda: log.said()[-1].startswith("threads") or log.said()[-1].startswith("[gallery]"))
        site.wait("yard")
        site.cameras["away"] = '[camera.away]\nuri = "rtsp://127.0.0.1:1/gate"\n'  # nobody listens there
        site.write()
        assert "added away; 2 cameras go on as they were" in log.reload()
        site.wait("yard")
        site.cameras["lost"] = '[camera.lost]\nuri = "none.avi"\n'
        site.write()
        assert "was not taken" in log.reload() and "none.avi" in log.answers()[-1]

    report = site.run(steps, capfd)
    assert any(said.startswith("away is away and is tried again: ") for said in log.said())
    assert report["cameras"]["away"]["frames"] == 0
    assert "[gallery] file, threads changed, which needs a restart of the run; until then it is as it was" in log.said()
    assert (site.folder / "known.db").exists() and not (site.folder / "other.db").exists()


def test_a_run_over_files_is_not_reloaded(site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    from vreid.runtime import pipeline

    site.cameras["one"] = '[camera.one]\nuri = "red.avi"\n'
    site.write()
    step = pipeline.Run._step

    def hung_up(run: pipeline.Run, together: Any) -> None:
        if run.frames == 10:
            os.kill(os.getpid(), signal.SIGHUP)
        step(run, together)

    monkeypatch.setattr(pipeline.Run, "_step", hung_up)
    before = signal.getsignal(signal.SIGHUP)
    assert main(["run", str(site.folder / "site.toml"), "--json"]) == 0
    said = capfd.readouterr()
    assert "a run over files ends by itself and does not read its file again" in said.err.replace("\n", " ")
    assert json.loads(said.out)["cameras"]["one"]["frames"] == 50
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.slow  # 16 cameras through ten reloads
def test_sixteen_cameras_through_ten_reloads(site: Site, log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    """Eight cameras are never touched; the others are removed, added, moved, masked, given zones, detectors and rates; two files
    are broken on purpose. What the eight report is what they report undisturbed."""
    videos = ("red.avi", "green.avi", "blue.avi")
    for number in range(16):
        site.camera(f"c{number:02d}", videos[number % 3])
    still = [f"c{number:02d}" for number in range(8)]
    whole = "[[0, 0], [1, 0], [1, 1], [0, 1]]"
    answers: list[str] = []

    def change(number: int) -> dict[str, str]:
        match number:
            case 0:
                del site.cameras["c15"]
            case 1:
                site.camera("c16", "red.avi")
            case 2:
                site.camera("c08", "red.avi")
            case 3:
                return {"[camera.c09]": "[camera.c09]\nrat = 3"}  # broken on purpose: a key
            case 4:
                site.camera("c09", videos[0], f"zones.road = {whole}")
            case 5:
                site.camera("c10", videos[1], 'detector = "motion:?warm_up=20"')
            case 6:
                return {"[gallery]": "[gallery"}  # broken on purpose: TOML
            case 7:
                site.camera("c11", videos[2], f"masks.road = {whole}")
            case 8:
                site.camera("c15", "green.avi")
                del site.cameras["c16"]
            case 9:
                site.topology = '[topology]\npair = [{ cameras = ["c00", "c01"], least_s = 0.5 }]\n'
        return {}

    def steps() -> None:
        site.wait("c00")
        for number in range(10):
            site.write(**change(number))
            answers.append(log.reload())
            site.wait(still[number % 8])
        until(lambda: all(len(site.of(name)) >= 6 for name in still))

    report = site.run(steps, capfd)
    faults = [answer for answer in answers if "was not taken" in answer]
    assert len(answers) == 10 and len(faults) == 2
    assert "[camera.c09] has no key 'rat'; did you mean 'rate'?" in faults[0] and "is not TOML" in faults[1]
    assert all(f"{count} cameras go on as they were" in answer for count, answer in zip(
        (15, 15, 15, 15, 15, 15, 15, 16), [answer for answer in answers if answer not in faults], strict=True
    ))  # fmt: skip
    rows = site.rows()
    assert report["sightings"] == len(rows) and len(report["cameras"]) == 17
    for name, camera in report["cameras"].items():
        tracks = [row["track"] for row in site.of(name)]
        assert camera["tracks"] == len(tracks) and tracks == sorted(set(tracks)) and camera["dropped"] == 0
    assert undisturbed(site, still, capfd) == {name: passes(site.of(name))[:-1] for name in still}
    figures = {name: camera["frames"] for name, camera in report["cameras"].items()}
    print(
        f"{sum(figures.values())} frames, {len(rows)} sightings, {report['seconds']} s, {report['vehicles']} vehicles"
    )
