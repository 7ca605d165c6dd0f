"""Pictures of a training: decoded once where memory allows, augmented anew each time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from torch import Tensor, from_numpy
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image, resized
from vreid.train.data.records import Item


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and strengths. `pad` is the share of the side that is padded before the random crop (BoT: 10 of 256),
    `zoom` the least share of the picture that a crop keeps, `light` the strength of exposure, colour cast and contrast.
    `blur` is the probability of the low resolution of a far camera. Three are 0 unless given: `balance` is the spread of the white
    balance (the logarithms of the gains of red and blue), `defocus` the probability of a lens out of focus (Gaussian of up to
    2 % of the side), `jpeg` that of a stream's compression (quality 20 to 80)."""

    flip: float = 0.5
    pad: float = 0.06
    zoom: float = 0.85
    light: float = 0.25
    gray: float = 0.05
    blur: float = 0.2
    noise: float = 0.2
    erase: float = 0.5
    balance: float = 0.0
    defocus: float = 0.0
    jpeg: float = 0.0


def augmented(image: Image, height: int, width: int, rules: Augmentation, random: np.random.Generator) -> Image:
    """(h, w, 3) uint8 BGR -> (height, width, 3) uint8 BGR."""
    image = _cropped(image, height, width, rules, random)
    if random.random() < rules.flip:
        image = np.ascontiguousarray(image[:, ::-1])
    if rules.light:
        image = _relit(image, rules.light, random)
    if rules.balance:
        image = _balanced(image, rules.balance, random)
    if random.random() < rules.gray:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8)
    if rules.defocus and random.random() < rules.defocus:  # no draw without it: earlier trainings stay as they were
        spread = random.uniform(0.004, 0.02) * max(height, width)
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), spread), np.uint8)
    if random.random() < rules.blur:
        image = _coarse(image, random)
    if random.random() < rules.noise:
        spread = random.uniform(2, 10)
        image = np.clip(image + random.normal(0, spread, image.shape).astype(np.float32), 0, 255).astype(np.uint8)
    if rules.jpeg and random.random() < rules.jpeg:
        image = _compressed(image, int(random.integers(20, 81)))
    if random.random() < rules.erase:
        image = _erased(image, random)
    return image


def _cropped(image: Image, height: int, width: int, rules: Augmentation, random: np.random.Generator) -> Image:
    """A random window, grown by the padding and shrunk by the zoom, resized in one go."""
    rows, columns = image.shape[:2]
    tall, wide = random.uniform(rules.zoom, 1.0, 2)
    top = random.uniform(-rules.pad, 1 + rules.pad - tall) * rows
    left = random.uniform(-rules.pad, 1 + rules.pad - wide) * columns
    matrix = np.array([[width / (wide * columns), 0, 0], [0, height / (tall * rows), 0]], np.float32)
    matrix[:, 2] = -matrix[0, 0] * left, -matrix[1, 1] * top
    if tall * rows > 2 * height or wide * columns > 2 * width:  # warpAffine has no area filter
        image, scale = (
            resized(image, 2 * height, 2 * width),
            np.array([columns / (2 * width), rows / (2 * height)], np.float32),
        )
        matrix[:, :2] *= scale
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def _relit(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Gain per channel, gamma and contrast through one table per channel, then saturation."""
    values = np.linspace(0, 1, 256, dtype=np.float32)
    gain = np.exp(random.normal(0, strength)) * np.exp(random.normal(0, strength / 4, 3))
    curve = values ** np.exp(random.normal(0, strength))
    contrast = np.exp(random.normal(0, strength))
    tables = np.clip((curve[:, None] * gain - 0.45) * contrast + 0.45, 0, 1)
    image = np.asarray(cv2.LUT(image, (255 * tables).astype(np.uint8)[None]), np.uint8)
    saturation = float(np.exp(random.normal(0, strength)))
    gray = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return np.asarray(cv2.addWeighted(image, saturation, gray, 1 - saturation, 0), np.uint8)


def _balanced(image: Image, strength: float, random: np.random.Generator) -> Image:
    """Blue and red by a gain each, as a camera's white balance has it; green stays."""
    blue, red = np.exp(random.normal(0, strength, 2))
    tables = np.clip(np.arange(256)[:, None] * np.array([blue, 1.0, red]), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, tables[None]), np.uint8)


