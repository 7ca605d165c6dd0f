"""What a day of parked cars costs: rows, bytes and messages of one camera, and how many vehicles it makes of them.

    python bench/parked_day.py --hours 24

Made frames, played as fast as the machine can and stamped slow, `--rate` a second: ten cars come one after the other, park side by
side, stand for the rest of the time and leave; another car drives past before them every ten minutes and hides each for some
seconds. The detector gives the boxes of what can be seen, shaken by a pixel. One output, a web server on this machine, gets the
sightings, and with `--events` (where the tree has it) all events. One row, in bench/results/parked_day.json.
"""

import argparse
import dataclasses
import http.server
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rows import RESULTS

from vreid.runtime.detectors.table import DETECTORS
from vreid.runtime.gallery import read_gallery
from vreid.runtime.records import Detections, Frame
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.sources.table import SOURCES

CARS, WIDTH, HEIGHT = 10, 1280, 360
SIZE = (100, 70)
PLACE, BEFORE_IT = 60.0, 75.0  # top of a parked car, and of one that passes
COME_S, HIDES_S, EVERY_S = 20.0, 12.0, 600.0


class Day:
    """The scene: where the cars are at a time."""

    def __init__(self, seconds: float) -> None:
        rng = np.random.default_rng(0)
        self.seconds = seconds
        self._last: Any = None  # the cars, their picture and boxes
        self.looks = [self._car(rng) for _ in range(CARS + 1)]
        self.road = rng.integers(90, 120, (HEIGHT, WIDTH, 3)).astype(np.uint8)

    def _car(self, rng: np.random.Generator) -> Any:
        body = np.full((SIZE[1], SIZE[0], 3), rng.integers(0, 256, 3), np.uint8)
        for _ in range(12):
            x, y = int(rng.integers(0, SIZE[0] - 20)), int(rng.integers(0, SIZE[1] - 14))
            cv2.rectangle(body, (x, y), (x + 20, y + 14), rng.integers(0, 256, 3).tolist(), cv2.FILLED)
        return body

    def cars(self, time: float) -> list[tuple[int, float, float]]:
        """(look, left, top) of each, from behind to before."""
        found = []
        for number in range(CARS):
            x, come, leave = 30.0 + 125 * number, COME_S * number, self.seconds - COME_S * (CARS - number)
            way = max(0.0, come + 10 - time) * 60 + max(0.0, time - leave) * 60  # along its own lane, from below
            if come <= time < leave + 10:
                found.append((number, x, PLACE + way))
        passed = time % EVERY_S
        if 300 <= passed < 300 + HIDES_S * 2:
            found.append((CARS, (passed - 300) / (2 * HIDES_S) * (WIDTH + 200) - 100, BEFORE_IT))
        return found

    def frame(self, time: float) -> tuple[Any, list[tuple[float, float, float, float]]]:
        """The picture, and the boxes of which at least a third can be seen."""
        cars = [(look, round(left), round(top)) for look, left, top in self.cars(time)]
        if self._last is None or cars != self._last[0]:
            self._last = cars, *self._drawn(cars)
        return self._last[1], self._last[2]

    def _drawn(self, cars: Sequence[tuple[int, int, int]]) -> tuple[Any, list[tuple[float, float, float, float]]]:
        picture, owner, parts = self.road.copy(), np.full((HEIGHT, WIDTH), -1, np.int8), []
        for look, left, top in cars:
            x0, y0, x1, y1 = max(0, left), max(0, top), min(WIDTH, left + SIZE[0]), min(HEIGHT, top + SIZE[1])
            if x1 > x0 and y1 > y0:
                picture[y0:y1, x0:x1] = self.looks[look][y0 - top : y1 - top, x0 - left : x1 - left]
                owner[y0:y1, x0:x1] = look
                parts.append((look, x0, y0, x1, y1))
        boxes = []
        for look, x0, y0, x1, y1 in parts:
            ys, xs = np.nonzero(owner[y0:y1, x0:x1] == look)
            if len(xs) > SIZE[0] * SIZE[1] / 3:
                boxes.append((x0 + xs.min(), y0 + ys.min(), x0 + xs.max() + 1.0, y0 + ys.max() + 1.0))
        return picture, boxes


