"""Cameras that misbehave, next to one that does not: a real RTSP server killed, stalled, resized and replaced by noise.

    python bench/rtsp_torture.py --videos ../shared/data/roadside-video --work runs/torture [--kills 20]

`vreid run` watches two cameras of two servers (bench/rtsp_server.py). The first server is killed and started again `--kills`
times, held up by SIGSTOP, started with pictures of another size, and replaced by a program that answers in random bytes; the
second is left alone. /metrics is read every half second. Says at the end, and fails on what is not so: the run lives, the
second camera never paused for longer than `--pause` seconds, the first came back after every blow, counters agree with the
frames, memory and threads are level after the first blow. Needs ffmpeg and Debian's GStreamer, see rtsp_server.py.
"""

import argparse
import itertools
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import ExitStack
from datetime import date
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rows import RESULTS

SERVER = Path(__file__).with_name("rtsp_server.py")


def raw(video: Path, folder: Path, size: str) -> Path:
    """The video as raw I420 pictures, which the server can repeat for ever."""
    out = folder / f"{video.stem}.yuv"
    if not out.exists():
        command = ["ffmpeg", "-v", "error", "-y", "-i", str(video), "-s", size, "-pix_fmt", "yuv420p", "-f", "rawvideo"]
        subprocess.run([*command, str(out)], check=True)
    return out


def serve(port: int, name: str, video: Path, size: str = "640x360") -> "subprocess.Popen[str]":
    """A server that is ready."""
    command = ["/usr/bin/python3", str(SERVER), str(port), f"{name}={video}", "--size", size]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if server.stdout is None or server.stdout.readline() != "ready\n":
        raise SystemExit(f"no RTSP server on port {port}; see {SERVER.name} for what it needs")
    return server


