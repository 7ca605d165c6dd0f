"""A small gallery of a made model, and features of its length, for the tests of galleries."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_postgres import database_connection

from vreid.models.preprocess import Image
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery_place import DatabaseAddress, GalleryPlace
from vreid.runtime.records import FinishedTrack, Floats

DIM = 8
NewPlace = Callable[[str], GalleryPlace]
IN_A_FILE = pytest.mark.parametrize("new_place", ["sqlite"], indirect=True)  # what only a file can be


def opened(path: GalleryPlace, write: bool = True, **changes: object) -> Gallery:
    """The gallery at `path`, of the made model unless `changes` say otherwise."""
    fields: dict[str, object] = {"fingerprint": "aaaaaaaa", "dim": DIM, "model": "small", "write": write, **changes}
    return open_gallery(path, **fields)  # type: ignore[arg-type]


def features(count: int, seed: int = 0) -> Floats:
    """(count, DIM) of unit length."""
    rows = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def noise(seed: int) -> Image:
    """A picture of its own."""
    return np.random.default_rng(seed).integers(0, 255, (40, 60, 3)).astype(np.uint8)


def sighting(seed: int = 0, **changes: Any) -> FinishedTrack:
    """A track at the gate whose feature and picture are made from `seed`, but for `changes`."""
    made = FinishedTrack("gate", 3, 10, 20, 1.0, 2.0, 2, features(1, seed)[0], 4, 0.5, noise(seed))
    return replace(made, **changes)


def sighted(gallery: Gallery, vehicle: int, seen: FinishedTrack, run: str = "") -> int:
    """Write a sighting down that stands for its vehicle, as a run does; its id."""
    gallery.add_prototype(vehicle, seen.camera, seen.feature, seen.quality)
    return gallery.add_sighting(vehicle, seen, 0.9, run)


def enrolled(gallery: Gallery, count: int, seed: int) -> list[int]:
    """`count` vehicles of one prototype each, seen from the front; their numbers."""
    with gallery.transaction():
        made = [gallery.add_vehicle() for _ in range(count)]
        for vehicle, feature in zip(made, features(count, seed), strict=True):
            gallery.add_prototype(vehicle, "front", feature)
    return made


def answers(gallery: Gallery, k: int = 5) -> list[list[tuple[int, float]]]:
    """(vehicle, score) of the `k` best of each of twelve features."""
    return [[(hit.vehicle, round(hit.score, 4)) for hit in hits] for hits in gallery.search(features(12, 99), k)]


def compared(gallery: Gallery, k: int = 5) -> list[list[tuple[int, float]]]:
    """What `answers` is to be: every prototype of the store compared, within an open transaction too."""
    best: list[dict[int, float]] = [{} for _ in range(12)]
    for vehicle in gallery.vehicles(thumbnails=False):
        for prototype in gallery.prototypes(vehicle.id):
            for place, score in enumerate((features(12, 99) @ prototype.feature).tolist()):
                best[place][vehicle.id] = max(score, best[place].get(vehicle.id, -2))
    falling = [sorted(found.items(), key=lambda one: (-one[1], one[0]))[:k] for found in best]
    return [[(vehicle, round(score, 4)) for vehicle, score in found] for found in falling]


def anew(path: GalleryPlace) -> list[list[tuple[int, float]]]:
    """What an index that was never anything else answers."""
    with opened(path, write=False, index="numpy") as fresh:
        return answers(fresh)


def sql(gallery: Gallery | GalleryPlace, statement: str, *values: Any, foreign_keys: bool = True) -> list[Any]:
    """The rows of one statement on a connection of the test's own, next to the gallery's; values stand for ?."""
    if isinstance(gallery, DatabaseAddress):
        with database_connection(gallery) as connection:
            cursor = connection.execute(statement.replace("?", "%s").encode(), values or None)
            return cursor.fetchall() if cursor.description else []
    path = gallery if isinstance(gallery, Path) else gallery.path
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        return connection.execute(statement, values).fetchall()


def sql_often(place: GalleryPlace, statement: str, times: int) -> None:
    """One statement so many times, on a connection of the test's own."""
    if isinstance(place, DatabaseAddress):
        with database_connection(place) as connection, connection.pipeline():
            for _ in range(times):
                connection.execute(statement)
        return
    with closing(sqlite3.connect(place)) as connection, connection:
        for _ in range(times):
            connection.execute(statement)


def written(place: GalleryPlace) -> str:
    """The place as another program is given it, with the password."""
    return f"{place.uri}&gallery={place.gallery}" if isinstance(place, DatabaseAddress) else str(place)


def chosen(gallery: Gallery, only: Filter) -> list[int]:
    """The vehicles that a filter lets through."""
    return [vehicle.id for vehicle in gallery.vehicles(thumbnails=False, only=only)]
