"""Pictures of a training: decoded once where memory allows, augmented anew each time."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from torch import Tensor, from_numpy
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.train.augment import Augmentation, augmented
from vreid.train.datasets.records import Item

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
