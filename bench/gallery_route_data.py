"""Made galleries in PostgreSQL for bench/gallery_routes.py and the tests of its routes: clustered features, a filter by kind that
goes with looks, and sightings by camera and time.

A vehicle is of one of four kinds and of one of 64 makes of its kind, with four views. Two views of a vehicle have a cosine of 0.79,
two vehicles of a make 0.42, two of a kind 0.21, others 0. Real features are neither so even nor so well apart.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from vreid.runtime.gallery import open_gallery
from vreid.runtime.gallery.records import EVERYTHING, Filter
from vreid.runtime.gallery_place import DatabaseAddress
from vreid.runtime.records import Floats, Ints

KINDS, MAKES, VIEWS, CAMERAS, SIGHTINGS = ("bus", "car", "motorcycle", "truck"), 64, 4, 100, 2
BEGAN, DAYS, DAY = 1_790_000_000.0, 30, 86_400.0
SEED = 0
_STEP = 2500  # vehicles a transaction; each step is made from its own seed, so that a gallery can be filled further
_TABLES = {
    "vehicles": "id, name, key, named, created, kind",
    "prototypes": "vehicle, view, feature, weight, count",
    "sightings": "vehicle, camera, track, first_time, last_time, first_frame, last_frame, score, run, seen, kind, quality",
}


def space(dim: int) -> dict[str, Any]:
    """What open_gallery takes for the made features."""
    return {"fingerprint": "made", "dim": dim, "model": "made"}


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def _directions(random: np.random.Generator, *shape: int) -> Floats:
    return _unit(random.standard_normal(shape, np.float32))


def _step(start: int, count: int, dim: int) -> tuple[Ints, Floats, np.random.Generator]:
    """Of the vehicles from `start` on: kinds (count,), centres (count, dim), and what their rest is drawn from."""
    shared = np.random.default_rng([SEED, dim])
    kinds, makes = _directions(shared, len(KINDS), dim), _directions(shared, len(KINDS), MAKES, dim)
    random = np.random.default_rng([SEED, dim, start])
    kind, make = random.integers(len(KINDS), size=count), random.integers(MAKES, size=count)
    centres = 0.6 * kinds[kind] + 0.6 * makes[kind, make] + 0.8 * _directions(random, count, dim)
    return kind, np.asarray(centres, np.float32), random


def _views(centres: Floats, random: np.random.Generator) -> Floats:
    return _unit(centres + np.float32(0.6) * _directions(random, *centres.shape))


def filled(place: DatabaseAddress, prototypes: int, dim: int, progress: Callable[[int], object] = int) -> None:
    """Make the gallery, or fill one further, until it has so many prototypes."""
    import psycopg

    with open_gallery(place, write=True, **space(dim)) as gallery:
        there = gallery.size()[0]
    options = f"-c search_path={place.gallery},public"
    with psycopg.connect(place.uri, autocommit=True, options=options) as connection:
        for start in range(there, prototypes // VIEWS, _STEP):
            count = min(_STEP, prototypes // VIEWS - start)
            with connection.transaction():
                for table, rows in _rows(start, count, dim).items():
                    with connection.cursor().copy(f"COPY {table} ({_TABLES[table]}) FROM STDIN".encode()) as copy:
                        for row in rows:
                            copy.write_row(row)
            progress((start + count) * VIEWS)
        connection.execute("ANALYZE vehicles, prototypes, sightings")


def _rows(start: int, count: int, dim: int) -> dict[str, list[tuple[Any, ...]]]:
    kind, centres, random = _step(start, count, dim)
    features = _views(np.repeat(centres, VIEWS, axis=0), random)
    cameras = random.integers(CAMERAS, size=(count, SIGHTINGS))
    seen = BEGAN + random.random((count, SIGHTINGS)) * DAYS * DAY
    vehicles, prototypes, sightings = list[Any](), list[Any](), list[Any]()
    for at, of in enumerate(kind):
        id_, name = start + at + 1, f"made-{start + at + 1}"
        vehicles.append((id_, name, name, False, BEGAN, KINDS[of]))
        for view in range(VIEWS):
            text = f"[{','.join(map(str, features[at * VIEWS + view].tolist()))}]"
            prototypes.append((id_, f"view {view}", text, 1.0, 1))
        for camera, moment in zip(cameras[at], seen[at], strict=True):
            sightings.append(
                (id_, f"camera {camera:02}", 1, 0.0, 1.0, 0, 1, 0.9, "made", float(moment), KINDS[of], 0.5)
            )
    return {"vehicles": vehicles, "prototypes": prototypes, "sightings": sightings}


def queries(prototypes: int, dim: int, count: int) -> tuple[Floats, Ints]:
    """(count, dim) new views of vehicles of the gallery, and of which kinds (count,) these are."""
    random = np.random.default_rng([SEED, dim, 1 << 40])
    features, kinds = [], []
    for vehicle in random.integers(prototypes // VIEWS, size=count).tolist():
        start = vehicle // _STEP * _STEP
        kind, centres, _ = _step(start, min(_STEP, prototypes // VIEWS - start), dim)
        features.append(_views(centres[vehicle - start : vehicle - start + 1], random)[0])
        kinds.append(kind[vehicle - start])
    return np.stack(features), np.array(kinds, np.int64)


def _camera_and_time(query: int, kind: int) -> Filter:
    since = BEGAN + (query % 17) * DAY
    return Filter(cameras=(f"camera {query % CAMERAS:02}",), since=since, until=since + 13 * DAY)


# By name: the filter of a query by its number and its kind. "camera + time" lets 0.9 % through, the others by kind 25 %.
ROUTES: dict[str, Callable[[int, int], Filter]] = {
    "none": lambda query, kind: EVERYTHING,
    "camera + time": _camera_and_time,
    "type": lambda query, kind: Filter(kinds=(KINDS[kind],)),
    "another type": lambda query, kind: Filter(kinds=(KINDS[(kind + 1) % len(KINDS)],)),
}
