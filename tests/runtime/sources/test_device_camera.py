"""A camera of V4L2 is opened by OpenCV, and its pictures come as they are."""

from typing import Any

import cv2
import numpy as np
import pytest

from vreid.runtime.sources.live import open_device


class Device:
    """In the place of cv2.VideoCapture: a camera whose every picture is a little lighter."""

    opened: list[Any]

    def __init__(self, number: object, *_: object) -> None:
        self.opened.append(number)
        self._given = 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray]:
        self._given += 1
        return True, np.full((48, 64, 3), self._given % 200, np.uint8)

    def release(self) -> None:
        pass


def test_a_device_is_opened_by_its_path_and_gives_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "opened", [], raising=False)
    monkeypatch.setattr(cv2, "VideoCapture", Device)
    source = open_device("/dev/null", "gate")
    frames = iter(source)
    first, second = next(frames), next(frames)
    source.close()
    assert (source.camera, source.live, source.frame_rate, source.size) == ("gate", True, 30.0, (64, 48))
    assert Device.opened == ["/dev/null"] and second.index > first.index and second.time >= first.time
    assert first.image.shape == (48, 64, 3) and first.image[0, 0, 0] < 200
