"""Streams of the network from servers on loopback: multipart JPEG, HLS, UDP and RTMP; clocks, secrets, what is refused."""

import http.server
import logging
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from made_film import make_film

from vreid.models.errors import Refused
from vreid.runtime.records import Frame
from vreid.runtime.sources.rate import limited
from vreid.runtime.sources.streams import ArrivalClock
from vreid.runtime.sources.table import Source, open_sources

FAST = {"preset": "ultrafast", "tune": "zerolatency"}


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def opened_source(uri: str) -> Source:
    """The source, however long a busy machine takes for the first attempt."""
    return open_sources([uri], patience=120.0)[0]


def first(uri: str, count: int = 10) -> list[Frame]:
    source = opened_source(uri)
    try:
        assert source.live
        frames = []
        for frame in source:
            frames.append(frame)
            if len(frames) == count:
                break
        return frames
    finally:
        source.close()


class Handler(http.server.BaseHTTPRequestHandler):
    """/mjpeg and, with 5 pictures a second, /mjpeg5 without end; files of `folder`; /secret needs a password."""

    folder = Path()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/mjpeg", "/mjpeg5"):
            gap = 0.2 if path == "/mjpeg5" else 0.04
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            n = 0
            try:
                while True:
                    picture = np.full((48, 64, 3), 40 + 16 * (n % 10), np.uint8)
                    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
                    n += 1
                    time.sleep(gap)
            except OSError:
                return
        elif path == "/secret":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
        elif (self.folder / path.strip("/")).is_file():
            data = (self.folder / path.strip("/")).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """host:port of a server, and the folder whose files it gives."""

    class Here(Handler):
        folder = tmp_path

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Here)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}", tmp_path
    server.shutdown()
    server.server_close()


def test_multipart_jpeg_over_http(served: tuple[str, Path]) -> None:
    frames = first(f"gate=http://{served[0]}/mjpeg?user=me&password=secret")
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    times = [frame.time for frame in frames]
    assert times == sorted(times) and times[-1] > times[0]


def test_multipart_jpeg_of_five_a_second_keeps_what_its_rate_asks_for(served: tuple[str, Path]) -> None:
    source = limited(opened_source(f"http://{served[0]}/mjpeg5"), 10.0)
    try:
        frames = list(islice(source, 12))
    finally:
        source.close()
    # A picture is 16 levels from the next, the last of ten 144 from the first: none but what the mailbox dropped is left out.
    levels = [round((float(frame.image.mean()) - 40) / 16) for frame in frames]
    assert sum(np.diff(levels) % 10) <= len(frames) - 1 + source.dropped
    assert np.mean(np.diff([frame.time for frame in frames])) > 0.15  # and not 0.04, as of 25 a second


def test_hls_is_given_in_time_and_not_in_bursts(served: tuple[str, Path]) -> None:
    host, folder = served
    with av.open(str(folder / "live.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as out:
        stream = out.add_stream("libx264", rate=20, options=FAST)
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = 64, 48, "yuv420p", 20
        for n in range(80):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 + 2 * n, np.uint8), format="bgr24")
            frame.pts, frame.time_base = n, Fraction(1, 20)
            out.mux(stream.encode(frame.reformat(format="yuv420p")))
        out.mux(stream.encode(None))
    playlist = folder / "live.m3u8"
    ended = playlist.read_text()
    playlist.write_text(ended.replace("#EXT-X-ENDLIST\n", ""))
    frames = first(f"http://{host}/live.m3u8", 15)
    # A burst would give the first picture and then the last of a segment, 20 pictures later.
    assert np.diff([float(frame.image.mean()) for frame in frames]).mean() < 10
    assert np.median(np.diff([frame.time for frame in frames])) == pytest.approx(0.05, abs=0.03)
    playlist.write_text(ended)
    with pytest.raises(Refused, match="a finished recording and no live stream"):
        opened_source(f"http://{host}/live.m3u8")


