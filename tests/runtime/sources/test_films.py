"""Films of every kind give their own pictures at their own times: rates, containers, pixel formats, damage, joins."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from made_film import level, make_film, remuxed

from vreid.models.errors import Refused
from vreid.runtime.evaluate.finished_run import CameraLog
from vreid.runtime.frame_sync import CLOSE, FrameTimes, seconds_at
from vreid.runtime.records import Frame
from vreid.runtime.sources.decode import Clock
from vreid.runtime.sources.table import open_source

STEADY = [n / 10 for n in range(30)]
VARIABLE = [2.0 * n for n in range(10)] + [20 + n / 10 for n in range(20)]
FAST = {"preset": "ultrafast"}


def read(path: Path) -> list[Frame]:
    source = open_source(str(path))
    frames = list(source)
    assert not source.warnings, source.warnings
    return frames


def warnings(frames: list[Frame], times: list[float], within: float = 0.002, numbers: list[int] | None = None) -> None:
    """Every picture is the one of its number, at its time."""
    assert [frame.index for frame in frames] == list(range(len(times)))
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=within)
    greys = [level(number) for number in (numbers or range(len(times)))]
    np.testing.assert_allclose([frame.image.mean() for frame in frames], greys, atol=3.5)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "bframes"),
    [
        ("a.mp4", "libx264", "yuv420p", 0),
        ("a.mkv", "libx264", "yuv420p", 3),
        ("a.mp4", "libx264", "yuv420p", 3),
        ("a.mov", "mpeg4", "yuv420p", 0),
        ("a.avi", "mjpeg", "yuvj420p", 0),
        ("a.webm", "libvpx", "yuv420p", 0),
    ],
)
def test_a_film_of_variable_rate_has_its_own_times(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, bframes: int
) -> None:
    options = FAST if codec == "libx264" else {}
    warnings(read(make_film(tmp_path / name, VARIABLE, codec, pix_fmt, bframes=bframes, options=options)), VARIABLE)


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mkv", "libx264", "yuv444p"),
        ("a.mp4", "libx264", "yuvj420p"),
        ("a.mkv", "ffv1", "gray"),
        ("a.mkv", "ffv1", "gray10le"),
        ("a.mkv", "mjpeg", "yuvj422p"),
        ("a.mov", "png", "rgb24"),
        ("a.gif", "gif", "rgb8"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.flv", "libx264", "yuv420p"),
        ("a.avi", "rawvideo", "bgr24"),
    ],
)
def test_every_pixel_format_and_container_gives_the_right_pictures(
    tmp_path: Path, name: str, codec: str, pix_fmt: str
) -> None:
    options = FAST if codec == "libx264" else {}
    warnings(read(make_film(tmp_path / name, STEADY, codec, pix_fmt, options=options)), STEADY)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p"])
def test_odd_sizes_and_full_range(tmp_path: Path, pix_fmt: str) -> None:
    frames = read(make_film(tmp_path / "odd.mkv", STEADY, "ffv1", pix_fmt, size=(97, 65)))
    warnings(frames, STEADY)
    assert {frame.image.shape for frame in frames} == {(65, 97, 3)}
    warnings(read(make_film(tmp_path / "full.mp4", STEADY, "libx264", pix_fmt, options=FAST, full_range=True)), STEADY)


@pytest.mark.parametrize("name", ["a.avi", "b.avi"])
def test_an_avi_with_b_frames_and_one_with_dropped_frames(tmp_path: Path, name: str) -> None:
    if name == "a.avi":
        warnings(read(make_film(tmp_path / name, STEADY, "libx264", bframes=3, options=FAST)), STEADY)
    else:
        times = STEADY[:10] + STEADY[20:]
        kept = read(make_film(tmp_path / name, times, "mjpeg", "yuvj420p"))
        warnings(kept, times)


@pytest.mark.parametrize("shift", [500.0, 1.5])
def test_a_film_that_does_not_begin_at_zero_begins_at_zero(tmp_path: Path, shift: float) -> None:
    film = make_film(tmp_path / "a.ts", STEADY, "libx264", options=FAST, bframes=2)
    for name in ("late.ts", "late.mkv"):
        warnings(read(remuxed(film, tmp_path / name, shift)), STEADY)


def test_a_raw_stream_without_stamps_is_of_the_rate_that_is_assumed(tmp_path: Path) -> None:
    frames = read(make_film(tmp_path / "a.h264", STEADY, "libx264", options=FAST, bframes=3))
    warnings(frames, [n / 25 for n in range(30)])


def test_films_joined_end_to_end_go_on_in_time(tmp_path: Path) -> None:
    one = make_film(tmp_path / "one.ts", STEADY, "libx264", options=FAST, bframes=2)
    late = remuxed(one, tmp_path / "late.ts", 5000.0)
    for name, parts in {"same": (one, one), "later": (one, late), "earlier": (late, one)}.items():
        joined = tmp_path / f"{name}.ts"
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        warnings(read(joined), [n / 10 for n in range(60)], numbers=[*range(30), *range(30)], within=0.11)


def test_a_trimmed_film_has_the_pictures_that_it_shows(tmp_path: Path) -> None:
    """An edit list hides what lies before the cut, and the header still counts it."""
    film = make_film(tmp_path / "a.mp4", STEADY, "libx264", options=FAST, gop=30)
    cut = tmp_path / "cut.mp4"
    with av.open(str(film)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                moved = round(1.2 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - moved, packet.dts - moved, stream
                target.mux(packet)
    with av.open(str(cut)) as made:
        assert made.streams.video[0].frames == 30
    warnings(read(cut), STEADY[:18], numbers=list(range(12, 30)))


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_sound_and_a_cover_are_passed_over(tmp_path: Path, name: str) -> None:
    film = make_film(tmp_path / f"silent-{name}", STEADY, "libx264", options=FAST)
    with av.open(str(film)) as source, av.open(str(tmp_path / name), "w") as target:
        sound = target.add_stream("aac", rate=16000, layout="mono")
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
        for n in range(100):  # six seconds: longer than the pictures
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 1024 * n, Fraction(1, 16000)
            target.mux(sound.encode(frame))
        target.mux(sound.encode(None))
    warnings(read(tmp_path / name), STEADY)


def test_a_film_of_sound_only_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as target:
        sound = target.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        target.mux([*sound.encode(frame), *sound.encode(None)])
    with pytest.raises(Refused, match=r"a\.mp4 holds no video"):
        open_source(str(tmp_path / "a.mp4"))


def test_interlaced_films_give_their_pictures_and_a_note(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.mp4", STEADY, "libx264", options={**FAST, "x264-params": "interlaced=1"})
    source = open_source(str(film))
    warnings(list(source), STEADY)
    assert source.warnings == [] and "is interlaced" in source.notes[0]


def test_a_change_of_size_in_the_middle_is_followed(tmp_path: Path) -> None:
    parts = [
        make_film(tmp_path / f"{n}.ts", STEADY, "libx264", options=FAST, size=size)
        for n, size in enumerate([(96, 64), (64, 48)])
    ]
    (tmp_path / "joined.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = read(tmp_path / "joined.ts")
    assert [frame.image.shape[:2] for frame in frames] == [(64, 96)] * 30 + [(48, 64)] * 30


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_the_turn_of_a_telephone_is_applied_as_opencv_does(tmp_path: Path, turn: int) -> None:
    """The matrix of the track's header (ISO/IEC 14496-12, 8.3.2) is written over: MP4 keeps a turn there."""
    film = tmp_path / "a.mp4"
    with av.open(str(film), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[:20, :30], picture[-20:, :30] = 250, 120
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        out.mux(stream.encode(None))
    data = film.read_bytes()
    at = data.index(b"tkhd") + 4
    at += 40 if data[at] == 0 else 52
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[turn]
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    film.write_bytes(data[:at] + matrix + data[at + 36 :])
    source = open_source(str(film))
    image = next(iter(source)).image
    assert source.size == (image.shape[1], image.shape[0]) == ((96, 64) if turn in (0, 180) else (64, 96))
    np.testing.assert_allclose(image, np.rot90(picture, -turn // 90), atol=40)
    np.testing.assert_allclose(image.astype(int), cv2.VideoCapture(str(film)).read()[1].astype(int), atol=2)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.avi"])
def test_damage_in_the_middle_is_passed_over_and_said(tmp_path: Path, name: str) -> None:
    """Noise over a tenth of the file: the rest is read, whichever layer notices."""
    film = make_film(tmp_path / name, STEADY, "libx264", size=(320, 240), options=FAST, gop=5)
    with av.open(str(film)) as source:
        places = [(packet.pos, packet.size) for packet in source.demux(video=0) if packet.size]
    data = bytearray(film.read_bytes())
    begin = places[15][0] + 40
    data[begin : begin + 400] = np.random.default_rng(0).bytes(400)
    film.write_bytes(bytes(data))
    source = open_source(str(film))
    frames = list(source)
    assert 20 <= len(frames) <= 30
    assert frames[-1].time == pytest.approx(2.9, abs=0.11) and abs(frames[-1].image.mean() - level(29)) < 4
    assert source.warnings and "damaged" in source.warnings[0] and "breaks off" not in source.warnings[0]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mjpeg"), ("a.flv", "libx264")]
)
def test_a_film_that_breaks_off_is_kept_up_to_there(tmp_path: Path, name: str, codec: str) -> None:
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    options = {"movflags": "faststart"} if name.endswith("mp4") else {}
    film = tmp_path / name
    with av.open(str(film), "w", options=options) as out:
        stream = out.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, pix_fmt
        noise = np.random.default_rng(0)
        for n in range(40):
            picture = np.clip(level(n) + noise.normal(0, 12, (120, 160, 3)), 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format=pix_fmt)
            frame.pts = n
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    end = int(0.6 * film.stat().st_size)
    with av.open(str(film)) as whole:
        kept = sum(packet.pos + packet.size <= end for packet in whole.demux(video=0) if packet.size)
    film.write_bytes(film.read_bytes()[:end])
    source = open_source(str(film))
    frames = list(source)
    assert 5 <= kept <= 35 and kept - 3 <= len(frames) <= kept + 1, (kept, len(frames))
    assert any("breaks off at frame" in warning for warning in source.warnings), source.warnings


def test_pictures_agree_with_opencv(tmp_path: Path) -> None:
    """A progressive film of standard colours is what OpenCV makes of it, to the pixel."""
    film = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    noise = np.random.default_rng(0)
    for _ in range(5):
        writer.write(cv2.GaussianBlur(noise.integers(0, 256, (64, 96, 3), np.uint8), (9, 9), 0))
    writer.release()
    capture = cv2.VideoCapture(str(film))
    for frame in read(film):
        np.testing.assert_allclose(frame.image.astype(int), capture.read()[1].astype(int), atol=2)


# --- clocks ---


def times_of(stamps: list[float | None], longest: float = float("inf")) -> list[float]:
    clock = Clock(0.1, longest)
    return [round(clock.time(stamp), 6) for stamp in stamps]


def test_a_clock_takes_missing_standing_and_straying_stamps() -> None:
    assert times_of([5.0, 5.1, 5.3]) == [0.0, 0.1, 0.3]
    assert times_of([None, None, None]) == [0.0, 0.1, 0.2]
    assert times_of([None, 7.0, 7.1, None]) == [0.0, 0.1, 0.2, 0.3]
    assert times_of([1.0, 1.1, 1.1, 1.2]) == [0.0, 0.1, 0.1, 0.2]
    assert times_of([1.0, 1.1, 0.2, 1.3, 1.4]) == [0.0, 0.1, 0.2, 0.3, 0.4]  # one stamp goes astray
    assert times_of([9.0, 9.1, 0.0, 0.1, 0.2, 0.3]) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]  # another film begins
    assert times_of([0.0, 0.1, 900.0, 900.1], longest=10.0) == [0.0, 0.1, 0.2, 0.3]  # another clock
    assert times_of([0.0, 0.1, 900.0, 900.1]) == [0.0, 0.1, 900.0, 900.1]  # a pause
    assert times_of([-2.0, -1.9]) == [0.0, 0.1]


def test_frame_times_are_kept_in_few_numbers() -> None:
    noise = np.random.default_rng(0)
    steady = np.arange(1000) / 30 + noise.uniform(-0.0005, 0.0005, 1000)  # as a container of milliseconds writes them
    for times, most in (
        (steady, 2),
        (np.array(VARIABLE), 4),
        (np.cumsum(noise.uniform(0.03, 0.4, 300)), 300),
        ([3.5], 1),
    ):
        kept = FrameTimes()
        for index, time in enumerate(times):
            kept.add(index, float(time))
        assert len(kept.knots()) <= most
        np.testing.assert_allclose(seconds_at(kept.knots(), np.arange(len(times))), times, atol=CLOSE + 1e-4)
    even = FrameTimes()
    for index in range(50):
        even.add(index, index / 10)
    assert even.steady(10.0) and not even.steady(12.5)


def test_a_judged_run_takes_the_times_of_its_frames() -> None:
    variable = CameraLog(62, 320, 180, 2.46, times=((0, 0.0), (10, 20.0), (61, 25.1)))
    np.testing.assert_allclose(variable.seconds([1, 6, 11, 62]), [0.0, 10.0, 20.0, 25.1])
    np.testing.assert_allclose(CameraLog(62, 320, 180, 10.0).seconds([1, 11]), [0.0, 1.0])
    assert not CameraLog(62, 320, 180, 0.0).timed and np.isnan(CameraLog(62, 320, 180, 0.0).seconds([1])).all()


@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_an_mp4_that_was_cut_off_before_its_index_is_said_to_be_so(tmp_path: Path, kept: float) -> None:
    film = make_film(tmp_path / "film.mp4", STEADY)
    content = film.read_bytes()
    assert content.index(b"mdat") < content.index(b"moov")  # which stands at the end
    film.write_bytes(content[: int(kept * content.index(b"moov"))])
    with pytest.raises(Refused, match=r"cut off before its index \(moov\)"):
        open_source(str(film))


def test_only_an_mp4_without_an_index_is_said_to_lack_one(tmp_path: Path) -> None:
    for name, content in {"a.mp4": b"no film at all", "b.mp4": b"\0\0\0\x08moov", "c.mp4": b"\0\0\0\1ftyp"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Refused) as refusal:
            open_source(str(tmp_path / name))
        assert ("moov" in str(refusal.value)) == (name == "c.mp4")
