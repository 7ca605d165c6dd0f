"""Black, blank and frozen pictures are told from night and a still scene: made pictures, and a real RTSP server."""

from collections.abc import Callable

import numpy as np
import pytest

from vreid.models.preprocess import Image
from vreid.runtime.sources.live import BLANK_AFTER, EVERY, FROZEN_AFTER, PictureHealth

SCENE = np.random.default_rng(1).integers(30, 220, (9, 16, 3)).repeat(20, 0).repeat(20, 1).astype(float)
NOISE = np.random.default_rng(2)
Pictures = Callable[[], Image]


def sensor(scene: np.ndarray, noise: float) -> Pictures:
    """A scene as a sensor sees it: with noise of `noise` levels."""
    return lambda: np.clip(scene + NOISE.normal(0, noise, scene.shape), 0, 255).astype(np.uint8)


def one_lamp() -> Image:
    picture = np.zeros((180, 320, 3), np.uint8)
    picture[90:100, 100:110] = 250
    picture[90:100, 100:110] -= NOISE.integers(0, 9, (10, 10, 3), np.uint8)
    return picture


def watched(
    pictures: Pictures, seconds: float, health: PictureHealth | None = None, began: float = 0.0
) -> PictureHealth:
    health = health or PictureHealth()
    for now in np.arange(began, began + seconds, 0.25).tolist():
        health.look(pictures(), now)
    return health


STILL = sensor(SCENE, 0.0)()


@pytest.mark.parametrize(
    ("pictures", "fault"),
    [
        (lambda: np.zeros((180, 320, 3), np.uint8), "black"),
        (lambda: np.full((1080, 1920, 3), 16, np.uint8), "black"),
        (lambda: np.full((180, 320, 3), (200, 60, 10), np.uint8), "blank"),
        (lambda: STILL, "frozen"),
    ],
)
def test_pictures_that_show_nothing_are_a_fault_and_it_ends(pictures: Pictures, fault: str) -> None:
    limit = BLANK_AFTER if fault != "frozen" else FROZEN_AFTER
    seen = watched(pictures, limit - 0.5)
    assert seen.fault is None and seen.warnings() == []
    watched(pictures, 2.0, seen, limit - 0.5)
    assert seen.fault == fault
    watched(sensor(SCENE, 2.0), 3 * EVERY, seen, limit + 1.5)
    assert seen.fault is None
    (warning,) = seen.warnings()
    assert f"{fault} pictures 1 times" in warning and limit <= seen.seconds[fault] <= limit + 3


@pytest.mark.parametrize(
    "pictures",
    [
        sensor(SCENE, 1.0),  # a still scene
        sensor(SCENE, 0.5),
        sensor(SCENE * 0.05, 1.5),  # night
        sensor(np.full((180, 320, 3), 4.0), 1.5),  # night without a lamp
        sensor(np.full((180, 320, 3), 128.0), 2.0),  # fog
    ],
)
def test_night_fog_and_a_still_scene_of_a_sensor_are_healthy(pictures: Pictures) -> None:
    assert watched(pictures, 3 * FROZEN_AFTER).fault is None


def test_a_lamp_in_the_dark_is_not_black() -> None:
    assert watched(one_lamp, 4 * BLANK_AFTER).fault != "black"


def test_an_encoder_that_repeats_a_still_scene_between_its_key_frames_is_healthy() -> None:
    """Noise shows at key frames alone, every 4 s; a change of one in fifty pixels there would do."""
    seen, picture = PictureHealth(), STILL
    for step in range(400):
        if step % 40 == 0:
            picture = sensor(SCENE, 1.0)()
        seen.look(picture, step / 10)
    assert seen.fault is None and seen.warnings() == []


def test_a_frozen_camera_whose_key_frames_flicker_a_little_stays_frozen() -> None:
    seen = PictureHealth()
    for step in range(300):
        picture = STILL.copy()
        if step % 10 == 0:
            picture[:1] += 1  # 1 row of 180
        seen.look(picture, step / 10)
    assert seen.fault == "frozen"


def test_a_camera_that_was_away_begins_anew() -> None:
    seen = watched(lambda: STILL, FROZEN_AFTER - 1)
    seen.look(STILL, FROZEN_AFTER + 60)
    assert seen.fault is None