class Noise:
    """Answers every connection to a port with random bytes, some of which look like RTSP."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=True)
        self._random = random.Random(0)
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                peer.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )  # the port is free at once
                heads = (
                    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Length: 4000000000\r\n\r\n",
                    b"$\0\xff\xff",
                    b"HTTP/9 what\r\n",
                )
                try:
                    peer.sendall(
                        self._random.choice(heads) + self._random.randbytes(self._random.randrange(1, 200_000))
                    )
                except OSError:
                    continue

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # a close alone would wait for the thread that accepts
        self._listener.close()


class Watch:
    """Reads the run's metrics; `rows` are (seconds, frames of the first, frames of the second, RSS, threads, files)."""

    def __init__(self, port: int, names: tuple[str, str], run: "subprocess.Popen[bytes]") -> None:
        self._port, self._names, self._run, self.rows = port, names, run, []
        self.began = time.monotonic()

    def read(self) -> tuple[float, ...]:
        """The metrics now, kept."""
        if self._run.poll() is not None:
            raise SystemExit(f"the run ended by itself with code {self._run.returncode}")
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        samples = {
            (sample.name, sample.labels.get("camera")): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        frames = [
            samples["vreid_camera_frames_total", name] + samples["vreid_camera_frames_dropped_total", name]
            for name in self._names
        ]
        process = [samples[f"process_{what}", None] for what in ("resident_memory_bytes", "threads", "open_fds")]
        row = (time.monotonic() - self.began, *frames, process[0] / 2**20, *process[1:])
        self.rows.append(row)
        return row

    def wait(self, seconds: float) -> None:
        """Go on reading."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read()
            time.sleep(0.5)

    def until_frames(self, more: int, limit: float) -> float:
        """Seconds until the first camera has given `more` frames."""
        began, before = time.monotonic(), self.read()[1]
        while self.read()[1] < before + more:
            if time.monotonic() - began > limit:
                raise SystemExit(f"the first camera did not come back in {limit:.0f} s")
            time.sleep(0.25)
        return time.monotonic() - began


def longest_pause(rows: list[tuple[float, ...]]) -> float:
    """The longest time in which the second camera gave nothing."""
    last, pause = rows[0][0], 0.0
    for before, now in itertools.pairwise(rows):
        if now[2] > before[2]:
            last = now[0]
        pause = max(pause, now[0] - last)
    return pause


def blows(
    flags: argparse.Namespace, videos: list[Path], first: list["subprocess.Popen[str]"], watch: Watch
) -> dict[str, list[float]]:
    """Do everything to the first camera; seconds after each until it gave ten frames again."""
    back: dict[str, list[float]] = {"killed": [], "stalled": [], "resized": [], "noise": []}

    def again(kind: str, size: str = "640x360") -> None:
        first[0] = serve(flags.port, "gate", videos[0], size)
        back[kind].append(watch.until_frames(10, 90))
        print(f"{kind} {len(back[kind])}: back after {back[kind][-1]:.1f} s, {watch.rows[-1][3]:.0f} MB", flush=True)

    for _ in range(flags.kills):
        first[0].kill()
        first[0].wait()
        watch.wait(1.0)
        again("killed")
    for seconds in (3, 12):
        first[0].send_signal(signal.SIGSTOP)
        watch.wait(seconds)
        first[0].send_signal(signal.SIGCONT)
        back["stalled"].append(watch.until_frames(10, 90))
    for size in ("320x180", "1280x720", "640x360"):
        first[0].kill()
        first[0].wait()
        again("resized", size)
    first[0].kill()
    first[0].wait()
    noise = Noise(flags.port)
    watch.wait(15)
    noise.close()
    again("noise")
    return back


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--port", type=int, default=8931)
    parser.add_argument("--pause", type=float, default=2.5)
    flags = parser.parse_args()
    flags.work.mkdir(parents=True, exist_ok=True)
    videos = [raw(flags.videos / f"cam{number}.mp4", flags.work, "640x360") for number in (1, 2)]
    with ExitStack() as opened:
        first = [serve(flags.port, "gate", videos[0])]
        opened.callback(lambda: first[0].kill())
        second = serve(flags.port + 1, "yard", videos[1])
        opened.callback(second.kill)
        command = [
            *(sys.executable, "-m", "vreid.cli.main", "run", "--detector", "motion", "--enrol-unknown"),
            *(f"gate=rtsp://127.0.0.1:{flags.port}/gate", f"yard=rtsp://127.0.0.1:{flags.port + 1}/yard"),
            *("--metrics", str(flags.port + 2), "--out", str(flags.work / "out")),
        ]
        run = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        opened.callback(run.kill)
        watch = Watch(flags.port + 2, ("gate", "yard"), run)
        for _ in range(120):
            try:
                watch.until_frames(10, 60)
                break
            except OSError:
                time.sleep(0.5)
        watch.wait(10)
        calm = len(watch.rows)
        back = blows(flags, videos, first, watch)
        watch.wait(10)
        run.send_signal(signal.SIGTERM)
        code = run.wait(30)
    report = json.loads((flags.work / "out" / "report.json").read_text())
    rows = watch.rows
    settled = [row for row in rows[calm:] if row[0] > rows[calm][0] + 30]
    found = {
        "code": code,
        "kills": flags.kills,
        "back_s": {kind: [round(min(times), 1), round(max(times), 1)] for kind, times in back.items()},
        "reconnects": report["cameras"]["gate"]["reconnects"],
        "longest_pause_of_the_other_s": round(longest_pause(rows), 2),
        "seconds": round(rows[-1][0], 1),
        "rss_mb": {"calm": rows[calm - 1][3], "then": settled[0][3], "end": rows[-1][3]},
        "threads": {"calm": rows[calm - 1][4], "end": rows[-1][4]},
        "files": {"calm": rows[calm - 1][5], "end": rows[-1][5]},
        "frames": {name: view["frames"] for name, view in report["cameras"].items()},
        "dropped": {name: view["dropped"] for name, view in report["cameras"].items()},
        "date": date.today().isoformat(),
    }
    print(json.dumps(found, indent=2))
    (RESULTS / "rtsp_torture.json").write_text(json.dumps(found, indent=2) + "\n")
    wrong = [
        *(["the run did not end well"] if code else []),
        *(["the other camera paused"] if found["longest_pause_of_the_other_s"] > flags.pause else []),
        *(["memory grew"] if rows[-1][3] > settled[0][3] + 30 else []),
        *(["threads were left"] if rows[-1][4] > rows[calm - 1][4] + 1 else []),
        *(["files were left open"] if rows[-1][5] > rows[calm - 1][5] + 3 else []),
        *(["camera 'gate' was not tried again often enough"] if found["reconnects"] < flags.kills else []),
    ]
    if wrong:
        raise SystemExit("; ".join(wrong))


if __name__ == "__main__":
    main()
