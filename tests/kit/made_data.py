"""A CSV data set of noise: two pictures of every vehicle, one a camera, no two alike."""

from pathlib import Path

import cv2
import numpy as np


def noise_set(folder: Path, table: str, vehicles: int, side: int, suffix: str) -> Path:
    """Write pictures VEHICLE_CAMERA.suffix of (side, side) pixels and `table`, which lists them, into the folder; returns it."""
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(vehicles, 2):
        name = f"{vehicle}_{camera}.{suffix}"
        noise = np.random.default_rng((vehicle, camera)).integers(0, 256, (side, side, 3), np.uint8)
        assert cv2.imwrite(str(folder / name), noise)
        rows.append(f"{name},{vehicle},c{camera}")
    (folder / table).write_text("\n".join(rows) + "\n")
    return folder
