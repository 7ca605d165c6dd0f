"""Pictures of a training: decoded once where memory allows, augmented anew each time."""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor, from_numpy
from torch.utils.data import DataLoader, Dataset, get_worker_info

from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.train.augment import Augmentation, augmented
from vreid.train.datasets.records import Item

CACHE_BYTES = 4 << 30
Key = tuple[int, int]  # index of the picture, place in the epoch


class Pictures(Dataset[Tensor]):
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

    def __getitem__(self, key: Key) -> Tensor:
        index, place = key
        random = np.random.default_rng((self.seed, self.epoch, place))
        return from_numpy(np.ascontiguousarray(augmented(self._picture(index), *self.size, self.rules, random)))


def loader_of(pictures: Pictures, batches: Sequence[Sequence[int]], first: int, workers: int) -> "DataLoader[Tensor]":
    """Batches (B, H, W, 3) in order; `first` is the place of the first picture, so that ranks draw apart."""
    places = iter(range(first, first + sum(map(len, batches))))
    keys = [[(index, next(places)) for index in batch] for batch in batches]
    return DataLoader(pictures, batch_sampler=keys, num_workers=workers, prefetch_factor=4 if workers else None)
