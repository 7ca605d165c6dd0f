"""What is kept of a track, and that the cameras never wait for it."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from made_gallery import sighting

from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import OpenTrack
from vreid.runtime.kept.folder import KeptFolder
from vreid.runtime.kept.keeper import Keeper, KeepLimits
from vreid.runtime.kept.moments import AFTER_S, BEFORE_S, CLIP_RATE, CLIP_SIDE
from vreid.runtime.records import FinishedTrack, Frame
from vreid.runtime.session import Keep

BOX = np.array([10, 10, 60, 50], np.float32)
ENDED = 1_790_000_000.0


def grey(level: int, size: tuple[int, int] = (96, 64)) -> Image:
    return np.full((size[1], size[0], 3), level, np.uint8)


def ended(number: int = 1, camera: str = "gate") -> FinishedTrack:
    return sighting(number, camera=camera, track=number, seen=ENDED)


class Play:
    """Frames of one camera; frame n is of grey 40 + n, and tracks have the qualities that are given."""

    def __init__(self, keeper: Keeper, keep: Keep, camera: str = "gate", size: tuple[int, int] = (96, 64)) -> None:
        self.keeper, self.keep, self.camera, self.size = keeper, keep, camera, size
        self.tracks: dict[int, OpenTrack] = {}

    def frame(self, index: int, time: float, best: dict[int, float] | None = None) -> None:
        for number, quality in (best or {}).items():
            track = self.tracks.setdefault(number, OpenTrack((index, time), (index, time)))
            track.best, track.picture = quality, grey(1)
        self.keeper.see(Frame(self.camera, index, time, grey(40 + index, self.size)), self.tracks, self.keep)

    def end(self, number: int) -> FinishedTrack:
        self.tracks.pop(number, None)
        return self.keeper.ended(ended(number, self.camera), self.keep)


@pytest.fixture
def keeper(tmp_path: Path) -> Any:
    with Keeper(KeptFolder(tmp_path / "kept"), KeepLimits(10**9), live=False) as made:
        yield made


def level(path: Path) -> float:
    return float(cv2.imread(str(path)).mean())


def levels(path: Path) -> list[tuple[float, float]]:
    """Time in seconds and grey of each picture of a clip."""
    with av.open(str(path)) as film:
        return [
            (float(one.pts * one.time_base), float(one.to_ndarray(format="gray").mean()))
            for one in film.decode(video=0)
        ]


def greys(path: Path) -> list[float]:
    return [one for _, one in levels(path)]


def file_of(keeper: Keeper, track: FinishedTrack) -> Path:
    keeper.finish()
    assert track.kept is not None
    return keeper.folder.path / track.kept


def test_the_best_crop_at_its_own_size(keeper: Keeper) -> None:
    track = replace(ended(), picture=cv2.resize(ended().picture, (300, 200), interpolation=cv2.INTER_CUBIC))
    kept = keeper.ended(track, "crop")
    found = cv2.imread(str(file_of(keeper, kept))).astype(int)
    assert found.shape == (200, 300, 3)
    assert np.abs(found - track.picture).mean() < 8
    assert keeper.summary()["crop"] == 1
    assert keeper.summary()["bytes"] == keeper.folder.size() == file_of(keeper, kept).stat().st_size


def test_the_whole_frame_of_the_best_moment(keeper: Keeper) -> None:
    play = Play(keeper, "frame")
    play.frame(0, 0.0, {1: 0.2, 2: 0.5})
    play.frame(1, 0.1, {1: 0.6})
    play.frame(2, 0.2, {1: 0.61})  # hardly better
    play.frame(3, 0.3)
    first, second = play.end(1), play.end(2)
    assert level(file_of(keeper, first)) == pytest.approx(41, abs=1.5)
    assert level(file_of(keeper, second)) == pytest.approx(40, abs=1.5)
    assert first.kept != second.kept


def test_a_clip_of_some_seconds_around_the_best_moment(keeper: Keeper) -> None:
    play = Play(keeper, "clip")
    for index in range(200):  # 25 a second
        play.frame(
            index, index / 25, {1: 0.2 if index < 100 else 0.9 if index == 100 else 0.3} if index <= 100 else None
        )
    found = levels(file_of(keeper, play.end(1)))
    times = [one for one, _ in found]
    shown = [round(grey_level - 40) / 25 for _, grey_level in found]  # when each was taken
    assert len(found) == pytest.approx((BEFORE_S + AFTER_S) * CLIP_RATE, abs=2)
    assert times[-1] == pytest.approx(BEFORE_S + AFTER_S, abs=0.2)
    assert shown[0] == pytest.approx(4.0 - BEFORE_S, abs=0.15)
    assert shown[-1] == pytest.approx(4.0 + AFTER_S, abs=0.15)
    assert np.allclose(np.diff(shown), np.diff(times), atol=0.13)


def test_a_clip_of_a_track_that_ends_at_once_and_of_one_that_gets_better_later(keeper: Keeper) -> None:
    play = Play(keeper, "clip")
    play.frame(0, 0.0, {1: 0.5, 2: 0.5})
    play.frame(1, 0.1)
    short = play.end(1)
    for index in range(2, 80):
        play.frame(index, index / 10, {2: 0.9} if index == 60 else None)
    later = play.end(2)
    assert greys(file_of(keeper, short)) == pytest.approx([40, 41], abs=2.1)
    assert greys(file_of(keeper, later)) == pytest.approx(list(range(80, 120)), abs=3.5)


def test_a_clip_is_small_whatever_is_seen(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with Keeper(KeptFolder(tmp_path), KeepLimits(10**9), live=False) as keeper:
        track = OpenTrack((0, 0.0), (0, 0.0))
        track.best, track.picture = 0.5, grey(1)
        for index in range(60):
            noise = rng.integers(0, 255, (720, 1281, 3), np.uint8)  # nothing is harder to encode
            keeper.see(Frame("gate", index, index / 10, noise), {1: track}, "clip")
        path = file_of(keeper, keeper.ended(ended(), "clip"))
    with av.open(str(path)) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (CLIP_SIDE, 360)
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    "times", [[0.0] * 50, [1e9 - index for index in range(50)], [index * 100.0 for index in range(50)]]
)
def test_times_that_stand_still_run_back_or_jump(keeper: Keeper, times: Sequence[float]) -> None:
    play = Play(keeper, "clip")
    for index, time in enumerate(times):
        play.frame(index, time, {1: 0.5})
    found = levels(file_of(keeper, play.end(1)))
    assert 1 <= len(found) <= 60


def test_a_camera_that_comes_back_with_another_size(keeper: Keeper) -> None:
    play = Play(keeper, "clip")
    for index in range(20):
        play.size = (96, 64) if index < 10 else (60, 80)
        play.frame(index, index / 10, {1: 0.5})
    assert len(levels(file_of(keeper, play.end(1)))) == 20


def test_nothing_is_encoded_while_nobody_is_there(keeper: Keeper) -> None:
    encoded: list[int] = []
    put: Callable[..., bool] = keeper._put
    keeper._put = lambda job, size: encoded.append(size) or put(job, size)  # type: ignore[method-assign,func-returns-value]
    for keep in ("none", "crop", "frame", "clip"):
        play = Play(keeper, keep)  # type: ignore[arg-type]
        for index in range(20):
            play.frame(index, index / 10)
    assert encoded == []
    assert keeper.ended(ended(), "none").kept is None
    assert keeper.ended(ended(), "clip").kept is None


def test_another_choice_under_way_begins_anew(keeper: Keeper) -> None:
    play = Play(keeper, "frame")
    play.frame(0, 0.0, {1: 0.5})
    play.keep = "clip"
    play.frame(1, 0.1)
    play.frame(2, 0.2)
    kept = play.end(1)
    assert str(kept.kept).endswith(".mp4")
    assert greys(file_of(keeper, kept)) == pytest.approx([41, 42], abs=2.1)


class Slow(KeptFolder):
    """A disk that is waited for until `go` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go, self.reached = threading.Event(), threading.Event()

    def write(self, name: str, content: bytes) -> int:
        self.reached.set()
        assert self.go.wait(60)
        return super().write(name, content)


