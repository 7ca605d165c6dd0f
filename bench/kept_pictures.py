"""Frames a second of a run with and without kept pictures, by turns, and their bytes a sighting.

    python bench/kept_pictures.py --videos ../shared/data/roadside-video --detector motion

A run over files, which waits until all is written. Each round runs all four kinds one after the other; the ratio to the run
without is that of the same round, on the wall and in CPU time of all threads. Rows in bench/results/kept_pictures.json.
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
from typing import get_args

import cv2
from rows import RESULTS

from vreid.runtime.run import run_session
from vreid.runtime.session import Keep, Session


def cpu() -> float:
    """Seconds of CPU that this process has had."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def run(videos: list[Path], detector: str, keep: Keep) -> tuple[float, float, dict[str, float]]:
    """Seconds on the wall and of CPU, and the summary."""
    began, used = time.perf_counter(), cpu()
    with tempfile.TemporaryDirectory() as folder:
        summary = run_session(
            Session(
                sources=[str(video) for video in videos], detector=detector, out=Path(folder) / "out",
                enrol_unknown=True, keep=keep,
            ),
            threading.Event(),
        )  # fmt: skip
        return time.perf_counter() - began, cpu() - used, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--detector", default="motion")
    parser.add_argument("--rounds", type=int, default=5)
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    videos = sorted(flags.videos.glob("cam*.mp4"))
    kinds = get_args(Keep)
    run(videos, flags.detector, "clip")  # warms up
    rounds = [{keep: run(videos, flags.detector, keep) for keep in kinds} for _ in range(flags.rounds)]
    rows = []
    for keep in kinds:
        summaries = [each[keep][2] for each in rounds]
        kept = summaries[0]["kept"] or {"bytes": 0, "dropped": 0}
        rows.append(
            {
                "detector": flags.detector.rpartition("/")[2], "keep": keep,
                "frames_a_second": round(summaries[0]["frames"] / median(each[keep][0] for each in rounds), 1),
                "against_none": round(median(each["none"][0] / each[keep][0] for each in rounds), 3),
                "cpu_against_none": round(median(each[keep][1] / each["none"][1] for each in rounds), 3),
                "sightings": summaries[0]["sightings"], "bytes_a_sighting": round(kept["bytes"] / summaries[0]["sightings"]),
                "date": str(date.today()),
            }
        )  # fmt: skip
        print(json.dumps(rows[-1]))
    path = RESULTS / "kept_pictures.json"
    earlier = json.loads(path.read_text()) if path.exists() else []
    others = [row for row in earlier if row["detector"] != rows[0]["detector"]]
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in [*others, *rows]) + "\n]\n")


if __name__ == "__main__":
    main()
