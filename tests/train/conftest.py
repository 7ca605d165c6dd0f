"""A made-up data set that a small network learns in seconds: coloured shapes as vehicles, seen by two cameras."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from vreid.models.network import NetworkConfig
from vreid.train.data.pictures import Augmentation
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset
from vreid.train.devices import Place
from vreid.train.job import Job
from vreid.train.recipe import Recipe


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


@pytest.fixture(scope="session")
def begun(shapes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A training of seconds on 12 vehicles, 4 of them held out; not to be trained itself, but copied."""
    training, validation = cut(read_dataset(shapes()), 1 / 3)
    network = NetworkConfig("resnet18", 32, 32, 32, options={"scale": 0.125, "last_stride": 1})
    recipe = Recipe(network, epochs=4, lr=1e-2, head_lr=1.0, warmup=1, p=4, k=3, average=0.7, validate_every=2)
    cpu = Place(0, 1, torch.device("cpu"))
    return Job(recipe, [training], [validation], tmp_path_factory.mktemp("begun") / "run", cpu)


@pytest.fixture
def job(begun: Job, tmp_path: Path) -> Job:
    """A test's own training of seconds."""
    return replace(begun, out=tmp_path / "run")


@pytest.fixture
def mild() -> Augmentation:
    """An augmentation under which a shape stays what it is."""
    return Augmentation(pad=0.05, zoom=0.9, light=0.03, gray=0, blur=0, noise=0, erase=0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
