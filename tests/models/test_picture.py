"""A picture is read whole or refused by name."""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.picture import decoded, fault_of, read_picture


def is_whole(content: bytes) -> bool:
    return not fault_of(content, Path("picture"))


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


def scene(height: int = 96, width: int = 80) -> np.ndarray:
    """A smooth scene with edges and some noise, as a crop of a vehicle has."""
    random = np.random.default_rng(3)
    image = np.linspace(40, 200, width)[None, :, None] + np.zeros((height, width, 3))
    image[height // 4 : height // 2, width // 5 : width // 2] = (30, 90, 200)
    return np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)


KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
    "optimised": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "coarse": [cv2.IMWRITE_JPEG_QUALITY, 30],
}


def coded(content: bytes) -> int:
    """Where the coded data of the first scan begins."""
    start = content.index(b"\xff\xda")
    return start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_closed_early_is_refused_by_name(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = cv2.imencode(".jpg", scene(), KINDS[kind])[1].tobytes()
    start = coded(content)
    for end in np.linspace(start, len(content) - 40, 9).astype(int).tolist():
        closed = content[:end] + b"\xff\xd9"
        with pytest.raises(Refused, match=r"car\.jpg is (damaged|cut short).* copy it again or leave it out"):
            decoded(closed, Path("car.jpg"))
        assert "car.jpg" in fault_of(closed, Path("car.jpg"))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["baseline", "restarts", "coarse"])
def test_a_jpeg_with_a_hole_of_zeros_is_refused_by_name(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = cv2.imencode(".jpg", scene(), KINDS[kind])[1].tobytes()
    start = coded(content)
    for size in (32, 100, 200):
        for begin in np.linspace(start, len(content) - size - 2, 7).astype(int).tolist():
            holed = content[:begin] + bytes(size) + content[begin + size :]
            with pytest.raises(Refused, match=r"car\.jpg is (damaged|cut short|not a picture)"):
                decoded(holed, Path("car.jpg"))
    assert capfd.readouterr().err == ""


def test_flat_pictures_have_no_hole() -> None:
    for flags in KINDS.values():
        for value in (0, 127, 255):
            for channels in ((), (3,)):
                flat = np.full((256, 256, *channels), value, np.uint8)
                assert fault_of(cv2.imencode(".jpg", flat, flags)[1].tobytes(), Path("flat.jpg")) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_oddities_that_no_pixel_depends_on_are_read_in_silence(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    content = cv2.imencode(".jpg", scene(), KINDS[kind])[1].tobytes()
    assert content[2:4] == b"\xff\xe0"
    after = 4 + int.from_bytes(content[4:6], "big")
    odd = {
        "after the end": content + b"\0" * 30 + b"trailer \xff\xd8\xff",
        "fill": content[:after] + b"\xff\xff\xff" + content[after:],
        "zeros between segments": content[:after] + bytes(5) + content[after:],
        "rubbish between segments": content[:after] + b"abcdefgh" + content[after:],
        "zeros before the end": content[:-2] + bytes(40) + content[-2:],
        "two bytes before the end": content[:-2] + b"\x12\x34" + content[-2:],
        "both": content[:after] + b"abc" + content[after:-2] + bytes(7) + content[-2:],
        "JFIF 3.1": content.replace(b"JFIF\0\x01\x01", b"JFIF\0\x03\x01", 1),
        "comment": content[:2] + b"\xff\xfe\0\x06\xff\xd9ab" + content[2:],
    }
    pixels = decoded(content, Path("car.jpg"))
    for name, other in odd.items():
        assert fault_of(other, Path("car.jpg")) == "", name
        np.testing.assert_array_equal(decoded(other, Path("car.jpg")), pixels, name)
    assert capfd.readouterr().err == ""


def test_rubbish_that_hides_a_hole_does_not_make_a_jpeg_whole() -> None:
    content = cv2.imencode(".jpg", scene())[1].tobytes()
    closed = content[: (coded(content) + len(content)) // 2] + b"\xff\xd9"
    after = 4 + int.from_bytes(closed[4:6], "big")
    assert not is_whole(closed[:after] + b"abc" + closed[after:])


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_a_png_is_checked_by_its_checksums_and_pixels() -> None:
    content = cv2.imencode(".png", scene())[1].tobytes()
    assert is_whole(content) and is_whole(content + b"more")
    assert not any(is_whole(content[:end]) for end in range(8, len(content), 11))
    at = content.index(b"IDAT") - 4
    length = int.from_bytes(content[at : at + 4], "big")
    body = content[at + 8 : at + 8 + length]
    end = chunk(b"IEND", b"")
    assert is_whole(content[:at] + chunk(b"tEXt", b"a\0b") + content[at:])
    assert not is_whole(content[:at] + chunk(b"IDAT", body[: len(body) // 2]) + end)
    assert not is_whole(content[:at] + end)
    changed = bytearray(content)
    changed[at + 8 + length // 2] ^= 1
    assert not is_whole(bytes(changed))


def test_a_cut_webp_is_refused() -> None:
    content = cv2.imencode(".webp", scene())[1].tobytes()
    assert is_whole(content) and decoded(content, Path("car.webp")).shape == (96, 80, 3)
    assert not any(is_whole(content[:end]) for end in range(12, len(content), 11))


def test_grey_deep_and_misnamed_pictures_are_read_as_colour(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    for name, content in {
        "grey.jpg": cv2.imencode(".jpg", grey)[1],
        "grey.png": cv2.imencode(".png", grey)[1],
        "png.jpg": cv2.imencode(".png", scene())[1],
        "jpeg.png": cv2.imencode(".jpg", scene())[1],
        "clear.png": cv2.imencode(".png", np.dstack([scene(), grey]))[1],
    }.items():
        (tmp_path / name).write_bytes(content.tobytes())
        assert read_picture(tmp_path / name).shape == (96, 80, 3)
    deep = cv2.imencode(".png", scene().astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(decoded(deep, Path("deep.png")), scene())


def test_a_jpeg_is_turned_upright_by_its_exif() -> None:
    content = cv2.imencode(".jpg", scene(64, 32))[1].tobytes()
    tag = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation 6: the top is at the right
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + tag + bytes(4)
    turned = content[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + content[2:]
    assert decoded(turned, Path("car.jpg")).shape == (32, 64, 3)
