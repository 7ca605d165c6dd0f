"""`vreid run`: one document or tables, signals that end it well, and the same answer from boxes of one's own."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vreid.cli.main import main
from vreid.cli.run import MOTION, signals
from vreid.runtime.sources.table import open_source

RED, GREEN = (0, 0, 255), (0, 255, 0)


@pytest.fixture
def words(tmp_path: Path, film: Any, tiny_model: Path) -> list[str]:
    """A run over two films into tmp_path/out that enrols into tmp_path/known.db."""
    one = film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)])
    two = film(tmp_path / "two.avi", [(GREEN, 0, 20)])
    flags = ["--out", str(tmp_path / "out"), "--model", str(tiny_model), "--gallery", str(tmp_path / "known.db")]
    return ["run", str(one), str(two), *flags, "--enrol-unknown"]


def test_the_document_is_the_report(tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main([*words, "--json"]) == 0
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert said.err == "" and document == json.loads((tmp_path / "out" / "report.json").read_text())
    assert (document["vehicles"], document["seen_by_several"], document["detector"]) == (2, 1, "motion")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_people_read_tables_on_stdout(tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    truth = tmp_path / "truth"
    (tmp_path / "out" / "mot").rename(truth)
    first = capfd.readouterr()
    assert first.err == "" and "against the ground truth" not in first.out
    for part in ("cameras", "latency", "2 vehicles (0 known, 2 newly enrolled), 1 of them in several cameras"):
        assert part in first.out
    assert "found by motion\n" in first.out
    assert str(tmp_path / "out" / "report.html") in first.out
    assert "threshold: " in first.out and " at 5 % false matches among " in first.out
    assert main([*words, "--truth", str(truth)]) == 0
    second = capfd.readouterr().out
    assert "2 vehicles (2 known, 0 newly enrolled)" in second
    assert "identity accuracy 100.0 %, IDF1 100.0 %, one id over all cameras for 100 % of 1 vehicles" in second


def test_boxes_of_ones_own(tmp_path: Path, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    capfd.readouterr()
    again = [*words, "--detector", f"replay:{tmp_path / 'out' / 'mot'}", "--json"]
    again[again.index("--out") + 1] = str(tmp_path / "again")
    assert main(again) == 0
    assert json.loads(capfd.readouterr().out)["known"] == 2
    before, after = ((tmp_path / name / "mot" / "one.txt").read_text().splitlines() for name in ("out", "again"))
    assert [line.split(",")[:6] for line in after] == [line.split(",")[:6] for line in before]  # no box is lost
    assert {line.split(",")[1] for line in after} == {"1", "2"}


def live(words: list[str], source: str) -> list[str]:
    return ["run", f"gate={source}", *words[3:]]


def signalled(number: int, times: int, when: Callable[[], bool]) -> threading.Thread:
    """Sends a signal to this process when `when` holds, so many times."""

    def send() -> None:
        while not when():
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.002)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_run_well(
    tmp_path: Path,
    words: list[str],
    device: Callable[[Path], str],
    number: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lines = tmp_path / "out" / "sightings.jsonl"
    thread = signalled(number, 1, lambda: lines.exists() and lines.read_text().count("\n") >= 2)
    assert main([*live(words, device(tmp_path / "one.avi")), "--json"]) == 0
    thread.join()
    said = capfd.readouterr()
    document = json.loads(said.out)
    assert said.err == f"{MOTION}\n" and document["sightings"] == lines.read_text().count("\n") >= 2
    assert document["cameras"]["gate"]["frame_rate"] == 30.0


@pytest.mark.parametrize(("before", "ends"), [(signal.SIG_DFL, True), (signal.SIG_IGN, False)])
def test_a_closed_terminal_ends_a_run_but_for_nohup(before: signal.Handlers, ends: bool) -> None:
    own, stop = signal.signal(signal.SIGHUP, before), threading.Event()
    try:
        with signals(stop, True, None):
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.wait(1 if ends else 0) == ends
        assert signal.getsignal(signal.SIGHUP) == before
    finally:
        signal.signal(signal.SIGHUP, own)


def test_a_second_signal_ends_it_at_once(
    tmp_path: Path, words: list[str], device: Callable[[Path], str], capfd: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "out" / "sightings.jsonl"
    thread = signalled(signal.SIGINT, 2, lambda: lines.exists() and lines.read_text().count("\n") >= 1)
    code = main(live(words, device(tmp_path / "one.avi")))
    thread.join()
    assert "Traceback" not in capfd.readouterr().err and all(map(json.loads, lines.read_text().splitlines()))
    # Where the first was enough the run ended well; a run that is broken off has no report.
    assert code in (0, 130) and (code == 130 or (tmp_path / "out" / "report.json").exists())


def test_paths_that_are_no_utf8_run_or_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names that os.fsdecode fills with surrogates: no traceback, and every file that is written can be read."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    assert (
        main(["synth", "city", "--out", str(tmp_path / "road"), "--seconds", "2", "--cameras", "1", "--vehicles", "3"])
        == 0
    )
    odd.mkdir()
    truth = shutil.copy(tmp_path / "road" / "gt_cam1.txt", odd / os.fsdecode(b"g\xe9.txt"))
    film = str(tmp_path / "road" / "cam1.mp4")
    gallery = str(odd / "known.db")
    words = ["--detector", f"replay:{truth}", "--gallery", gallery, "--out", str(odd / "out"), "--json"]
    assert main(["run", film, "--enrol-unknown", *words]) == 0
    assert json.loads((odd / "out" / "report.json").read_text("utf-8"))["detector"].startswith("replay:")
    (odd / "out" / "report.html").read_text("utf-8")
    page = odd / os.fsdecode(b"p\xe9.html")
    for verb in (["list"], ["list", "--json"], ["list", "--html", str(page)], ["stats"], ["check"], ["audit"]):
        assert main(["gallery", *verb, "--gallery", gallery]) == 0
    page.read_text("utf-8")
    more = ["--detector", f"replay:{truth}", "--annotate", "--out", str(odd / "more")]
    assert main(["run", film, "--enrol-unknown", *more]) == 0
    before, after = open_source(film), open_source(str(odd / "more" / "video" / "cam1.mp4"))
    assert [frame.time for frame in after] == pytest.approx([frame.time for frame in before], abs=1e-4)
    capsys.readouterr()
    for refused in (
        ["synth", "city", "--out", str(odd / "road")],
        ["run", os.fsdecode(b"g\xe9=") + film, "--enrol-unknown", "--out", str(tmp_path / "x")],
        ["gallery", "rename", "1", os.fsdecode(b"g\xe9"), "--gallery", gallery],
        ["run", film, "--enrol-unknown", "--out", str(tmp_path / "y"), "--began", "1960-01-01T00:00"],
    ):
        assert main(refused) == 2
        said = capsys.readouterr().err.lstrip("\n")  # rich before 15 ends a bar with an empty line
        assert said.startswith("vreid: ") and said.count("\n") == 1
