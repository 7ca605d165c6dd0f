"""Sources: files are lossless or refused, folders are in order, live cameras drop and come back, names are as told."""

import itertools
import random
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.sources.live import LiveSource, pauses
from vreid.runtime.sources.table import SOURCES, address_of, addresses_of, open_source, open_sources

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "roadside-video"


def runs(name):
    """Whether a thread of this name is alive."""
    return any(thread.name == name for thread in threading.enumerate())


def grey(level):
    return np.full((48, 64, 3), level, np.uint8)


def write_video(path, frames=30, code="mp4v", rate=10.0):
    """Frame i is of grey 8 i, so that its place can be read back from its pixels."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), rate, (64, 48))
    for i in range(frames):
        writer.write(grey(8 * i % 256))
    writer.release()
    return path


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


# --- names ---


@pytest.mark.parametrize(
    ("text", "kind", "where", "camera"),
    [
        ("cam1.mp4", "file", "cam1.mp4", "cam1"),
        ("gate=x/cam1.mp4", "file", "x/cam1.mp4", "gate"),
        ("./a=b.mp4", "file", "a=b.mp4", "a_b"),
        ("file:///data/my%20cam.mp4", "file", "/data/my cam.mp4", "my_cam"),
        ("file://cam1.mp4", "file", "cam1.mp4", "cam1"),
        ("frames/", "folder", "frames", "frames"),
        ("frames/img_%04d.jpg", "pattern", "frames/img_%04d.jpg", "img"),
        ("frames/%d.png", "pattern", "frames/%d.png", "frames"),
        ("file:///x/img_%04d.jpg", "pattern", "/x/img_%04d.jpg", "img"),
        ("photo.JPG", "picture", "photo.JPG", "photo"),
        ("0", "device", "/dev/video0", "video0"),
        ("/dev/video2", "device", "/dev/video2", "video2"),
        ("v4l2:///dev/video0", "device", "/dev/video0", "video0"),
        ("v4l2://1", "device", "/dev/video1", "video1"),
        ("csi://0", "csi", "0", "csi0"),
        ("gst:videotestsrc num-buffers=3 ! x", "gst", "videotestsrc num-buffers=3 ! x", "gst"),
        ("rtsp://gate-1/", "rtsp", "rtsp://gate-1/", "gate-1"),
        ("rtsp://me:pw@10.0.0.7:8554/a/b?c=1", "rtsp", "rtsp://me:pw@10.0.0.7:8554/a/b?c=1", "10.0.0.7_8554"),
        ("rtsp://me:1/2@host:554/live", "rtsp", "rtsp://me:1%2F2@host:554/live", "host"),
        ("RTSP://gate-1/Streaming/Channels/101", "rtsp", "rtsp://gate-1/Streaming/Channels/101", "gate-1_101"),
        ("Hof-S\u00fcd=rtsp://h/x", "rtsp", "rtsp://h/x", "Hof-S\u00fcd"),
        ("Hof-Su\u0308d=rtsp://h/x", "rtsp", "rtsp://h/x", "Hof-S\u00fcd"),
        ("back yard = rtsp://h/x", "rtsp", "rtsp://h/x", "back yard"),
        ("ворота=x/cam1.mp4", "file", "x/cam1.mp4", "ворота"),
        ("x/ворота 2.mp4", "file", "x/ворота 2.mp4", "ворота_2"),
        ("caf\udce9.mp4", "file", "caf\udce9.mp4", "caf"),
        ("synth://city?camera=2&seed=7", "synth", "synth://city?camera=2&seed=7", "cam2"),
        ("synth://city", "synth", "synth://city", "cam1"),
    ],
)
def test_what_is_written_says_what_is_opened_and_its_name(text, kind, where, camera):
    address = address_of(text)
    assert (address.kind, address.where, address.camera) == (kind, where, camera)


@pytest.mark.parametrize(
    "text", ["", "gate=", "..=a.mp4", "ftp://host/a.mp4", "rtsp:///path", "rtsp://host:port/x", "rtsp:/host/x"]
)
def test_what_means_nothing_is_refused(text):
    with pytest.raises(Refused):
        address_of(text)


@pytest.mark.parametrize(
    "name", ["a/b", "a\\b", "..", "", " ", "a\nb", "a\x00b", "caf\udce9", "a:b", "a=b", "a+b", "a#b", "*", "é" * 101]
)
def test_a_name_that_is_no_file_or_topic_is_refused_without_the_address(name):
    with pytest.raises(Refused, match="a camera's name") as refused:
        address_of(f"{name}=rtsp://me:secretword@192.0.2.7/x")
    assert "secretword" not in str(refused.value)
    str(refused.value).encode()


def test_cameras_of_one_host_get_numbers_but_named_ones_keep_their_name():
    texts = ["rtsp://h/a?token=x", "rtsp://h/b?token=y", "h-2=rtsp://h/c", "rtsp://h/ch3/d", "rtsp://h/e"]
    assert [address.camera for address in addresses_of(texts)] == ["h", "h-3", "h-2", "h_3", "h-4"]


def test_a_file_whose_name_has_another_letter_and_an_equals_sign_is_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "süd=1.mp4").write_bytes(b"x")
    assert address_of("süd=1.mp4").where == "süd=1.mp4"
    assert address_of("süd=2.mp4").where == "2.mp4"


def test_a_password_is_never_shown():
    with pytest.raises(Refused) as refused:
        open_source("rtsp://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(refused.value)


def test_two_cameras_of_one_name_are_refused_unless_named(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / "cam1.mp4", 3)
    texts = [f"{tmp_path}/a/cam1.mp4", f"{tmp_path}/b/cam1.mp4"]
    with pytest.raises(Refused, match="called 'cam1'"):
        open_sources(texts)
    assert [source.camera for source in open_sources([texts[0], "other=" + texts[1]])] == ["cam1", "other"]


def test_all_sources_open_or_none_stays_open(tmp_path):
    video = write_video(tmp_path / "cam1.mp4", 3)

    def held():
        return sum(1 for link in Path("/proc/self/fd").iterdir() if link.is_symlink() and link.resolve() == video)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("only Linux lists what is open")
    source = open_source(str(video))
    assert held() == 1
    source.close()
    with pytest.raises(Refused, match="there is no video"):
        open_sources([str(video), str(tmp_path / "missing.mp4")])
    assert held() == 0


# --- files ---


@pytest.mark.parametrize(("name", "code"), [("cam1.mp4", "mp4v"), ("cam1.avi", "MJPG"), ("gate:1.mkv", "MJPG")])
def test_a_file_gives_every_frame_in_order_each_time(tmp_path, name, code):
    source = open_source(str(write_video(tmp_path / name, 30, code)))
    assert (source.live, source.frame_rate, source.size) == (False, 10.0, (64, 48))
    for _ in range(2):
        frames = list(source)
        assert [frame.index for frame in frames] == list(range(30))
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 10)
        np.testing.assert_allclose([frame.image.mean() for frame in frames], np.arange(30) * 8, atol=4)
    assert {frame.camera for frame in frames} == {source.camera}
    assert source.dropped == 0


def test_frames_stay_as_they_were_when_the_next_is_read(tmp_path):
    frames = iter(open_source(str(write_video(tmp_path / "a.mp4", 3))))
    first = next(frames)
    before = first.image.copy()
    next(frames)
    np.testing.assert_array_equal(first.image, before)


@pytest.mark.parametrize("name", ["cam1.avi", "cam1.mkv"])
def test_a_file_that_breaks_off_gives_what_it_has_and_says_so(tmp_path, name):
    source = open_source(str(cut(write_video(tmp_path / name, 30, "MJPG"), 0.6)))
    seen = list(source)
    assert 0 < len(seen) < 28
    np.testing.assert_allclose([frame.image.mean() for frame in seen[:-1]], np.arange(len(seen) - 1) * 8, atol=4)
    assert f"{name} breaks off at frame {len(seen)}" in source.warnings[0]
    whole = open_source(str(write_video(tmp_path / f"whole-{name}", 30, "MJPG")))
    assert len(list(whole)) == 30 and whole.warnings == []


def test_what_is_no_video_is_refused_on_opening(tmp_path):
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("this is no video\n" * 50)
    write_video(tmp_path / "none.mp4", 0)
    write_video(tmp_path / "none.avi", 0, "MJPG")
    cut(write_video(tmp_path / "cut.mp4"), 0.5)  # its index, which comes last, is gone
    for name, reason in {
        "missing.mp4": "there is no video",
        "zero.mp4": "0 bytes",
        "text.mp4": "no video",
        "none.mp4": "no video",
        "none.avi": "without frames",
        "cut.mp4": "cut off before its index",
    }.items():
        with pytest.raises(Refused, match=reason) as refused:
            open_source(str(tmp_path / name))
        assert name in str(refused.value)


def test_opening_keeps_the_log_level_of_opencv(tmp_path):
    level = cv2.utils.logging.getLogLevel if hasattr(cv2.utils, "logging") else cv2.getLogLevel  # up to 4.12
    before = level()
    with pytest.raises(Refused):
        open_source(str(tmp_path / "missing.mp4"))
    open_source(str(write_video(tmp_path / "a.mp4", 2))).close()
    assert level() == before


def test_a_closed_file_gives_no_more(tmp_path):
    source = open_source(str(write_video(tmp_path / "a.mp4", 10)))
    frames = iter(source)
    next(frames)
    source.close()
    source.close()
    assert list(frames) == [] and list(source) == []


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is absent")
def test_the_roadside_video_has_its_frames():
    source = open_source(str(SHARED / "cam1.mp4"))
    counted = sum(1 for _ in source)
    capture = cv2.VideoCapture(str(SHARED / "cam1.mp4"))
    assert counted == capture.get(cv2.CAP_PROP_FRAME_COUNT) >= 200


# --- pictures ---


def write_pictures(folder, names):
    folder.mkdir()
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((40 + i, 60, 3), 10 * i, np.uint8))
    return folder


def levels(source):
    return [round(float(frame.image.mean()) / 10) for frame in source]


def test_a_folder_is_read_in_natural_order(tmp_path):
    folder = write_pictures(tmp_path / "gate", ["f1.jpg", "f2.png", "f10.JPEG", "f11.bmp"])
    (folder / "notes.txt").write_text("not a picture")
    (folder / "._f1.jpg").write_text("not a picture either")
    source = open_source(str(folder))
    frames = list(source)
    assert source.camera == "gate" and source.size == (60, 40)
    assert levels(source) == [0, 1, 2, 3]
    assert [frame.image.shape[0] for frame in frames] == [40, 41, 42, 43]
    np.testing.assert_allclose([frame.time for frame in frames], [0, 0.1, 0.2, 0.3])


def test_a_pattern_takes_its_own_numbers_only(tmp_path):
    names = ["img_0003.png", "img_0007.png", "img_0010.png", "img_00011.png", "img_12.png", "other_0001.png"]
    folder = write_pictures(tmp_path / "frames", names)
    assert levels(open_source(f"{folder}/img_%04d.png")) == [0, 1, 2]
    assert levels(open_source(f"{folder}/img_%d.png")) == [4]
    assert levels(open_source(f"{folder}/img_12.png")) == [4]
    with pytest.raises(Refused, match="no picture fits"):
        open_source(f"{folder}/img_%06d.png")
    with pytest.raises(Refused, match="exactly one number"):
        open_source(f"{folder}/img_%d_%d.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_a_damaged_picture_is_refused_by_name(tmp_path, suffix):
    folder = write_pictures(tmp_path / "gate", [f"a{suffix}", f"b{suffix}"])
    cv2.imwrite(str(folder / f"b{suffix}"), np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8))
    cut(folder / f"b{suffix}", 0.7)
    frames = iter(open_source(str(folder)))
    assert next(frames).index == 0
    with pytest.raises(Refused, match=f"b{suffix}"):
        next(frames)
    (folder / f"a{suffix}").write_bytes(b"")
    with pytest.raises(Refused, match=f"a{suffix}"):
        open_source(str(folder))


def test_folders_without_pictures_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="holds no pictures"):
        open_source(str(tmp_path / "empty"))
    (tmp_path / "empty" / "b.MP4").touch()
    with pytest.raises(Refused, match=r"no pictures but videos; name each as a source, such as .*empty/b\.MP4"):
        open_source(str(tmp_path / "empty"))
    with pytest.raises(Refused, match="there is no folder"):
        open_source(f"{tmp_path}/missing/")


# --- live ---


class Camera:
    """A camera whose reader waits until the test lets a frame through, and which the test can unplug."""

    def __init__(self, frames=10**9, free=False):
        self.frames, self.free = frames, free
        self.turn = threading.Semaphore(1)  # the first frame comes by itself, as on opening
        self.given = 0
        self.released = False

    def read(self):
        while not self.free and not self.released and not self.turn.acquire(timeout=0.01):
            if self.frames <= 0:
                return False, None
        if self.given >= self.frames:
            return False, None
        self.given += 1
        if self.free:
            time.sleep(0.0005)
        return True, grey(self.given % 256)

    def release(self):
        self.released = True


def soon(claim):
    until = time.monotonic() + 60
    while not claim():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.002)


def test_the_newest_frame_wins_and_the_others_are_counted():
    camera = Camera()
    source = LiveSource("gate", lambda: (camera, 30.0), "no")
    frames = iter(source)
    assert next(frames).index == 0
    for n in range(2, 7):  # five frames while nobody takes any
        camera.turn.release()
        soon(lambda n=n: camera.given == n and source.newest == n - 1)
    newest = next(frames)
    assert newest.index == 5 and newest.image[0, 0, 0] == 6
    assert source.dropped == 4
    assert (source.live, source.frame_rate, source.size) == (True, 30.0, (64, 48))
    camera.frames = 0  # unplugged
    source.close()
    assert list(frames) == []


def test_taken_and_dropped_add_up_to_what_the_camera_gave():
    camera = Camera(free=True)
    source = LiveSource("gate", lambda: (camera, 0.0), "no")
    soon(lambda: camera.given > 20)  # before anybody looks, nothing is counted
    assert source.dropped == 0
    indices, times = [], []
    for frame in source:
        indices.append(frame.index)
        times.append(frame.time)
        time.sleep(0.003)
        if len(indices) == 30:
            dropped = source.dropped
            break
    source.close()
    assert indices == sorted(set(indices)) and times == sorted(times)
    gaps = indices[-1] + 1 - len(indices)
    assert 0 < gaps <= dropped <= gaps + 20  # those after the last one taken


def test_a_camera_that_goes_away_is_found_again():
    made, tries = [], []

    def opener():
        tries.append(time.monotonic())
        if len(tries) in (2, 3):  # away for two attempts
            return None
        made.append(Camera(frames=5, free=True))
        return made[-1], 25.0

    source = LiveSource("gate", opener, "no", shortest=0.01, longest=0.02, rng=random.Random(0))
    seen = 0
    for _frame in source:
        seen += 1
        if len(made) >= 3:
            break
    source.close()
    assert seen >= 2 and source.reconnects >= 4
    assert all(camera.released for camera in made)


def test_back_off_doubles_to_its_limit_and_starts_anew_after_a_frame():
    waits, tries = [], []

    class Dice(random.Random):
        """Notes between what the pause is drawn, and says none."""

        def uniform(self, a, b):
            waits.append((a, b))
            return 0.0 if len(waits) < 10 else 60.0

    def opener():
        tries.append(1)
        return (Camera(frames=1, free=True), 0.0) if len(tries) in (1, 8) else None

    source = LiveSource("gate", opener, "no", rng=Dice())
    soon(lambda: len(waits) == 10)
    source.close()
    assert waits == [(n / 2, n) for n in (0.5, 1, 2, 4, 8, 16, 30, 0.5, 1, 2)]
    some = list(itertools.islice(pauses(0.5, 30.0, random.Random(0)), 50))
    assert len(set(some)) == 50 and all(15 <= pause <= 30 for pause in some[6:])


def test_a_camera_that_cannot_be_opened_or_stays_silent_is_not_met_and_sought_on():
    for opener in (lambda: None, lambda: (Camera(frames=0), 0.0)):
        source = LiveSource("gate", opener, "check the plug", shortest=0.01)
        assert not source.met() and source.age == np.inf
        soon(lambda source=source: source.reconnects > 2)
        source.close()
    mute = Camera()
    mute.turn.acquire()
    source = LiveSource("gate", lambda: (mute, 0.0), "check the plug")
    assert not source.met(patience=0.05) and source.size == (0, 0)
    mute.turn.release()
    assert source.met() and source.size == (64, 48) and source.age < 3
    source.close()


def plugged(where, camera):
    """A member of the seam of sources: an address that ends in "here" gives pictures."""
    opener = (lambda: (Camera(free=True), 0.0)) if where.endswith("here") else (lambda: None)
    return LiveSource(camera, opener, f"{where} gives no picture; check the plug")


def test_a_camera_away_is_refused_by_itself_and_sought_among_others(monkeypatch, caplog):
    monkeypatch.setitem(SOURCES, "rtsp", f"{__name__}:plugged")
    with pytest.raises(Refused, match="rtsp://a/away gives no picture; check the plug"):
        open_sources(["a=rtsp://a/away", "b=rtsp://b/away"])
    assert not {"camera a", "camera b"} & {thread.name for thread in threading.enumerate()}
    sources = open_sources(["a=rtsp://a/away", "b=rtsp://b/here"])
    assert [source.size for source in sources] == [(0, 0), (64, 48)]
    assert "a is away and is tried again: rtsp://a/away gives no picture" in caplog.text
    for source in sources:
        source.close()


def test_close_ends_an_iteration_that_waits_and_the_thread():
    camera = Camera()
    source = LiveSource("closing", lambda: (camera, 0.0), "no")
    frames = []
    reader = threading.Thread(target=lambda: frames.extend(source))
    reader.start()
    soon(lambda: len(frames) == 1)
    threading.Timer(0.05, camera.turn.release).start()
    source.close()
    source.close()
    reader.join(timeout=2)
    assert not reader.is_alive() and not runs("camera closing") and camera.released


def test_close_during_back_off_does_not_wait_for_it():
    cameras = iter([(Camera(frames=1, free=True), 0.0)])
    source = LiveSource("resting", lambda: next(cameras, None), "no", shortest=30.0)
    source.close()
    assert not runs("camera resting")  # not at its pause of half a minute


def test_one_channel_becomes_three():
    class Infrared(Camera):
        def read(self):
            read, image = super().read()
            return read, None if image is None else image[:, :, 0]

    source = LiveSource("gate", lambda: (Infrared(free=True), 0.0), "no")
    assert next(iter(source)).image.shape == (48, 64, 3)
    source.close()


def test_cameras_that_are_not_there_are_refused_with_a_fix():
    with pytest.raises(Refused, match="there is no camera"):
        open_source("/dev/video4711")
    with pytest.raises(Refused, match="needs a pipeline"):
        open_source("gst:")
    with pytest.raises(Refused, match="not the number of a sensor"):
        open_source("csi://left")
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        for text in ("csi://0", "gst:videotestsrc"):
            with pytest.raises(Refused, match="GStreamer"):
                open_source(text)
