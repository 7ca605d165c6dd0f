"""A made-up data set that a small network learns in seconds: coloured shapes as vehicles, seen by two cameras."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch


def drawn(vehicle: int, camera: int, picture: int) -> np.ndarray:
    """(32, 32, 3) uint8 BGR: the shape and colour are the vehicle's, ground and light the camera's, the place varies."""
    random = np.random.default_rng((vehicle, camera, picture))
    image = np.full((32, 32, 3), (60, 130)[camera], np.uint8)
    hue = np.array([[[vehicle * 47 % 180, 200 + 55 * (vehicle % 2), 230 - 60 * camera]]], np.uint8)
    colour = [int(part) for part in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0]]
    x, y = (int(part) for part in random.integers(12, 21, 2))
    if vehicle % 3 == 0:
        cv2.circle(image, (x, y), 9, colour, -1)
    else:
        half = (10, 5) if vehicle % 3 == 1 else (5, 10)
        cv2.rectangle(image, (x - half[0], y - half[1]), (x + half[0], y + half[1]), colour, -1)
    return np.clip(image + random.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def written(folder: Path, vehicles: int, pictures: int) -> Path:
    """Pictures of `vehicles` x 2 cameras x `pictures`, and the CSV file that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["path,vehicle,camera"]
    for vehicle, camera, picture in np.ndindex(vehicles, 2, pictures):
        name = f"{vehicle:02d}_{camera}_{picture}.png"
        assert cv2.imwrite(str(folder / name), drawn(vehicle, camera, picture))
        rows.append(f"{name},{vehicle},c{camera}")
    (folder / "shapes.csv").write_text("\n".join(rows) + "\n")
    return folder / "shapes.csv"


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """shapes(vehicles, pictures) -> a CSV data set, drawn once."""
    made: dict[tuple[int, int], Path] = {}

    def make(vehicles: int = 12, pictures: int = 3) -> Path:
        if (vehicles, pictures) not in made:
            made[vehicles, pictures] = written(tmp_path_factory.mktemp("shapes"), vehicles, pictures)
        return made[vehicles, pictures]

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
