"""Augmentation: a pure function of the generator's state, nothing where the rules ask for nothing, every branch at work."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.preprocess import Image, resized
from vreid.train.data.pictures import Augmentation, Pictures, augmented, loader_of
from vreid.train.data.records import Item

NOTHING = Augmentation(flip=0, pad=0, zoom=1, light=0, gray=0, blur=0, noise=0, erase=0)


def photo(height: int = 60, width: int = 80) -> Image:
    """A smooth colour picture without a symmetry."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    y, x = y / height, x / width
    planes = [128 + 90 * np.sin(5 * x + 2 * y), 60 + 150 * x * y, 220 - 140 * x]
    return np.stack(planes, axis=2).astype(np.uint8)


def result(rules: Augmentation, seed: int = 0, image: Image | None = None, side: int = 48) -> Image:
    return augmented(photo() if image is None else image, side, side, rules, np.random.default_rng(seed))


def test_the_same_state_gives_the_same_picture_and_leaves_the_source() -> None:
    source = photo()
    kept = source.copy()
    first = [result(Augmentation(), seed, source) for seed in range(12)]
    assert all(np.array_equal(one, result(Augmentation(), seed, source)) for seed, one in enumerate(first))
    assert all(not np.array_equal(first[0], other) for other in first[1:])
    assert np.array_equal(source, kept)


@pytest.mark.parametrize("size", [(60, 80), (30, 41), (200, 300), (48, 48)])
def test_rules_for_nothing_give_the_plain_resize(size: tuple[int, int]) -> None:
    image = photo(*size)
    got, plain = result(NOTHING, image=image).astype(int), resized(image, 48, 48).astype(int)
    # warpAffine measures from the first pixel's centre and resize from its corner: up to half a pixel apart,
    # and beyond the last pixel's centre lies the border
    inner = np.abs(got - plain)[:-3, :-3]
    assert inner.mean() < 2.5 and inner.max() <= 8
    assert size != (48, 48) or np.array_equal(got, plain)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (48, 96), (7, 5)])
@pytest.mark.parametrize("size", [(60, 80), (9, 300), (1, 1), (500, 3)])
def test_any_picture_comes_out_at_the_requested_size(height: int, width: int, size: tuple[int, int]) -> None:
    always = replace(Augmentation(), flip=1, gray=1, blur=1, noise=1, erase=1)
    for rules in (Augmentation(), always):
        for seed in range(3):
            got = augmented(photo(*size), height, width, rules, np.random.default_rng(seed))
            assert got.shape == (height, width, 3) and got.dtype == np.uint8


def test_flip_mirrors() -> None:
    assert np.array_equal(result(replace(NOTHING, flip=1)), result(NOTHING)[:, ::-1])


def test_gray_has_one_value_in_three_channels() -> None:
    got = result(replace(NOTHING, gray=1))
    assert np.array_equal(got[..., 0], got[..., 1]) and np.array_equal(got[..., 0], got[..., 2])


def test_blur_loses_detail_and_keeps_the_mean() -> None:
    board = (255 * (np.indices((48, 48)).sum(0) % 2))[..., None].repeat(3, 2).astype(np.uint8)
    plain, got = result(NOTHING, image=board), result(replace(NOTHING, blur=1), image=board)
    assert got.std() < 0.5 * plain.std()
    assert abs(float(got.mean()) - float(plain.mean())) < 4


def test_noise_scatters_around_the_picture() -> None:
    change = result(replace(NOTHING, noise=1)).astype(int) - result(NOTHING)
    assert 1 < change.std() < 12 and abs(change.mean()) < 1.5


def test_erasing_fills_one_rectangle_of_the_stated_area_with_the_mean() -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    for seed in range(30):
        got = result(replace(NOTHING, erase=1), seed, black, side=64)
        filled = np.all(got == (104, 116, 124), axis=2)
        rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
        assert filled.sum() == len(rows) * len(columns) and not got[~filled].any()
        assert 0.01 * 64 * 64 < filled.sum() <= 0.3 * 64 * 64


def test_light_changes_every_tone_alike_and_nothing_moves() -> None:
    steps = np.repeat(np.arange(0, 256, 16, dtype=np.uint8), 3)[None, :, None].repeat(48, 0).repeat(3, 2)
    for seed in range(5):
        got = result(replace(NOTHING, light=0.25), seed, steps).astype(int)
        assert not np.array_equal(got, steps)
        assert (np.diff(got.mean((0, 2))) >= -1).all()  # a brighter tone stays the brighter one
        assert all((got[:, start : start + 3] == got[0, start]).all() for start in range(0, 48, 3))


def test_the_white_balance_scales_blue_and_red_and_leaves_green() -> None:
    ramp = np.arange(0, 96, 2, dtype=np.uint8)[None, :, None].repeat(48, 0).repeat(3, 2)
    gains = []
    for seed in range(200):
        got = result(replace(NOTHING, balance=0.2), seed, ramp)
        assert np.array_equal(got[..., 1], ramp[..., 1])
        gains.append([float(got[0, -1, channel]) / float(ramp[0, -1, channel]) for channel in (0, 2)])
        for gain, channel in zip(gains[-1], (0, 2), strict=True):
            assert np.abs(got[0, :, channel] - gain * ramp[0, :, channel]).max() < 2.5
    spread = np.log(gains)
    assert np.abs(spread.std(0) - 0.2).max() < 0.04 and np.abs(spread.mean(0)).max() < 0.05
    assert abs(np.corrcoef(spread.T)[0, 1]) < 0.2


