"""Frame sync: files lose nothing and keep their order; live cameras never wait for each other, and all of it ends."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.frame_sync import as_they_come, in_step, read_ahead
from vreid.runtime.records import Frame
from vreid.runtime.sources.live import LiveSource

BLACK = np.zeros((8, 8, 3), np.uint8)


class Reel:
    """A finite source of `count` frames; what it raises comes after them."""

    live, dropped, size = False, 0, (8, 8)

    def __init__(self, camera: str, rate: float, count: int, error: Exception | None = None) -> None:
        self.camera, self.frame_rate, self.count, self._error = camera, rate, count, error
        self.given = 0

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            self.given += 1
            yield Frame(self.camera, index, index / self.frame_rate, BLACK)
        if self._error:
            raise self._error

    def close(self) -> None:
        pass


class Camera:
    """A capture that gives a frame every `every` seconds; `hung` holds its reads up."""

    def __init__(self, every: float, hung: threading.Event | None = None) -> None:
        self._every, self._hung, self._given = every, hung, 0

    def read(self) -> tuple[bool, np.ndarray]:
        if self._hung is not None and self._given > 1:
            self._hung.wait(600)
        time.sleep(self._every)
        self._given += 1
        return True, BLACK

    def release(self) -> None:
        pass


class Stepped:
    """A capture that gives a frame for each turn that the test allows, and the first by itself."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(1)

    def read(self) -> tuple[bool, np.ndarray]:
        self.turns.acquire()
        return True, BLACK

    def release(self) -> None:
        pass


def live(name: str, every: float, hung: threading.Event | None = None) -> LiveSource:
    return LiveSource(name, lambda: (Camera(every, hung), 0.0), "no picture")


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("read")]


def until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.002)
    return condition()


def gone() -> bool:
    """Whether every reading thread ends in time."""
    return until(lambda: not readers())


@pytest.mark.parametrize("rates", [(10.0,), (10.0, 10.0), (25.0, 10.0), (29.97, 30.0, 12.5), (60.0, 1.0), (0.5, 25.0)])
def test_files_in_step_lose_nothing_and_keep_their_order(rates: tuple[float, ...]) -> None:
    sources = [Reel(f"cam{n}", rate, max(1, round(4 * rate))) for n, rate in enumerate(rates)]
    groups = list(in_step(sources))
    times = [min(frame.time for frame in group) for group in groups]
    assert times == sorted(times)
    assert all(len({frame.camera for frame in group}) == len(group) for group in groups)
    seen = defaultdict(list)
    for group in groups:
        for frame in group:
            seen[frame.camera].append(frame.index)
        assert max(frame.time for frame in group) - min(frame.time for frame in group) < 0.5 / max(rates)
    assert {source.camera: list(range(source.count)) for source in sources} == dict(seen)


def test_equal_rates_come_together_and_a_short_file_ends_by_itself() -> None:
    groups = list(in_step([Reel("a", 10, 5), Reel("b", 10, 3)]))
    assert [[frame.camera for frame in group] for group in groups] == [["a", "b"]] * 3 + [["a"]] * 2
    assert list(in_step([])) == [] and list(in_step([Reel("a", 10, 0)])) == []


def test_a_file_that_breaks_off_raises() -> None:
    with pytest.raises(Refused, match="breaks off"):
        list(in_step([Reel("a", 10, 9), Reel("b", 10, 3, Refused("b breaks off"))]))


def test_a_file_among_live_cameras_loses_nothing() -> None:
    reel, camera = Reel("file", 10, 40), live("fast", 0.001)
    stop, indices, film = threading.Event(), [], 0
    for group in as_they_come(lambda: [reel, camera], stop):
        assert until(lambda: camera.met(0))  # the run is busy, and the camera gives the next one meanwhile
        indices += [frame.index for frame in group if frame.camera == "file"]
        film += sum(frame.camera == "fast" for frame in group)
        if len(indices) == 40:
            stop.set()
    camera.close()
    assert indices == list(range(40)) and film > 5
    assert gone()


def test_a_busy_run_gets_the_newest_frame_not_one_that_waited() -> None:
    capture, stop = Stepped(), threading.Event()
    camera = LiveSource("gate", lambda: (capture, 0.0), "no picture")
    for index, (frame,) in enumerate(as_they_come(lambda: [camera], stop)):
        assert frame.index == 5 * index
        for given in range(1, 6):  # while the run works
            capture.turns.release()
            assert until(lambda given=given: camera.newest == 5 * index + given)  # type: ignore[misc]  # noqa: B023
        if index == 4:
            stop.set()
    capture.turns.release()
    camera.close()
    assert camera.dropped >= 4 * 4


def test_a_wedged_camera_does_not_hold_up_the_others() -> None:
    release = threading.Event()
    late = threading.Timer(60, release.set)
    late.start()
    sources, stop, seen = [live("wedged", 0.01, release), live("well", 0.01)], threading.Event(), 0
    for group in as_they_come(lambda: sources, stop):
        seen += sum(frame.camera == "well" for frame in group)
        if seen >= 40:
            stop.set()
    assert seen >= 40 and not release.is_set()
    late.cancel()
    release.set()
    for source in sources:
        source.close()
    assert gone()


def test_the_stop_is_heard_where_no_camera_gives_a_frame() -> None:
    release, stop = threading.Event(), threading.Event()
    camera, late = live("wedged", 0.0, release), threading.Timer(60, release.set)
    late.start()
    threading.Timer(0.3, stop.set).start()
    for _ in as_they_come(lambda: [camera], stop):
        pass
    assert stop.is_set() and not release.is_set()
    late.cancel()
    release.set()
    camera.close()
    assert gone()


def test_a_consumer_that_leaves_holds_nobody() -> None:
    """The readers end although nobody takes their frames any more."""
    sources: list[Any] = [live("a", 0.001), live("b", 0.001), Reel("c", 10, 1000)]
    groups = as_they_come(lambda: sources, threading.Event())
    for _ in range(3):
        next(groups)
    groups.close()  # type: ignore[attr-defined]
    for source in sources:
        source.close()
    assert gone()
    given = sources[2].given
    time.sleep(0.05)
    assert sources[2].given == given < 10


@pytest.mark.parametrize("error", [Refused("a breaks off"), cv2.error("bad packet"), OSError(5, "gone"), KeyError("x")])
def test_whatever_a_source_raises_surfaces(error: Exception) -> None:
    sources: list[Any] = [Reel("a", 10, 2, error), live("b", 0.01)]
    with pytest.raises(type(error)):
        for _ in as_they_come(lambda: sources, threading.Event()):
            pass
    sources[1].close()
    assert gone()


def test_it_ends_when_all_sources_have_ended() -> None:
    sources = [Reel("a", 10, 3), Reel("b", 25, 5)]
    groups = list(as_they_come(lambda: sources, threading.Event()))
    assert sorted((frame.camera, frame.index) for group in groups for frame in group) == [
        *(("a", index) for index in range(3)),
        *(("b", index) for index in range(5)),
    ]
    assert gone()


def test_a_file_is_read_a_few_frames_ahead_and_its_error_comes_in_its_turn() -> None:
    reel = Reel("a", 10.0, 50, Refused("a breaks off"))
    frames = read_ahead(reel, room=3)
    assert next(frames).index == 0
    assert until(lambda: reel.given >= 3)
    time.sleep(0.2)
    assert reel.given <= 6  # no more than the room, and the one in hand
    with pytest.raises(Refused, match="breaks off"):
        assert [frame.index for frame in frames] == list(range(1, 50))
    left = read_ahead(Reel("b", 10.0, 50))
    next(left)
    left.close()
    assert gone()
