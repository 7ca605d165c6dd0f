"""How fast `vreid serve` answers over a large gallery, alone and with a run on the other core, and what a run loses to it.

    python bench/serve_gallery.py big.db --vehicles 10000 --sightings 1000000
    python bench/serve_load.py big.db --model vreid-s --out serve_load.json

Three parts. Pages: one reader, page after page (sightings of a day with filters; a search by an uploaded picture, its
embedding included). Readers: 50 at once, each as fast as a person who looks for a second. Turns: a live run of the synthetic
scene in the server's own process, with load and without; the share of frames that its cameras dropped. The loader's own
share of a processor is printed with the figures, since it works on the same machine.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import numpy as np

from vreid import Client

CITY = "synth://city?camera={}&seed=7&cameras=3&seconds=40&vehicles=12&fps=5&live=1"
READERS = 50
LOOKS_S = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gallery", type=Path)
    parser.add_argument("--model", default="vreid-s")
    parser.add_argument("--rounds", type=int, default=200, help="requests of each kind, one after another")
    parser.add_argument("--seconds", type=float, default=20.0, help="of 50 readers, and of each turn of a run")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "alone": over_gallery(args, Path(folder), with_run=False),
            "with a run on the other core": over_gallery(args, Path(folder), with_run=True),
            "what a run loses": turns(args, Path(folder)),
        }
    text = json.dumps(found, indent=1)
    print(text)
    if args.out is not None:
        args.out.write_text(text + "\n")


def over_gallery(args: argparse.Namespace, folder: Path, with_run: bool) -> dict[str, Any]:
    """Pages, searches and 50 readers over the large gallery; `with_run`: a run goes on in another process, on core 1."""
    with ExitStack() as stack:
        if with_run:
            site = _site(folder / "other")
            stack.enter_context(_process(["taskset", "-c", "1", *_vreid(), "run", str(site)]))
        flags = ["--gallery", str(args.gallery), "--model", args.model]
        url = stack.enter_context(_server(["taskset", "-c", "0", *_vreid(), "serve", *flags]))
        load = Load(url, args.gallery, args.seed)
        load.search()  # makes the index
        rows = {}
        with measured() as share:
            for name, request in (("sightings page", load.page), ("search by picture", load.search)):
                rows[name] = _spread([_timed(request) for _ in range(args.rounds)])
        rows["loader, share of a processor"] = share()
        with measured() as share:
            rows[f"sightings page, {READERS} readers"] = _spread(load.readers(args.seconds))
        rows["loader of the readers, share"] = share()
        return rows


def turns(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A live run inside the server: turns without and with load, on both cores."""
    rows = []
    site = _site(folder / "own")
    with _server([*_vreid(), "serve", str(site)]) as url:
        load = Load(url, None, args.seed)
        time.sleep(15)
        for turn in range(2 * args.turns):
            loaded = turn % 2 == 1
            before = _health(url)
            took = load.readers(args.seconds) if loaded else time.sleep(args.seconds)
            after = _health(url)
            frames, dropped = (after[key] - before[key] for key in ("frames", "dropped"))
            row: dict[str, Any] = {"loaded": loaded, "frames": frames, "dropped": dropped}
            row["dropped share"] = round(dropped / max(1, frames + dropped), 4)
            if took:
                row["pages"] = _spread(took)
            rows.append(row)
    return rows


class Load:
    """Requests as people make them."""

    def __init__(self, url: str, gallery: Path | None, seed: int) -> None:
        self._url, self._client, self._random = url, Client(url, timeout=60, patience=(0.0,)), random.Random(seed)
        self._cameras = self._client.get("/cameras")
        newest = list(self._client.sightings(limit=1))
        self._newest = newest[0]["at"] if newest else time.time()
        self._picture = _crop()

    def page(self) -> None:
        """The sightings of a day, with a filter or none."""
        day = time.strftime("%Y-%m-%d", time.localtime(self._newest - 86400 * self._random.randrange(28)))
        query = {"day": day}
        if self._cameras and self._random.random() < 0.5:
            query["camera"] = self._random.choice(self._cameras)
        if self._random.random() < 0.3:
            query["kind"] = self._random.choice(["car", "truck", "bus"])
        _get(f"{self._url}sightings?{urlencode(query)}")

    def search(self) -> None:
        """A picture is uploaded, embedded and searched."""
        self._client.search(self._picture)

    def readers(self, seconds: float) -> list[float]:
        """READERS at once, each with a second to look at what it got; the seconds of each page."""
        until, took, mutex = time.monotonic() + seconds, list[float](), threading.Lock()

        def reader(number: int) -> None:
            time.sleep(LOOKS_S * number / READERS)
            while time.monotonic() < until:
                one = _timed(self.page)
                with mutex:
                    took.append(one)
                time.sleep(LOOKS_S)

        threads = [threading.Thread(target=reader, args=(number,)) for number in range(READERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return took


def _crop() -> bytes:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", cv2.GaussianBlur(image, (9, 9), 3))[1].tobytes())


def _health(url: str) -> dict[str, int]:
    cameras = Client(url).get("/health")["cameras"]
    return {key: sum(camera[key] for camera in cameras) for key in ("frames", "dropped")}


def _site(folder: Path) -> Path:
    folder.mkdir()
    cameras = "".join(f'[camera.cam{number}]\nuri = "{CITY.format(number)}"\n' for number in (1, 2, 3))
    text = f'[gallery]\nfile = "run.db"\nenrol_unknown = true\n[outputs]\nfolder = "out"\n{cameras}'
    (folder / "site.toml").write_text(text)
    return folder / "site.toml"


def _vreid() -> list[str]:
    return [sys.executable, "-m", "vreid.cli.main"]


@contextmanager
def _process(words: list[str]) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def _server(words: list[str]) -> Iterator[str]:
    """Its URL, when it listens."""
    with _process([*words, "--port", "0", "--requests-a-minute", "1000000"]) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " at http" in line:
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield line.rsplit(" at ", 1)[1].strip()
                return
        raise SystemExit("the server did not start")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def _timed(request: Callable[[], None]) -> float:
    began = time.perf_counter()
    request()
    return time.perf_counter() - began


def _spread(seconds: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100)
    return {"requests": len(seconds), "p50_ms": round(1000 * cuts[49], 1), "p95_ms": round(1000 * cuts[94], 1),
            "longest_ms": round(1000 * max(seconds), 1)}  # fmt: skip


@contextmanager
def measured() -> Iterator[Callable[[], float]]:
    """The share of one processor that this process took inside; called after it."""
    wall, used = time.monotonic(), time.process_time()
    share: list[float] = []
    yield lambda: share[0]
    share.append(round((time.process_time() - used) / (time.monotonic() - wall), 3))


if __name__ == "__main__":
    main()