def test_defocus_blurs_as_a_gaussian_of_a_share_of_the_side() -> None:
    point = np.zeros((101, 101, 3), np.uint8)
    point[45:56, 45:56] = 255
    y, x = np.mgrid[0:101, 0:101] - 50.0
    for seed in range(10):
        got = result(replace(NOTHING, defocus=1), seed, point, side=101)[..., 0].astype(float)
        spread = np.sqrt(float((got * x**2).sum() / got.sum()) - (11**2 - 1) / 12)  # beyond that of the square itself
        assert abs(float((got * y).sum() / got.sum())) < 0.1 and 0.003 * 101 < spread < 0.022 * 101


def test_compression_is_what_a_jpeg_of_low_quality_leaves() -> None:
    noisy = result(replace(NOTHING, noise=1))
    qualities = [
        cv2.imdecode(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
        for quality in range(20, 81)
    ]
    found = {seed: result(replace(NOTHING, jpeg=1), seed, noisy) for seed in range(30)}
    assert all(any(np.array_equal(got, one) for one in qualities) for got in found.values())
    assert len({got.tobytes() for got in found.values()}) > 10


def test_rules_of_zero_draw_nothing() -> None:
    for rules in (Augmentation(), replace(NOTHING, noise=0.5)):
        random = np.random.default_rng(3)
        augmented(photo(), 48, 48, rules, random)
        left = random.random()
        random = np.random.default_rng(3)
        augmented(photo(), 48, 48, replace(rules, balance=0.0, defocus=0.0, jpeg=0.0), random)
        assert random.random() == left
    drawn = {name: replace(NOTHING, **{name: 1e-9}) for name in ("balance", "defocus", "jpeg")}
    plain = np.random.default_rng(3)
    augmented(photo(), 48, 48, NOTHING, plain)
    after = plain.random()
    for name, rules in drawn.items():
        random = np.random.default_rng(3)
        augmented(photo(), 48, 48, rules, random)
        assert random.random() != after, name


def test_padding_shows_a_black_border_and_zoom_does_not() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    padded = [result(replace(NOTHING, pad=0.2), seed, white) for seed in range(20)]
    assert all((picture == 0).any() for picture in padded)
    zoomed = [result(replace(NOTHING, zoom=0.5), seed) for seed in range(20)]
    assert all((picture[:-3, :-3] > 0).all() for picture in zoomed)
    assert len({picture.tobytes() for picture in zoomed}) == 20


def test_pictures_are_a_function_of_seed_epoch_and_place_with_or_without_workers(tmp_path: Path) -> None:
    items = []
    for number in range(3):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), np.roll(photo(), number * 9, axis=1))
        items.append(Item(tmp_path / f"{number}.png", f"{number}", "c"))
    batches = [[0, 1], [2, 0], [1, 2]]

    def epoch_of(epoch: int, first: int = 0, workers: int = 0, seed: int = 0) -> np.ndarray:
        pictures = Pictures(items, Augmentation(), seed, most=64)
        pictures.start(epoch, (32, 32))
        return np.stack([batch.numpy() for batch in loader_of(pictures, batches, first, workers)])

    whole = epoch_of(0)
    assert whole.shape == (3, 2, 32, 32, 3)
    assert np.array_equal(whole, epoch_of(0)) and np.array_equal(whole, epoch_of(0, workers=1))
    assert not np.array_equal(whole, epoch_of(1)) and not np.array_equal(whole, epoch_of(0, seed=1))
    apart = epoch_of(0, first=6)  # another rank
    assert not any(np.array_equal(a, b) for a in whole.reshape(6, -1) for b in apart.reshape(6, -1))


def test_a_sliver_of_a_picture_is_no_obstacle(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "thin.png"), photo(1, 600))
    pictures = Pictures([Item(tmp_path / "thin.png", "v", "c")], Augmentation(), 0, most=64)
    pictures.start(0, (32, 32))
    assert pictures[(0, 0)].shape == (32, 32, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_picture_that_cannot_be_read_is_refused_in_one_sentence_by_workers_too(tmp_path: Path, workers: int) -> None:
    items = []
    for place in range(6):
        path = tmp_path / f"{place}.jpg"
        assert cv2.imwrite(str(path), np.full((16, 16, 3), 40 * place, np.uint8))
        items.append(Item(path, str(place), "c"))
    content = items[4].path.read_bytes()
    items[4].path.write_bytes(content[: len(content) // 2])
    pictures = Pictures(items, Augmentation(), 0, 64)
    pictures.start(0, (16, 16))
    batches = loader_of(pictures, [[0, 1], [2, 3], [4, 5]], 0, workers)
    assert next(batches).shape == next(batches).shape == (2, 16, 16, 3)
    with pytest.raises(Refused) as refused:
        next(batches)
    assert str(refused.value).startswith(f"the picture {items[4].path} is ") and "\n" not in str(refused.value)


def test_a_worker_that_the_system_ends_is_reported_in_one_sentence(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "0.png"), np.zeros((16, 16, 3), np.uint8))

    class Ending(Pictures):
        def _picture(self, index: int) -> Image:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError

    pictures = Ending([Item(tmp_path / "0.png", "0", "c")] * 2, Augmentation(), 0, 64)
    pictures.start(0, (16, 16))
    with pytest.raises(Refused, match="the system ended a worker"):
        list(loader_of(pictures, [[0, 1]], 0, 1))