def test_a_live_run_drops_what_a_slow_disk_does_not_take_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "vreid")
    folder = Slow(tmp_path / "kept")
    with Keeper(folder, KeepLimits(10**9), live=True, room=8) as keeper:
        first = keeper.ended(ended(0), "crop")
        assert folder.reached.wait(60)
        later = [keeper.ended(ended(number), "crop") for number in range(1, 30)]  # would hang if it waited
        assert [track.kept is not None for track in later] == [True] * 8 + [False] * 21
        assert (keeper.status().depth, keeper.status().room, keeper.status().dropped) == (8, 8, 21)
        folder.go.set()
        keeper.finish()
    names = {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*.jpg")}
    assert names == {track.kept for track in (first, *later) if track.kept}
    assert keeper.summary()["dropped"] == 21
    assert [record.getMessage() for record in caplog.records] == [
        "pictures are not kept as fast as they come; what finds no room is dropped and counted",
        "21 steps of keeping pictures were dropped, since the disk or the processor is too slow",
    ]


def test_pixels_that_wait_are_bounded(tmp_path: Path) -> None:
    folder = Slow(tmp_path / "kept")
    with Keeper(folder, KeepLimits(10**9), live=True, room_bytes=100_000) as keeper:
        keeper.ended(ended(0), "crop")
        assert folder.reached.wait(60)
        large = replace(ended(1), picture=np.zeros((100, 300, 3), np.uint8))  # 90,000
        put = [keeper.ended(replace(large, track=number), "crop").kept is not None for number in range(1, 5)]
        assert put == [True, False, False, False]
        folder.go.set()


def test_a_run_over_files_waits_and_loses_nothing(tmp_path: Path) -> None:
    folder = Slow(tmp_path / "kept")
    with Keeper(folder, KeepLimits(10**9), live=False, room=2) as keeper:
        threading.Timer(0.2, folder.go.set).start()
        tracks = [keeper.ended(ended(number), "crop") for number in range(30)]
        keeper.finish()
    assert all(track.kept is not None and (folder.path / track.kept).is_file() for track in tracks)
    assert keeper.dropped == 0


def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "vreid")
    (tmp_path / "kept").write_text("a file in the way")
    with Keeper(KeptFolder(tmp_path / "kept"), KeepLimits(10**9), live=True) as keeper:
        for number in range(5):
            assert keeper.ended(ended(number), "crop").kept is not None
        keeper.finish()
    assert keeper.summary()["failed"] == 5
    assert keeper.summary()["crop"] == 0
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "cannot be written to" in said[0]