def _compressed(image: Image, quality: int) -> Image:
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _coarse(image: Image, random: np.random.Generator) -> Image:
    """At a far camera's resolution: shrunk and enlarged again."""
    height, width = image.shape[:2]
    share = random.uniform(0.25, 0.7)
    small = cv2.resize(image, (max(8, int(width * share)), max(8, int(height * share))), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def _erased(image: Image, random: np.random.Generator) -> Image:
    """Random erasing (Zhong et al., AAAI 2020): area 0.02-0.3, aspect 0.3-3.3, filled with the ImageNet mean."""
    height, width = image.shape[:2]
    area = random.uniform(0.02, 0.3) * height * width
    aspect = np.exp(random.uniform(np.log(0.3), np.log(3.3)))
    tall, wide = int(min(height, np.sqrt(area * aspect))), int(min(width, np.sqrt(area / aspect)))
    top, left = random.integers(0, height - tall + 1), random.integers(0, width - wide + 1)
    image = image.copy()
    image[top : top + tall, left : left + wide] = (104, 116, 124)
    return image


CACHE_BYTES = 4 << 30
Key = tuple[int, int]  # index of the picture, place in the epoch


class Pictures(Dataset[Tensor | Refused]):
    """(index, place) -> (H, W, 3) uint8 BGR, augmented by a generator seeded with seed, epoch and place.

    `most` bounds the side that is kept in the cache (twice the input suffices: the crop's resize does the rest).
    """

    def __init__(self, items: Sequence[Item], rules: Augmentation, seed: int, most: int) -> None:
        self.items, self.rules, self.seed, self.most = items, rules, seed, most
        self.size, self.epoch = (0, 0), 0
        self.cache: dict[int, Image] = {}
        self.room = CACHE_BYTES

    def start(self, epoch: int, size: tuple[int, int]) -> None:
        """Set the epoch and the (height, width) of what comes out."""
        self.epoch, self.size = epoch, size

    def _picture(self, index: int) -> Image:
        image = self.cache.get(index)
        if image is None:
            image = read_picture(self.items[index].path)
            shrink = self.most / max(image.shape[:2])
            if shrink < 1 <= shrink * min(image.shape[:2]):  # a sliver would be shrunk to nothing
                image = np.asarray(
                    cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8
                )
            if image.nbytes <= self.room and get_worker_info() is None:  # a worker would lose its own with the epoch
                self.cache[index] = image
                self.room -= image.nbytes
        return image

    def __getitem__(self, key: Key) -> Tensor | Refused:
        """A refusal is returned, not raised: torch would wrap a worker's exception in its traceback."""
        index, place = key
        try:
            image = self._picture(index)
        except Refused as refused:
            return Refused(str(refused))
        random = np.random.default_rng((self.seed, self.epoch, place))
        return from_numpy(np.ascontiguousarray(augmented(image, *self.size, self.rules, random)))


def loader_of(pictures: Pictures, batches: Sequence[Sequence[int]], first: int, workers: int) -> Iterator[Tensor]:
    """Batches (B, H, W, 3) in order; `first` is the place of the first picture, so that ranks draw apart.

    Raises Refused for a picture that cannot be read, and when the system ends a worker.
    """
    places = iter(range(first, first + sum(map(len, batches))))
    keys = [[(index, next(places)) for index in batch] for batch in batches]
    loader: DataLoader[Tensor | Refused] = DataLoader(
        pictures,
        batch_sampler=keys,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        collate_fn=_collated,
    )
    try:
        for batch in loader:
            if isinstance(batch, Refused):
                raise batch
            yield batch
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise Refused(
            "the system ended a worker, most likely for want of memory or of shared memory (/dev/shm); "
            f"give fewer --workers than {workers}, or 0"
        ) from error


def _collated(pictures: Sequence[Tensor | Refused]) -> Tensor | Refused:
    refused = [picture for picture in pictures if isinstance(picture, Refused)]
    if refused:
        return refused[0]
    batch: Tensor = default_collate(list(pictures))
    return batch
