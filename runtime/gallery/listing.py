"""What a gallery says: the vehicles that it found, those that it holds, and its totals."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import cv2

from vreid.models.preprocess import Image
from vreid.runtime.gallery.sqlite.filter import EVERYTHING, Filter, vehicles_where


@dataclass(frozen=True)
class Hit:
    """One vehicle that a search found; the score is the best cosine over its prototypes."""

    vehicle: int
    name: str
    score: float


@dataclass(frozen=True)
class Vehicle:
    """One vehicle; `thumbnail` is a JPEG of its newest sighting or its enrolment.

    `last_seen` is on its source's own clock, `last_at` the same moment in seconds since 1970.
    """

    id: int
    name: str
    created: float  # seconds since 1970
    kind: str | None
    prototypes: int
    sightings: int
    cameras: tuple[str, ...]
    last_seen: float | None
    last_at: float | None
    last_camera: str | None
    thumbnail: bytes | None


@dataclass(frozen=True)
class Stats:
    """A gallery in numbers; `bytes` is the size of its file without the write-ahead log.

    `oldest` and `newest` are sightings, in seconds since 1970; `retention` is in seconds, None: sightings are kept.
    """

    vehicles: int
    prototypes: int
    sightings: int
    cameras: int
    dim: int
    model: str
    fingerprint: str
    bytes: int
    oldest: float | None
    newest: float | None
    retention: float | None
    changes: int  # rows of the audit


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


def listed(connection: sqlite3.Connection, thumbnails: bool, only: Filter = EVERYTHING) -> list[Vehicle]:
    """The vehicles that `only` lets through, by rising id; without `thumbnails` the pictures stay on the disk."""
    where, values = vehicles_where(only)
    cameras: dict[int, list[str]] = {}
    for vehicle, camera in connection.execute(
        f"SELECT DISTINCT vehicle, camera FROM sightings WHERE vehicle IN (SELECT v.id FROM vehicles v WHERE {where})"
        " ORDER BY vehicle, camera",
        values,
    ):
        cameras.setdefault(vehicle, []).append(camera)
    picture = "coalesce(last.thumbnail, v.thumbnail)" if thumbnails else "NULL"
    rows = connection.execute(
        f"""SELECT v.id, v.name, v.created, coalesce(v.kind, last.kind),
                   (SELECT count(*) FROM prototypes WHERE vehicle = v.id),
                   (SELECT count(*) FROM sightings WHERE vehicle = v.id),
                   last.last_time, last.seen, last.camera, {picture}
            FROM vehicles v
            LEFT JOIN sightings last ON last.id = (SELECT max(id) FROM sightings WHERE vehicle = v.id)
            WHERE {where} ORDER BY v.id""",
        values,
    )
    return [
        Vehicle(id_, name, created, kind, prototypes, sightings, tuple(cameras.get(id_, ())), *last)
        for id_, name, created, kind, prototypes, sightings, *last in rows
    ]


def counted(connection: sqlite3.Connection, path: Path, dim: int, model: str, fingerprint: str) -> Stats:
    """The totals of the gallery at `path`."""
    vehicles, prototypes, sightings, cameras, *rest = connection.execute(
        """SELECT (SELECT count(*) FROM vehicles), (SELECT count(*) FROM prototypes),
                  (SELECT count(*) FROM sightings), (SELECT count(DISTINCT camera) FROM sightings),
                  (SELECT min(seen) FROM sightings), (SELECT max(seen) FROM sightings),
                  (SELECT CAST(value AS REAL) FROM meta WHERE key = 'retention'), (SELECT count(*) FROM audit)"""
    ).fetchone()
    return Stats(vehicles, prototypes, sightings, cameras, dim, model, fingerprint, path.stat().st_size, *rest)