class MadeCamera:
    """A live camera of the scene, no frame dropped."""

    live, dropped, reconnects, refusal = True, 0, 0, ""
    warnings, notes = (), ()
    fault, blind_s, age, began = None, 0.0, 0.0, 1.7e9
    size = (WIDTH, HEIGHT)

    def __init__(self, camera: str, where: str) -> None:
        self.camera = camera
        seconds, rate = where.strip("/").split("_")
        self.day, self.frame_rate = Day(float(seconds)), float(rate)
        CAMERAS[camera] = self

    def __iter__(self) -> Iterator[Frame]:
        for index in range(int(self.day.seconds * self.frame_rate)):
            image, self.boxes = self.day.frame(index / self.frame_rate)
            yield Frame(self.camera, index, index / self.frame_rate, image)

    def limit(self, rate: float | None) -> None:
        """All frames are given."""

    def met(self, patience: float = 10.0) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """There is nothing to close."""


class Seen:
    """The detector: what can be seen, shaken by a pixel."""

    first_score, least_travel = 0.5, 0.0
    kinds = None

    def __init__(self) -> None:
        self._rng = np.random.default_rng(1)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """One camera's boxes a frame."""
        found = []
        for frame in frames:
            boxes = np.array(CAMERAS[frame.camera].boxes, np.float32).reshape(-1, 4)
            shaken = boxes + self._rng.normal(0, 1, boxes.shape).astype(np.float32)
            found.append(Detections(shaken, np.full(len(boxes), 0.9, np.float32), np.full(len(boxes), 2, np.int64)))
        return found


class Desk(http.server.BaseHTTPRequestHandler):
    """Counts what it gets."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One message."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        message = json.loads(body)
        GOT.append((message["track"], message["box"][1], len(body)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


CAMERAS: dict[str, MadeCamera] = {}
GOT: list[tuple[int, float, int]] = []  # track, top of the box, bytes


def open_made(where: str, camera: str) -> MadeCamera:
    """A member of the seam of sources."""
    return MadeCamera(camera, where)


def open_seen(target: str, options: object, *, threads: int, min_score: float | None) -> Seen:
    """A member of the seam of detectors."""
    return Seen()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--rate", type=float, default=1.0, help="frames a second")
    parser.add_argument("--events", action="store_true")
    flags = parser.parse_args()
    SOURCES["device"], DETECTORS["replay"] = "__main__:open_made", "__main__:open_seen"
    desk = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Desk)
    threading.Thread(target=desk.serve_forever, daemon=True).start()
    known = {field.name for field in dataclasses.fields(Session)}
    more: dict[str, Any] = {"events": True} if flags.events and "events" in known else {}
    with tempfile.TemporaryDirectory() as folder:
        out, gallery = Path(folder) / "out", Path(folder) / "known.db"
        session = Session(
            sources=[f"yard=v4l2://{flags.hours * 3600:.0f}_{flags.rate}"],
            detector="replay:made",
            out=out,
            gallery=gallery,
            enrol_unknown=True,
            threshold=0.8,
            to=[f"http://127.0.0.1:{desk.server_address[1]}/{'#events=1' if more else ''}"],
            **more,
        )
        summary = run_session(session, threading.Event())
        lines = {path.name: path.read_text().count("\n") for path in sorted(out.glob("*.jsonl"))}
        sizes = {path.name: path.stat().st_size for path in [*out.glob("*.jsonl"), gallery]}
        with read_gallery(gallery) as reader:
            stats = reader.stats()
    parked = {track for track, top, _ in GOT if abs(top - PLACE) < 6}
    of_parked = [size for track, _, size in GOT if track in parked]
    row = {
        "hours": flags.hours,
        "frames": summary["frames"],
        "events": bool(more),
        "tracks": summary["cameras"]["yard"]["tracks"],
        "vehicles": stats.vehicles,
        "rows_in_the_gallery": stats.sightings,
        "lines": lines,
        "bytes": {
            **sizes,
            "messages": sum(size for *_, size in GOT),
            "all": sum(sizes.values()) + sum(size for *_, size in GOT),
        },
        "messages": len(GOT),
        "messages_of_parked_cars": len(of_parked),
        "bytes_of_these": sum(of_parked),
        "peak_memory_mb": summary["peak_memory_mb"],
        "date": date.today().isoformat(),
    }
    print(json.dumps(row))
    (RESULTS / "parked_day.json").write_text(json.dumps(row, indent=2) + "\n")


if __name__ == "__main__":
    main()
