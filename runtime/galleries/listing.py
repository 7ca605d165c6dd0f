"""What a gallery says: the vehicles that it found, those that it holds, and its totals."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import cv2

from vreid.models.preprocess import Image


@dataclass(frozen=True)
class Hit:
    """One vehicle that a search found; the score is the best cosine over its prototypes."""

    vehicle: int
    name: str
    score: float


@dataclass(frozen=True)
class Vehicle:
    """One vehicle; `last_seen` is on its source's clock, `thumbnail` a JPEG of its newest sighting or enrolment."""

    id: int
    name: str
    created: float  # seconds since 1970
    prototypes: int
    sightings: int
    cameras: tuple[str, ...]
    last_seen: float | None
    last_camera: str | None
    thumbnail: bytes | None


@dataclass(frozen=True)
class Stats:
    """A gallery in numbers; `bytes` is the size of its file without the write-ahead log."""

    vehicles: int
    prototypes: int
    sightings: int
    cameras: int
    dim: int
    model: str
    fingerprint: str
    bytes: int


def thumbnail_of(picture: Image, side: int = 160) -> bytes | None:
    """(H, W, 3) BGR -> a JPEG no larger than `side`; None for an empty picture."""
    if picture.size == 0:
        return None
    height, width = picture.shape[:2]
    scale = min(1.0, side / max(height, width))
    small = picture
    if scale < 1:
        small = cv2.resize(  # type: ignore[assignment]
            picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
        )
    done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])
    return data.tobytes() if done else None


def listed(connection: sqlite3.Connection, thumbnails: bool) -> list[Vehicle]:
    """Every vehicle by rising id; without `thumbnails` the pictures stay on the disk."""
    cameras: dict[int, list[str]] = {}
    for vehicle, camera in connection.execute(
        "SELECT DISTINCT vehicle, camera FROM sightings ORDER BY vehicle, camera"
    ):
        cameras.setdefault(vehicle, []).append(camera)
    picture = "coalesce(last.thumbnail, v.thumbnail)" if thumbnails else "NULL"
    rows = connection.execute(
        f"""SELECT v.id, v.name, v.created, (SELECT count(*) FROM prototypes WHERE vehicle = v.id),
                   coalesce(seen.n, 0), last.last_time, last.camera, {picture}
            FROM vehicles v
            LEFT JOIN (SELECT vehicle, count(*) AS n, max(id) AS newest FROM sightings GROUP BY vehicle) seen
                   ON seen.vehicle = v.id
            LEFT JOIN sightings last ON last.id = seen.newest
            ORDER BY v.id"""
    )
    return [
        Vehicle(id_, name, created, prototypes, sightings, tuple(cameras.get(id_, ())), seen, camera, thumbnail)
        for id_, name, created, prototypes, sightings, seen, camera, thumbnail in rows
    ]


def counted(connection: sqlite3.Connection, path: Path, dim: int, model: str, fingerprint: str) -> Stats:
    """The totals of the gallery at `path`."""
    vehicles, prototypes, sightings, cameras = connection.execute(
        """SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes),
                  (SELECT count(*) FROM sightings), (SELECT count(DISTINCT camera) FROM sightings)"""
    ).fetchone()
    return Stats(vehicles, prototypes, sightings, cameras, dim, model, fingerprint, path.stat().st_size)
