"""One measurement of bench/gallery_scale.py in a process of its own: reads what to do as JSON from argv, prints its row as JSON.

The data are made: 256 makes, vehicles of a make, noisy views of a vehicle, all directions of 512 dimensions. Two views of a
vehicle have a cosine of 0.77, two vehicles of a make 0.47, others 0. Real features are neither so even nor so well apart.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vreid.runtime.records import Floats

DIM, VIEWS, MAKES = 512, 8, 256
QUERIES, BATCHES, BATCH, EDITS, MORE = 200, 20, 64, 20, 1000
SPACE: dict[str, Any] = {"fingerprint": "made", "dim": DIM, "model": "made"}


def directions(random: np.random.Generator, count: int) -> Floats:
    """(count, DIM) of unit length."""
    rows = random.standard_normal((count, DIM), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def vehicles(start: int, end: int) -> Iterator[tuple[int, Floats]]:
    """Vehicles by number with their direction (DIM,), not of unit length; the same whatever the range."""
    makes = directions(np.random.default_rng(0), MAKES)
    for number in range(start, end):
        random = np.random.default_rng([1, number])
        yield number, makes[random.integers(MAKES)] + np.float32(0.8) * directions(random, 1)[0]


def views(number: int, centre: Floats, count: int, seed: int) -> Floats:
    """(count, DIM) of unit length: features of a vehicle."""
    rows = centre + np.float32(0.7) * directions(np.random.default_rng([seed, number]), count)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def queries(size: int) -> Floats:
    """(QUERIES, DIM) new views of vehicles that are in the gallery of `size` prototypes."""
    numbers = np.random.default_rng(2).integers(0, size // VIEWS, QUERIES)
    return np.concatenate([views(n, c, 1, 3) for number in numbers for n, c in vehicles(int(number), int(number) + 1)])


def enrol(size: int, gallery: Path) -> dict[str, Any]:
    """Makes the gallery of `size` prototypes, 64 vehicles a transaction; the making of the features is not counted."""
    from vreid.runtime.gallery import open_gallery

    part, took = gallery.with_suffix(".part"), 0.0
    for old in gallery.parent.glob(part.name + "*"):
        old.unlink()
    with open_gallery(part, write=True, **SPACE) as opened:
        for start in range(0, size // VIEWS, 64):
            made = [(n, views(n, c, VIEWS, 1)) for n, c in vehicles(start, min(start + 64, size // VIEWS))]
            began = time.perf_counter()
            with opened.transaction():
                for number, rows in made:
                    vehicle = opened.add_vehicle(f"made-{number}")
                    for view, row in enumerate(rows):
                        opened.add_prototype(vehicle, f"view {view}", row)
            took += time.perf_counter() - began
    part.replace(gallery)
    return {"enrolled per s": size / took, "file MB": gallery.stat().st_size / 1e6}


def search(size: int, gallery: Path, kind: str, truth: Path) -> dict[str, Any]:
    """Opening, searching, changing. What is changed is rolled back. `truth`: what flat found, written by flat itself."""
    from vreid.runtime.gallery import Gallery, open_gallery
    from vreid.runtime.gallery.index.table import index_file

    def opening(write: bool) -> tuple[Gallery, float, float]:
        began = time.perf_counter()
        opened = open_gallery(gallery, write=write, index=kind, **SPACE)
        opened.search(wanted[:1], 1)
        return opened, time.perf_counter() - began, began

    wanted, file = queries(size), index_file(gallery, kind)
    file.unlink(missing_ok=True)
    loaded = None
    before = resident()
    opened, built, _ = opening(False)  # and writes the index's file, where there is one
    row: dict[str, Any] = {"built s": built, "RSS MB": (resident() - before) / 1e6}
    row["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    opened.close()
    if file.is_file():
        row["index MB"] = file.stat().st_size / 1e6
        opened, loaded, _ = opening(False)
        opened.close()
    row["loaded s"] = loaded
    opened, _, _ = opening(True)
    found = [[hit.vehicle for hit in hits] for hits in opened.search(wanted, 10)]
    if kind == "flat":
        truth.write_text(json.dumps(found), encoding="utf-8")
    best = json.loads(truth.read_text(encoding="utf-8"))
    row["recall@1"] = float(np.mean([first[:1] == exact[:1] for first, exact in zip(found, best, strict=True)]))
    row["recall@10"] = float(np.mean([len({*o} & {*t}) / len(t) for o, t in zip(found, best, strict=True)]))
    row |= latencies("1", times(lambda one: opened.search(wanted[one : one + 1], 10), QUERIES))
    first = np.random.default_rng(4).integers(0, QUERIES - BATCH, BATCHES)
    row |= latencies("64", times(lambda one: opened.search(wanted[first[one] : first[one] + BATCH], 10), BATCHES))
    some = np.random.default_rng(5).permutation(size // VIEWS)[: size // VIEWS // 10] + 1
    tenth = times(lambda one: opened.search(wanted[one : one + 1], 10, some.tolist()), EDITS)
    row["a tenth p50 ms"] = float(np.percentile(tenth, 50))
    plain = row["1 p50 ms"] / 1e3
    try:
        with opened.transaction():
            removed = times(partial(_removed, opened), 2 * EDITS, lambda: opened.search(wanted[:1], 10))
            row["remove ms"] = float(np.median(np.subtract(removed[1::2], removed[::2])))
            extra = [(c, views(n, c, VIEWS, 1)) for n, c in vehicles(size, size + MORE // VIEWS)]
            for place, (_, rows) in enumerate(extra):
                vehicle = opened.add_vehicle(f"more {place}")
                for view, feature in enumerate(rows):
                    opened.add_prototype(vehicle, f"view {view}", feature)
            (caught,) = times(lambda _: opened.search(wanted[:1], 10), 1)
            row["caught up per s"] = MORE / max(caught / 1e3 - plain, 1e-6)
            raise KeyError
    except KeyError:
        pass
    opened.close()
    return row


def effects(size: int, gallery: Path, spin: bool, blas: bool, threads: int) -> dict[str, Any]:
    """Batches of 64 and single searches by FAISS alone, with FAISS's own settings (`spin`, not `blas`) or with vreid's."""
    if spin:
        import_module("faiss")  # before our own import of it, which would let its threads sleep
    with_faiss = import_module("vreid.runtime.gallery.index.with_faiss")
    faiss = with_faiss.faiss
    rows = np.concatenate([views(n, c, VIEWS, 1) for n, c in vehicles(0, size // VIEWS)])
    if blas:
        with_faiss.batches_by_blas(DIM)
    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatIP(DIM)
    index.add(rows)
    wanted = queries(size)
    row: dict[str, Any] = {}
    for name, count, rounds in (("1", 1, 60), ("64", BATCH, 20)):
        index.search(wanted[:count], 10)
        wall, processor = time.perf_counter(), time.process_time()
        # a camera's rhythm: threads that spin go on between two searches
        took = times(partial(_searched, index, wanted, count), rounds, pause=0.02)
        row[f"{name} p50 ms"] = float(np.percentile(took, 50))
        row[f"{name} cores"] = (time.process_time() - processor) / (time.perf_counter() - wall)
    return row


def _removed(gallery: Any, one: int) -> None:
    """Every second time nothing, to compare with."""
    if one % 2:
        gallery.remove(one)


def _searched(index: Any, wanted: Floats, count: int, first: int) -> None:
    index.search(wanted[first : first + count], 10)


def times(
    run: Callable[[int], object], count: int, then: Callable[[], object] = dict, pause: float = 0.0
) -> list[float]:
    """ms of each of `count` runs, with `then` after each."""
    took = []
    for one in range(count):
        began = time.perf_counter()
        run(one)
        then()
        took.append(1e3 * (time.perf_counter() - began))
        if pause:
            time.sleep(pause)
    return took


def latencies(name: str, took: list[float]) -> dict[str, float]:
    return {f"{name} p50 ms": float(np.percentile(took, 50)), f"{name} p99 ms": float(np.percentile(took, 99))}


def resident() -> int:
    """Bytes of memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    paths = {key: Path(value) for key, value in wanted.items() if key in ("gallery", "truth")}
    doing: dict[str, Callable[..., dict[str, Any]]] = {"enrol": enrol, "search": search, "effects": effects}
    print(json.dumps(doing[wanted.pop("do")](**{**wanted, **paths})))