def test_a_run_that_fails_takes_back_its_own_files_only(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path / "kept")
    with Keeper(folder, KeepLimits(10**9), live=False) as keeper:
        before = keeper.ended(ended(1), "crop").kept
    with pytest.raises(KeyError), Keeper(folder, KeepLimits(10**9), live=False) as keeper:
        keeper.ended(ended(1), "crop")  # the same again
        keeper.ended(ended(2), "crop")
        raise KeyError
    assert [path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*.jpg")] == [before]


def test_a_run_that_fails_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    folder = Slow(tmp_path / "kept")
    with pytest.raises(KeyError), Keeper(folder, KeepLimits(10**9), live=False) as keeper:
        for number in range(50):
            keeper.ended(ended(number), "crop")
        assert folder.reached.wait(60)
        threading.Timer(0.2, folder.go.set).start()
        raise KeyError
    assert keeper.summary()["crop"] <= 1
    assert list(folder.path.rglob("*.jpg")) == []


def test_the_bound_holds_while_it_runs(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3)).astype(np.uint8)  # about 10 kB
    folder = KeptFolder(tmp_path / "kept")
    with Keeper(folder, KeepLimits(100_000), live=False) as keeper:
        for number in range(60):
            keeper.ended(replace(ended(number), picture=noise, seen=ENDED + number), "crop")
            assert folder.size() <= 130_000
        keeper.finish()
    left = sorted(int(path.stem.partition("-")[2]) for path in folder.path.rglob("*.jpg"))
    assert left == list(range(60 - len(left), 60))
    assert 4 <= len(left) <= 10
    assert folder.size() <= 100_000
    assert keeper.summary()["removed"] == 60 - len(left)


def test_what_is_older_than_it_may_be_is_gone_at_the_start(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path / "kept")
    with Keeper(folder, KeepLimits(10**9), live=False) as keeper:
        keeper.ended(ended(1), "crop")
        keeper.ended(replace(ended(2), seen=9e9), "crop")
    with Keeper(folder, KeepLimits(10**9, seconds=60.0), live=True) as keeper:
        keeper.finish()
    assert [path.stem.partition("-")[2] for path in folder.path.rglob("*.jpg")] == ["2"]


def test_what_is_removed_before_it_is_written_never_comes_or_goes_again(tmp_path: Path) -> None:
    removing = KeptFolder(tmp_path / "kept")  # another object of the same folder, as a gallery has it

    class Removed(Slow):
        def write(self, name: str, content: bytes) -> int:
            assert self.go.wait(60)
            with self.replacing(name) as temporary:
                temporary.write_bytes(content)
                if name.endswith("-2.jpg"):  # in the middle of it, and of another that still waits
                    assert [removing.remove("gate", ENDED, number) for number in (2, 3)] == [1, 0]
            return len(content)

    folder = Removed(tmp_path / "kept")
    with Keeper(folder, KeepLimits(10**9), live=False) as keeper:
        for number in (1, 2, 3, 4):
            keeper.ended(ended(number), "crop")
        folder.go.set()
        keeper.finish()
    assert sorted(path.stem.partition("-")[2] for path in removing.path.rglob("*.*")) == ["1", "4"]
    assert (keeper.summary()["crop"], keeper.summary()["failed"]) == (2, 0)