@pytest.mark.parametrize("place", ["127.0.0.1", "@"])
def test_mpeg_ts_over_udp(tmp_path: Path, place: str) -> None:
    port, over = free_port(socket.SOCK_DGRAM), threading.Event()
    film = make_film(tmp_path / "a.ts", [n / 20 for n in range(40)], "libx264", options=FAST, gop=5)
    data = film.read_bytes()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not over.is_set():
                for begin in range(0, len(data), 1316):
                    sender.sendto(data[begin : begin + 1316], ("127.0.0.1", port))
                    if over.wait(0.02):
                        return

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        frames = first(f"udp://{place}:{port}")
        assert {frame.image.shape for frame in frames} == {(64, 96, 3)}
    finally:
        over.set()
        thread.join()


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg to serve RTMP with: apt install ffmpeg")
def test_rtmp(tmp_path: Path) -> None:
    film = make_film(tmp_path / "a.flv", [n / 20 for n in range(400)], "libx264", options=FAST, gop=10)
    port = free_port()
    command = ["ffmpeg", "-v", "error", "-re", "-i", film, "-c", "copy", "-f", "flv", "-listen", "1"]
    server = subprocess.Popen([*command, f"rtmp://127.0.0.1:{port}/live/x"], stderr=subprocess.DEVNULL)
    try:
        frames, end = [], time.monotonic() + 20
        while not frames:
            try:
                frames = first(f"rtmp://127.0.0.1:{port}/live/x", 5)
            except Refused:  # the server is not there yet
                assert time.monotonic() < end
        assert {frame.image.shape for frame in frames} == {(64, 96, 3)}
    finally:
        server.kill()
        server.wait()


def test_what_is_no_stream_is_refused_with_its_reason_and_without_its_secrets(
    served: tuple[str, Path], capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    host, folder = served
    make_film(folder / "film.mp4", [n / 10 for n in range(10)])
    refusals = {
        f"http://me:hush@{host}/film.mp4?token=hush": "a finished recording and no live stream: download it",
        f"http://me:hush@{host}/secret/hush": "404",
        f"http://me:hush@{host}/secret?password=hush": "401",
        f"rtsp://me:hush@{host}/hush": "gives no picture",
        f"http://me:hush@127.0.0.1:{free_port()}/hush": "Connection refused",
    }
    with caplog.at_level(logging.DEBUG):
        for uri, reason in refusals.items():
            with pytest.raises(Refused, match=reason) as refused:
                opened_source(uri)
            assert "hush" not in str(refused.value) and host.split(":")[0] in str(refused.value)
    said = capfd.readouterr()
    assert "hush" not in said.out + said.err + caplog.text


def test_srt_is_refused_in_a_sentence() -> None:
    with pytest.raises(Refused, match="built without SRT; relay the stream as RTSP or UDP"):
        opened_source("srt://me:hush@gate-1:9000?passphrase=hush")


def test_a_deaf_server_holds_nobody_else_up(served: tuple[str, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        silent = f"yard=http://127.0.0.1:{deaf.getsockname()[1]}/x"
        sources = open_sources([silent, f"gate=http://{served[0]}/mjpeg"], patience=120.0)
        try:
            assert [source.size for source in sources] == [(0, 0), (64, 48)]
            deaf.settimeout(60)
            peer, _ = deaf.accept()  # it has called, and is not answered as long as this is open
            with peer:
                frames = list(islice(iter(sources[1]), 5))  # would wait for ever
                assert sources[0].age == float("inf") and sources[0].size == (0, 0)  # type: ignore[attr-defined]
            assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
            assert [frame.time for frame in frames] == sorted({frame.time for frame in frames})
        finally:
            for source in sources:
                source.close()


# --- clocks ---


def test_an_arrival_clock_takes_the_stamps_and_follows_the_arrivals() -> None:
    noise = np.random.default_rng(0)
    clock = ArrivalClock()
    stamps = 5000 + np.arange(400) / 20
    times = [
        clock.taken(float(stamp), 100 + float(stamp) - 5000 + late)
        for stamp, late in zip(stamps, noise.gamma(2, 0.02, 400), strict=True)
    ]
    steps = np.diff(times[100:])
    np.testing.assert_allclose(steps, 0.05, atol=0.02)  # the network's jitter is much larger
    assert np.std(steps) < 0.2 * np.std(0.05 + np.diff(noise.gamma(2, 0.02, 300)))
    assert clock.taken(9.0, 500.0) == 500.0  # the camera began anew
    assert clock.taken(9.05, 500.05) == pytest.approx(500.05, abs=0.01)
    assert clock.taken(None, 501.0) == 501.0
    assert clock.taken(80.0, 502.0) == 502.0


def test_a_slow_clock_of_a_camera_is_followed() -> None:
    clock = ArrivalClock()
    late = [now - clock.taken(now * (1 - 0.0005), now) for now in np.arange(0, 7200, 0.5).tolist()]
    assert max(late) < 0.01
