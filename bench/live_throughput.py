"""Frames a second of a whole run against the plainest loop over the same models, on the same videos, by turns.

    python bench/live_throughput.py --videos ../shared/data/roadside-video --detector yolox:../shared/models/yolox_nano.onnx

The plainest loop decodes, detects, cuts every box out, embeds the boxes of a frame in one batch, and compares them with one
matrix of known features: no tracks, no gallery, no outputs, nothing else. `vreid run` does all of that for one identity over
the cameras. Both on one thread of inference. A camera gives ten frames a second here, so cameras per core = frames a second of
CPU time / 10. Rows in bench/results/live_throughput.json.
"""

import argparse
import json
import resource
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from rows import RESULTS

from vreid.runtime.detectors.table import open_detector
from vreid.runtime.embedder import open_embedder
from vreid.runtime.records import Frame, cut_out
from vreid.runtime.run import run_session
from vreid.runtime.session import Session

RATE = 10.0  # frames a second of the videos


def cpu() -> float:
    """Seconds of CPU that this process has had."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def plain(videos: list[Path], detector: str) -> int:
    """The plainest loop; returns its frames."""
    embedder, found = open_embedder("vreid-s"), open_detector(detector, threads=1, min_score=None)
    known = np.random.default_rng(0).normal(size=(100, embedder.manifest.output.dim)).astype(np.float32)
    frames = 0
    for video in videos:
        capture = cv2.VideoCapture(str(video))
        while True:
            more, image = capture.read()
            if not more:
                break
            boxes = found.detect([Frame(video.stem, frames, frames / RATE, image)])[0].boxes
            crops = [cut_out(image, box, 0.0) for box in boxes]
            if crops:
                (embedder.embed(crops) @ known.T).max(axis=1)
            frames += 1
    return frames


def whole(videos: list[Path], detector: str, embed: str) -> dict[str, float]:
    """`vreid run`; returns its summary."""
    with tempfile.TemporaryDirectory() as folder:
        session = Session(
            sources=[str(video) for video in videos], detector=detector, out=Path(folder) / "out",
            enrol_unknown=True, embed=embed,
        )  # fmt: skip
        return run_session(session, threading.Event())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--detector", default="motion")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    videos = sorted(flags.videos.glob("cam*.mp4"))
    times: dict[str, list[tuple[float, float]]] = {"plain": [], "smart": [], "every": []}
    outside: dict[str, list[float]] = {"smart": [], "every": []}
    frames = 0
    for turn in range(flags.rounds + 1):  # the first warms up
        for name, seconds in times.items():
            began, used = time.perf_counter(), cpu()
            if name == "plain":
                frames = plain(videos, flags.detector)
            else:
                summary = whole(videos, flags.detector, name)
            if turn:
                seconds.append((time.perf_counter() - began, cpu() - used))
                if name in outside:
                    outside[name].append(summary["outside"])
    rows = [
        {
            "detector": flags.detector.split(":")[0]
            + ("?" + flags.detector.split("?")[1] if "?" in flags.detector else ""),
            "loop": name,
            "frames": frames,
            "frames_per_second": round(frames / median(wall for wall, _ in seconds), 1),
            "slowest": round(frames / max(wall for wall, _ in seconds), 1),
            "fastest": round(frames / min(wall for wall, _ in seconds), 1),
            "cameras_per_core": round(frames / median(used for _, used in seconds) / RATE, 2),
            "outside": round(median(outside[name]), 3) if name in outside else None,
            "rounds": flags.rounds,
            "date": date.today().isoformat(),
        }
        for name, seconds in times.items()
    ]
    file = RESULTS / "live_throughput.json"
    kept = json.loads(file.read_text()) if file.exists() else []
    kept = [row for row in kept if row["detector"] != rows[0]["detector"]] + rows
    file.write_text(json.dumps(kept, indent=2) + "\n")
    for row in rows:
        print(" | ".join(str(value) for value in row.values()))


if __name__ == "__main__":
    main()
