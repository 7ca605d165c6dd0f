"""Whose clock is wrong, from when messages were sent and when the log got them; and by a box whose clock is set wrong."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from made_centre import box_of, centre_file, resolving, seen, settings_of, settled
from made_outputs import until
from real_nats import make_streams, nats_in
from real_postgres import Server

from vreid.fleet.centre.clocks import Clocks
from vreid.fleet.sender import Sender

_WRONG = """
import sys, time
sys.path.insert(0, sys.argv[1])
right = time.time
time.time = lambda: right() + 60.0  # the machine's clock was set so
from made_centre import box_of, seen, settings_of
from pathlib import Path
from vreid.fleet.sender import Sender
with box_of(Path(sys.argv[2])) as gallery:
    seen(gallery, range(4), 2)
    Sender(settings_of(sys.argv[3], "fast"), gallery).send_all()
"""


def test_the_least_delay_counts_and_who_is_wrong_is_said_once_and_when_it_is_right_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "vreid")
    clocks = Clocks()
    for number in range(40):
        clocks.note("slow line", 100.0 + number, 100.0 + number + 0.1 + 30.0 * (number % 5 > 0))
        clocks.note("fast", 160.0 + number, 100.1 + number)
        clocks.note("right", 100.0 + number, 100.1 + number)
    assert clocks.wrong == ["fast"] and clocks.ahead["fast"] == pytest.approx(59.9)
    assert clocks.ahead["slow line"] == pytest.approx(-0.1)
    for number in range(40):
        clocks.note("fast", 200.0 + number, 200.1 + number)
    assert clocks.wrong == []
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 2 and "box fast is 59.9 s ahead of that of the log" in said[0] and "right again" in said[1]


def test_boxes_are_held_against_the_log_and_those_that_are_right_against_each_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks()
    for _ in range(4):
        for box in "abc":
            clocks.note(box, 90.0, 100.0)
    assert clocks.wrong == ["a", "b", "c"]
    for _ in range(4):
        for box, sent in zip("def", (101.5, 99.0, 99.0), strict=True):
            clocks.note(box, sent, 100.0)
    assert clocks.wrong == ["a", "b", "c", "d"] and "box d is 2.5 s ahead of those of other boxes" in caplog.text


def test_names_that_boxes_make_up_are_forgotten_and_judged_in_passing() -> None:
    clocks = Clocks()
    for number in range(30_000):
        clocks.note(f"box {number}", 90.0, 100.0)
    assert len(clocks.ahead) == 20_000 and clocks.wrong == []
    for _ in range(700):
        clocks.note("box 29999", 90.0, 100.0)
    assert clocks.wrong == ["box 29999"]


def test_a_box_whose_clock_is_a_minute_ahead_is_noticed(
    tmp_path: Path, postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    place = postgres.new_place("clocks")
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        with resolving(centre_file(tmp_path, server, place)) as centre:
            with box_of(tmp_path / "right.db") as gallery:
                seen(gallery, range(4), 1)
                Sender(settings_of(server.url, "right"), gallery).send_all()
            words = [sys.executable, "-c", _WRONG, str(Path(__file__).parent.parent / "kit"), str(tmp_path / "fast.db")]
            subprocess.run([*words, server.url], check=True)
            assert settled(place, 8) and until(lambda: centre.status()["north"].wrong_clocks == ("fast",))
            ahead = centre.status()["north"].clocks
    assert 55 < ahead["fast"] < 61 and abs(ahead["right"]) < 2
    assert "the clock of box fast" in caplog.text
