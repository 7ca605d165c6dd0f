"""A picture is read whole or refused by name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.picture import is_whole, read_picture


def picture(path: Path, seed: int = 0, size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def test_a_jpeg_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    path = picture(tmp_path / "car.jpg", size=64)
    content = path.read_bytes()
    assert read_picture(path).shape == (64, 64, 3)
    assert is_whole(content) and is_whole(content + b"\0\0\nmore")
    assert not any(is_whole(content[:end]) for end in range(2, len(content)))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Refused, match=r"car\.jpg is cut short"):
        read_picture(path)


def test_an_end_marker_in_a_thumbnail_does_not_make_a_cut_jpeg_whole(tmp_path: Path) -> None:
    content = picture(tmp_path / "car.jpg").read_bytes()
    thumbnail = b"\xff\xe1" + (2 + len(content)).to_bytes(2, "big") + content
    photo = content[:2] + thumbnail + content[2:]
    assert is_whole(photo)
    assert not is_whole(photo[:-2])


def test_progressive_and_restarted_jpegs_are_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for flag, value in ((cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)):
        content = cv2.imencode(".jpg", noise, [flag, value])[1].tobytes()
        assert is_whole(content)
        assert not any(is_whole(content[:end]) for end in range(2, len(content), 7))


def test_what_is_no_picture_is_refused_by_name(tmp_path: Path) -> None:
    whole = picture(tmp_path / "car.png").read_bytes()
    wrong = {"empty.jpg": b"", "text.jpg": b"hello", "cut.png": whole[:-20]}
    for name, content in wrong.items():
        (tmp_path / name).write_bytes(content)
    for name in (*wrong, "absent.jpg"):
        with pytest.raises(Refused, match=name):
            read_picture(tmp_path / name)
