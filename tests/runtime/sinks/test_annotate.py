"""The annotated film: every picture at its own time, of any size, by either codec; whole or not there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_film import level, make_film

from vreid.models.errors import Refused
from vreid.runtime.records import Frame
from vreid.runtime.sinks import annotate as annotating
from vreid.runtime.sinks.annotate import annotate, written_video
from vreid.runtime.sources.table import open_source

UNEVEN = (0.0, 0.04, 0.08, 0.5, 0.52, 3.0, 3.034, 3.1, 10.0, 10.001)
NTSC = tuple(frame * 1001 / 60000 for frame in range(12))
EVEN = tuple(frame / 25 for frame in range(12))


@pytest.fixture(params=["libx264", "mpeg4"])
def codec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both codecs, as if PyAV had this one alone."""
    name: str = request.param
    if name not in annotating.av.codecs_available:
        pytest.skip(f"this PyAV has no {name}")
    monkeypatch.setattr(annotating, "CODECS", {name: annotating.CODECS[name]})
    return name


def read(path: Path) -> list[Frame]:
    source = open_source(f"a={path}")
    frames = list(source)
    assert source.warnings == [] and source.notes == []
    return frames


@pytest.mark.parametrize(("times", "container"), [(UNEVEN, "mkv"), (UNEVEN, "mp4"), (NTSC, "mp4"), (EVEN, "mov")])
def test_every_picture_keeps_its_time(tmp_path: Path, codec: str, times: tuple[float, ...], container: str) -> None:
    before = make_film(tmp_path / f"a.{container}", times)
    annotate(open_source(f"a={before}"), [], tmp_path / "out.mp4")
    frames, own = read(tmp_path / "out.mp4"), read(before)
    assert [frame.time for frame in frames] == pytest.approx([frame.time for frame in own], abs=1 / 60000)
    for number, frame in enumerate(frames):
        assert abs(frame.image.mean() - level(number)) < 6


@pytest.mark.parametrize("size", [(161, 121), (160, 121), (161, 120), (33, 17), (1, 1), (2, 64)])
def test_odd_sizes_lose_no_pixel(tmp_path: Path, codec: str, size: tuple[int, int]) -> None:
    width, height = size
    ramp = np.linspace(40, 220, width)[None, :, None] + np.zeros((height, width, 3))
    pictures = [np.asarray(ramp - 10 * number, np.uint8) for number in range(3)]
    with written_video(tmp_path / "a.mp4", size, 25.0) as write:
        for number, picture in enumerate(pictures):
            write(picture, number / 25)
    frames = read(tmp_path / "a.mp4")
    for frame, picture in zip(frames, pictures, strict=True):
        assert frame.image.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(frame.image[:height, :width].astype(int) - picture).mean() < 4


def test_times_that_stand_still_or_jump_back_still_rise(tmp_path: Path, codec: str) -> None:
    with written_video(tmp_path / "a.mp4", (32, 32), 0.0) as write:
        for number, time in enumerate((0.0, 0.0, 1.0, 0.5, 2.0)):
            write(np.full((32, 32, 3), level(number), np.uint8), time)
    times = [frame.time for frame in read(tmp_path / "a.mp4")]
    assert len(times) == 5 and times == sorted(set(times)) and times[-1] == 2.0


class Interrupted:
    """A film during whose second pass somebody presses Ctrl-C, or whose file breaks."""

    camera, live, frame_rate, size, dropped = "a", False, 25.0, (32, 32), 0

    def __init__(self, fault: BaseException) -> None:
        self._fault = fault

    def __iter__(self) -> Iterator[Frame]:
        for number in range(30):
            yield Frame("a", number, number / 25, np.full((32, 32, 3), level(number), np.uint8))
        raise self._fault


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), Refused("it breaks off"), RuntimeError("a fault of ours")])
def test_what_ends_early_leaves_nothing(tmp_path: Path, codec: str, fault: BaseException) -> None:
    source: Any = Interrupted(fault)
    with pytest.raises(type(fault)):
        annotate(source, [], tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_refused_in_a_sentence(codec: str) -> None:
    noise = np.random.default_rng(0)
    with pytest.raises(Refused, match="No space left"), written_video(Path("/dev/full"), (64, 64), 25.0) as write:
        for number in range(300):
            write(noise.integers(0, 256, (64, 64, 3)).astype(np.uint8), number / 25)
