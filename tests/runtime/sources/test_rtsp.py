"""A real RTSP server on loopback: read, killed, started again with pictures of another size; noise in its place."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.sources import live as live_source
from vreid.runtime.sources.table import open_source, open_sources

SYSTEM = "/usr/bin/python3"
NEEDS = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer, Gst; Gst.init(None); "
NEEDS += (
    "assert all(Gst.ElementFactory.find(name) for name in ('x264enc', 'rtph264pay', 'rawvideoparse', 'multifilesrc'))"
)
Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def needs() -> None:
    if not Path(SYSTEM).exists() or subprocess.run([SYSTEM, "-c", NEEDS], capture_output=True, check=False).returncode:
        pytest.skip(
            "no GStreamer RTSP server: apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,ugly}"
        )


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def serve(needs: None, root: Path, tmp_path: Path, port: int) -> Iterator[Serve]:
    """Starts a server of a short film, whose pictures are scaled to a size."""
    (tmp_path / "film.yuv").write_bytes(
        np.random.default_rng(0).integers(0, 256, 8 * 160 * 90 * 3 // 2, np.uint8).tobytes()
    )
    servers = []

    def start(size: str, film: str = "film.yuv") -> "subprocess.Popen[str]":
        command = [SYSTEM, root / "bench/rtsp_server.py", str(port), f"gate={tmp_path / film}"]
        more = ["--raw-size", "160x90", "--size", size, "--rate", "20"]
        servers.append(subprocess.Popen([*command, *more], stdout=subprocess.PIPE, text=True))
        assert servers[-1].stdout is not None and servers[-1].stdout.readline() == "ready\n"
        return servers[-1]

    yield start
    for server in servers:
        server.kill()
        server.wait()


def test_a_server_that_dies_and_comes_back_with_another_size(serve: Serve, port: int) -> None:
    server = serve("160x90")
    source = open_source(f"gate=rtsp://127.0.0.1:{port}/gate")
    try:
        frames = iter(source)
        first = [next(frames) for _ in range(10)]
        assert {frame.image.shape for frame in first} == {(90, 160, 3)} and source.size == (160, 90)
        assert source.age < 60.0  # type: ignore[attr-defined]
        server.kill()
        server.wait()
        time.sleep(0.5)
        serve("320x180")
        shapes: set[tuple[int, ...]] = set()
        end = time.monotonic() + 120
        while (180, 320, 3) not in shapes and time.monotonic() < end:
            shapes.add(next(frames).image.shape)
        assert (180, 320, 3) in shapes and source.reconnects >= 1  # type: ignore[attr-defined]
        times = [frame.time for frame in first]
        assert times == sorted(times) and next(frames).time > times[-1]
    finally:
        source.close()


def test_what_is_no_rtsp_server_is_refused_by_itself_and_sought_among_others(
    needs: None, serve: Serve, port: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        silent = f"yard=rtsp://127.0.0.1:{deaf.getsockname()[1]}/x"
        serve("160x90")
        sources = open_sources([silent, f"gate=rtsp://127.0.0.1:{port}/gate"])
        try:
            assert [source.size for source in sources] == [(0, 0), (160, 90)]
            assert next(iter(sources[1])).image.shape == (90, 160, 3)
        finally:
            for source in sources:
                source.close()
    with pytest.raises(Refused, match="gives no picture"):
        open_source(f"rtsp://127.0.0.1:{port}/nothing")


def test_black_and_frozen_pictures_of_a_real_stream_are_a_fault_and_a_still_scene_is_none(
    serve: Serve, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A still scene with a sensor's noise, black, the scene, and one picture of it for longer, looked at twice as often."""
    monkeypatch.setattr(live_source, "EVERY", 0.25)
    for fault, limit in {"black": 0.75, "frozen": 1.0}.items():
        monkeypatch.setitem(live_source.FAULT_AFTER, fault, limit)
    noise = np.random.default_rng(0)
    scene = np.concatenate([noise.integers(40, 200, (9, 16)).repeat(10, 0).repeat(10, 1).ravel(), np.full(7200, 128)])
    live = [np.clip(scene + noise.normal(0, 2, scene.size), 0, 255).astype(np.uint8).tobytes() for _ in range(30)]
    black = np.concatenate([np.full(14400, 16), np.full(7200, 128)]).astype(np.uint8).tobytes()
    (tmp_path / "phases.yuv").write_bytes(b"".join([*live, black * 40, *live, live[-1] * 50]))
    serve("160x90", "phases.yuv")
    source = open_source(f"gate=rtsp://127.0.0.1:{port}/gate")
    try:
        faults: list[str | None] = [None]
        end = time.monotonic() + 40
        for _frame in source:
            if source.fault != faults[-1]:  # type: ignore[attr-defined]
                faults.append(source.fault)  # type: ignore[attr-defined]
            if {"black", "frozen"} <= set(faults) and faults[-1] is None:
                break
            assert time.monotonic() < end, faults
        # the film is played over and over: a busy machine may meet a phase only when it comes again
        assert set(faults) == {None, "black", "frozen"}
        assert any("black pictures" in text for text in source.warnings) and source.blind_s > 2  # type: ignore[attr-defined]
        assert "gate gives black pictures" in caplog.text and "gate gives pictures again" in caplog.text
    finally:
        source.close()
