"""A limited rate: on average what was given, whatever the camera's own, and nothing counted as dropped."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_film import make_film

from vreid.runtime.sources.live import LiveSource
from vreid.runtime.sources.rate import Due, limited
from vreid.runtime.sources.table import open_source


@pytest.mark.parametrize(
    ("own", "rate", "expected"), [(25, 10, 10), (25, 25, 25), (30, 12.5, 12.5), (15, 10, 10), (10, 25, 10), (7, 5, 5)]
)
def test_it_is_met_on_average(own: float, rate: float, expected: float) -> None:
    rng = np.random.default_rng(7)
    uneven = rng.uniform(-0.1, 0.1, int(100 * own)) / own
    times = np.arange(0, 100, 1 / own) + uneven
    due = Due(rate)
    taken = [time for time in times if due.now(float(time))]
    assert len(taken) / 100 == pytest.approx(expected, rel=0.02)
    assert np.diff(taken).min() > 0.8 / own


def test_after_a_gap_nothing_is_made_up_for() -> None:
    due = Due(10)
    times = (0.0, 50.0, 50.02, 50.04, 50.06, 50.11, 50.16)
    assert [time for time in times if due.now(time)] == [0.0, 50.0, 50.02, 50.11]  # one soon after, no more


def test_a_file_keeps_the_numbers_and_times_of_its_frames(tmp_path: Path) -> None:
    path = make_film(tmp_path / "a.mp4", [number / 10 for number in range(20)])
    source = limited(open_source(f"gate={path}"), 5)
    frames = [(frame.index, round(frame.time, 3)) for frame in source]
    assert frames == [(index, index / 10) for index in range(0, 20, 2)]
    assert (source.camera, source.frame_rate, source.dropped, source.size, source.live) == (
        "gate",
        5,
        0,
        (96, 64),
        False,
    )
    source.close()
    whole = open_source(str(path))
    assert limited(whole, None) is whole and len(list(whole)) == 20


class Stamped:
    """A camera whose pictures have times of their own, and count how often one is converted."""

    def __init__(self) -> None:
        self.given = self.converted = 0
        self.wanted = threading.Semaphore(0)

    def read(self) -> tuple[bool, Any]:
        self.wanted.acquire()
        self.given += 1
        return True, Picture(self, 1e6 + 0.04 * self.given)

    def release(self) -> None:
        pass


class Picture:
    def __init__(self, camera: Stamped, taken: float) -> None:
        self._camera, self.taken = camera, taken

    def __call__(self) -> np.ndarray:
        self._camera.converted += 1
        return np.full((4, 6, 3), self._camera.converted, np.uint8)


def test_a_cameras_frames_that_are_left_out_are_neither_converted_nor_dropped() -> None:
    camera = Stamped()
    source = limited(LiveSource("gate", lambda: (camera, 25.0), "no picture"), 5)
    frames = iter(source)
    camera.wanted.release()
    first = next(frames)
    times = [first.time]
    for _ in range(4):  # each fifth of 25 frames a second
        for _ in range(5):
            camera.wanted.release()
        times.append(next(frames).time)
    assert np.diff(times) == pytest.approx([0.2] * 4, abs=0.041)
    assert camera.converted <= len(times) + 1 and source.dropped == 0
    camera.wanted.release()
    source.close()
