"""Training crops from the synthetic scene: other vehicles, other cameras and other lights than those of the demo."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.synth.backdrop import backdrop
from vreid.synth.body import mesh_of
from vreid.synth.city import NARROW, WIDE, truth_of, zone_of
from vreid.synth.mesh import Mesh
from vreid.synth.render import Solid, developed, draw, draw_shadow, grain_of, nearest_last
from vreid.synth.vehicle import Vehicle, random_vehicle
from vreid.synth.view import View, random_view

APART = 1 << 20  # keeps the seeds of training vehicles away from those of scenes
LEAST = 32  # pixels: the least side of a crop
TRIES = 30


@dataclass(frozen=True)
class Place:
    """A camera and what it sees while nothing passes."""

    view: View
    still: Image
    lanes: tuple[tuple[float, int], ...]
    zone: tuple[float, float]


def random_place(seed: int) -> Place:
    """A camera of its own pose and light over a road of two or four lanes."""
    rng = np.random.default_rng((seed, 23, APART))
    view, road = random_view(rng), WIDE if rng.random() < 0.3 else NARROW
    return Place(view, backdrop(view, road, seed + APART), road.lanes, zone_of(view, road))


def training_vehicle(seed: int, number: int, bodies: int = 0) -> Vehicle:
    """Identity `number` of a training set; never one of a scene's by the same seed. With `bodies` it has one of so many bends of
    its kind's shape, and is else the same."""
    vehicle = random_vehicle(np.random.default_rng((seed, 29, APART, number)))
    return (
        replace(vehicle, body=int(np.random.default_rng((seed, 37, APART, number)).integers(bodies)) + 1)
        if bodies
        else vehicle
    )


def crop(place: Place, vehicle: Mesh, rng: np.random.Generator, other: Mesh | None = None) -> Image | None:
    """One detection of the vehicle as `place` could give it, loosely boxed: (h, w, 3) uint8 BGR, its size as it is.

    `other` may drive in another lane, before or behind it. None where no try shows enough of the vehicle.
    """
    for _ in range(TRIES):
        solids = [_driving(place, vehicle, rng, None)]
        if other is not None:
            solids.append(_driving(place, other, rng, solids[0]))
        rows = [row for row in truth_of(place.view, solids) if row.vehicle == 1]
        if rows and rows[0].visibility > 0.6 and min(rows[0].w, rows[0].h) > LEAST:
            break
    else:
        return None
    width, height = place.view.size
    box, side = np.array([rows[0].x, rows[0].y, rows[0].w, rows[0].h]), np.array([rows[0].w, rows[0].h])
    low = box[:2] + rng.normal(-0.01, 0.03, 2) * side
    high = box[:2] + side * (1 + rng.normal(0.01, 0.03, 2))
    x0, y0 = np.clip(np.round(low), 0, (width - 16, height - 16)).astype(int)
    x1, y1 = np.clip(np.round(high), (x0 + 16, y0 + 16), (width, height)).astype(int)
    image = place.still[y0:y1, x0:x1].copy()
    for solid in solids:
        draw_shadow(image, place.view, solid, (int(x0), int(y0)))
    for number in nearest_last(place.view, solids):
        draw(image, place.view, solids[number], (int(x0), int(y0)))
    image = developed(place.view.light, image, grain_of(place.view.light, image.shape[1], image.shape[0], rng))
    image = np.asarray(cv2.convertScaleAbs(image, alpha=float(rng.uniform(0.93, 1.07))), np.uint8)
    if rng.random() < 0.6:  # as a stream's compression leaves it
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 95))])[1]
        image = np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
    return image


def _driving(place: Place, mesh: Mesh, rng: np.random.Generator, other: Solid | None) -> Solid:
    """The vehicle somewhere on the camera's stretch of the road; not in the lane of the `other` that it drives next to."""
    lanes = [lane for lane in place.lanes if other is None or abs(lane[0] - other.y) > 1]
    lane, way = lanes[int(rng.integers(len(lanes)))]
    x = float(rng.uniform(*place.zone)) if other is None else other.x + float(rng.uniform(-12, 12))
    heading = (0.0 if way > 0 else np.pi) + float(rng.normal(0, 0.03))
    return Solid(mesh, x, lane + float(rng.uniform(-0.3, 0.3)), heading)


def training_crops(
    seed: int, vehicles: int, cameras: int, per_camera: int, bodies: int = 0
) -> Iterator[tuple[int, int, Image]]:
    """(vehicle from 1, camera from 1, crop), camera by camera; deterministic. A crop that cannot be had is left out.

    Refused for counts under one or seeds under zero.
    """
    if min(seed, bodies) < 0 or min(vehicles, cameras, per_camera) < 1:
        raise Refused(
            "training crops take a seed from 0 and at least one vehicle, camera and crop per camera; raise the count"
        )
    meshes = [mesh_of(training_vehicle(seed, number, bodies)) for number in range(vehicles)]
    return _crops(seed, meshes, cameras, per_camera)


def _crops(seed: int, meshes: list[Mesh], cameras: int, per_camera: int) -> Iterator[tuple[int, int, Image]]:
    for camera in range(1, cameras + 1):
        place = random_place(seed * 4096 + camera)
        for number, mesh in enumerate(meshes, start=1):
            rng = np.random.default_rng((seed, 31, camera, number))
            for _ in range(per_camera):
                other = meshes[int(rng.integers(len(meshes)))] if rng.random() < 0.15 else None
                image = crop(place, mesh, rng, other)
                if image is not None:
                    yield number, camera, image
