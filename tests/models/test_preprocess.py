"""The one resize: bilinear, stretched, and nothing at all for a picture that already fits."""

import numpy as np
import pytest

from vreid.models.preprocess import Image, batch_of, resized


def noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def slow(image: Image, height: int, width: int) -> Image:
    """Bilinear with pixel centres at a half and edges repeated, straight from the formula."""
    out = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * image.shape[0] / height - 0.5, (x + 0.5) * image.shape[1] / width - 0.5
            top, left = int(np.floor(v)), int(np.floor(u))
            for row, down in ((top, 1 - (v - top)), (top + 1, v - top)):
                for column, across in ((left, 1 - (u - left)), (left + 1, u - left)):
                    inside = min(max(row, 0), image.shape[0] - 1), min(max(column, 0), image.shape[1] - 1)
                    out[y, x] += down * across * image[inside]
    return np.asarray(np.round(out), np.uint8)


@pytest.mark.parametrize("size", [(7, 5), (40, 23), (16, 16), (1, 1)])
def test_it_is_bilinear_and_stretched(size: tuple[int, int]) -> None:
    image = noise(*size)
    found = resized(image, 16, 24)
    assert found.shape == (16, 24, 3) and found.dtype == np.uint8
    assert np.abs(found.astype(int) - slow(image, 16, 24)).max() <= 1  # cv2 works in fixed point


def test_a_picture_that_fits_is_not_touched() -> None:
    image = noise(16, 24)
    assert np.array_equal(resized(image, 16, 24), image)
    mirrored = image[:, ::-1]  # a view that lies backwards in memory
    assert resized(mirrored, 16, 24).flags.c_contiguous and np.array_equal(resized(mirrored, 16, 24), mirrored)


def test_a_batch_is_its_pictures_one_by_one() -> None:
    images = [noise(9, 30, 1), noise(16, 24, 2), noise(100, 80, 3)[5:60, 7:50]]
    batch = batch_of(images, 16, 24)
    assert batch.shape == (3, 16, 24, 3) and batch.dtype == np.uint8 and batch.flags.c_contiguous
    for row, image in zip(batch, images, strict=True):
        assert np.array_equal(row, resized(image, 16, 24))


def test_no_pictures_are_an_empty_batch() -> None:
    assert batch_of([], 16, 24).shape == (0, 16, 24, 3)
