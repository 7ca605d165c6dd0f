"""The pictures of README.md, made of the scene of the demo: its report, and a strip of its three cameras.

    python bench/readme_pictures.py [--browser chromium]

Runs `vreid demo --annotate` in a temporary folder, takes a picture of report.html by a browser without a window, and puts
frames of the annotated videos side by side. Writes docs/images/report.png and docs/images/strip.jpg.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
MOMENTS = (27, 78, 126)  # frames in which one vehicle, #4 of seed 7, is in the middle of cam1, cam2 and cam3


def strip(videos: list[Path], moments: tuple[int, ...]) -> np.ndarray:
    """One frame of each video at its moment, left to right: (H, W, 3) uint8 BGR."""
    frames = []
    for video, moment in zip(videos, moments, strict=True):
        capture = cv2.VideoCapture(str(video))
        for _ in range(moment + 1):
            good, frame = capture.read()
            if not good:
                raise SystemExit(f"{video.name} has fewer than {moment + 1} frames")
        small = cv2.resize(frame, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
        frames.append(cv2.copyMakeBorder(small, 0, 0, 0, 6, cv2.BORDER_CONSTANT, value=(255, 255, 255)))
    return np.hstack(frames)[:, :-6]


def main() -> None:
    """Make both pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default="chromium")
    flags = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        subprocess.run([Path(sys.executable).with_name("vreid"), "demo", "--annotate", "--out", out], check=True)
        size = "--window-size=1200,1075"
        picture = f"--screenshot={IMAGES / 'report.png'}"
        flat = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        subprocess.run([flags.browser, *flat, size, picture, (out / "report.html").as_uri()], check=True)
        videos = sorted((out / "video").glob("*.mp4"))
        cv2.imwrite(str(IMAGES / "strip.jpg"), strip(videos, MOMENTS), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
