"""A site drawn, to look at: one picture a camera with its zones, its masks and the least box in it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.files import atomic_folder
from vreid.models.preprocess import Image
from vreid.report.formats import Colour, colour_of
from vreid.runtime.session import CameraSettings, Polygon, Regions
from vreid.runtime.sinks.annotate import write_label
from vreid.runtime.sources.table import address_of, open_source

_AT_ONCE = 32  # cameras that are connected to side by side
_SIZE, _GREY = (960, 540), 96  # of a picture in place of a frame
_MASKED: Colour = (40, 40, 40)
_STRIPES = 16  # pixels from one stripe of a mask to the next
_SHADE = 0.3  # how much of a zone's colour lies over the picture


@dataclass(frozen=True)
class Drawn:
    """The picture of a camera; `fault` is why it shows no frame, None where it does."""

    camera: str
    picture: Path
    fault: str | None


def draw_site(cameras: Sequence[CameraSettings], out: Path) -> list[Drawn]:
    """Write `<camera>.jpg` of each camera into the folder `out`: a frame, or grey where there is none to be had.

    Raises Refused where the folder cannot be written; then nothing is.
    """
    with atomic_folder(out) as folder, ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="draw") as pool:
        done = []
        for camera, (image, fault) in zip(cameras, pool.map(_frame, cameras), strict=True):
            name = address_of(camera.source).camera
            drawn = drawn_regions(image, camera.regions)
            if fault is not None:
                write_label(drawn, np.array([8, 8, 8, 8], np.float32), (f"{name}: no picture", _MASKED), 0.6, 1)
            encoded = cv2.imencode(".jpg", drawn)[1]
            (folder / f"{name}.jpg").write_bytes(encoded.tobytes())
            done.append(Drawn(name, out / f"{name}.jpg", fault))
    return done


def drawn_regions(image: Image, regions: Regions) -> Image:
    """(H, W, 3) BGR -> a copy with the zones in colours of their own, masks striped, all with their names, and a square of the
    least box in the lower left corner."""
    drawn, height = image.copy(), image.shape[0]
    scale = min(1.2, max(0.45, height / 1300))
    thick = max(1, round(2 * scale))
    colours = {name: colour_of(place + 1) for place, name in enumerate(regions.zones)}
    for mask in regions.masks.values():
        _stripe(drawn, _pixels(mask, drawn), thick)
    for name, zone in regions.zones.items():
        corners, over = _pixels(zone, drawn), drawn.copy()
        cv2.fillPoly(over, [corners], colours[name][::-1])
        cv2.addWeighted(over, _SHADE, drawn, 1 - _SHADE, 0, dst=drawn)
        cv2.polylines(drawn, [corners], True, colours[name][::-1], 2 * thick)
    for name, polygon in (*regions.masks.items(), *regions.zones.items()):  # over all areas, so that none hides a name
        left, top = _pixels(polygon, drawn).min(axis=0)
        label = (name, colours[name]) if polygon is regions.zones.get(name) else (f"mask {name}", _MASKED)
        write_label(drawn, np.array([left + 4, top + 4, left + 4, top + 4], np.float32), label, scale, thick)
    if regions.least_box:
        side = round(regions.least_box)
        cv2.rectangle(drawn, (8, height - 8 - side), (8 + side, height - 8), (255, 255, 255), thick)
        corner = np.array([12 + side, height - 8 - side] * 2, np.float32)
        write_label(drawn, corner, (f"least box, {regions.least_box:g} pixels", _MASKED), scale, thick)
    return drawn


def _stripe(drawn: Image, corners: np.ndarray[tuple[int, ...], np.dtype[np.int32]], thick: int) -> None:
    """Darken an area and draw stripes over it."""
    inside = np.zeros(drawn.shape[:2], np.uint8)
    cv2.fillPoly(inside, [corners], 255)
    rows, columns = np.nonzero(inside)
    drawn[rows, columns] //= 2
    striped = (rows + columns) % _STRIPES < 2 * thick
    drawn[rows[striped], columns[striped]] = _MASKED[::-1]
    cv2.polylines(drawn, [corners], True, _MASKED[::-1], 2 * thick)


def _pixels(polygon: Polygon, image: Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Corners in shares -> (K, 2) whole pixels of the picture."""
    size = np.array(image.shape[1::-1])
    return np.asarray((np.asarray(polygon) * size).round().clip(0, size - 1), np.int32)


def _frame(camera: CameraSettings) -> tuple[Image, str | None]:
    """The camera's first frame, or a grey picture and why."""
    try:
        with closing(open_source(camera.source)) as source:
            for frame in source:
                return frame.image, None
            fault = "it gives no picture"
    except Refused as refused:
        fault = str(refused)
    return np.full((_SIZE[1], _SIZE[0], 3), _GREY, np.uint8), fault
