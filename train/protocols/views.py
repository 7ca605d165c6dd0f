"""How landmarks are looked at: the box of a query, and one picture at several sizes."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.train.evaluate import Embed, Floats
from vreid.train.protocols.landmarks import Box, Landmarks

EmbedAt = Callable[[Sequence[Image], tuple[int, int]], Floats]
"""N pictures, the (height, width) at which the network sees them -> (N, D); such as `embed_with(network, size)`."""

SCALES = (1.0, 2**-0.5, 0.5)


def multi_scale(embed_at: EmbedAt, scales: Sequence[float] = SCALES, size: tuple[int, int] | None = None) -> Embed:
    """An `Embed` of several scales: each scale's features at unit length, averaged, at unit length again.

    As Whiten-MTD tests on landmarks (methods.md 4.1: original size, scales 1, 1/sqrt 2, 1/2). A picture is seen at its
    own size, or at `size` (height, width), times each scale, rounded to whole pixels (the released code rounds down).
    Pictures of one size are embedded together. Raises Refused for scales that are not above 0.
    """
    if not scales or not all(0 < scale < 100 for scale in scales):
        raise Refused(f"the scales {tuple(scales)} mean nothing; give some above 0, such as 1 0.7071 0.5")

    def embed(images: Sequence[Image]) -> Floats:
        if not images:
            raise Refused("there are no pictures to embed; give one or more")
        groups: dict[tuple[int, int], list[int]] = {}
        for row, image in enumerate(images):
            groups.setdefault(size or (image.shape[0], image.shape[1]), []).append(row)
        means: dict[int, Floats] = {}
        for (height, width), rows in groups.items():
            group = [images[row] for row in rows]
            seen = [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in scales]
            parts = [unit_length(embed_at(group, smaller), len(group)) for smaller in seen]
            mean = unit_length(np.stack(parts).mean(axis=0, dtype=np.float64), len(group))
            means.update(zip(rows, mean, strict=True))
        return np.stack([means[row] for row in range(len(images))])

    return embed


def unit_length(features: NDArray[np.floating], rows: int) -> Floats:
    """(N, D) -> (N, D) float32 of unit length; zero stays zero. Raises Refused unless there are `rows` finite ones."""
    if features.ndim != 2 or len(features) != rows:
        raise Refused(
            f"the network gave features of shape {features.shape} for {rows} pictures; it must give ({rows}, D)"
        )
    wide = np.asarray(features, np.float64)
    if not np.isfinite(wide).all():
        raise Refused("the network gave features that are not finite (NaN or infinity); use another checkpoint")
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), np.float32)


def cropped(image: Image, box: Box, what: str = "the picture") -> Image:
    """The part of (H, W, 3) in `box` (left, top, right, bottom, pixels), each side rounded to the nearest pixel and
    clipped to the picture. Raises Refused, by `what`, when the box lies outside."""
    left, top, right, bottom = (max(0, round(side)) for side in box)
    part = image[top:bottom, left:right]
    if not part.size:
        raise Refused(f"the box {box} lies outside of {what}; give the ground truth that belongs to these pictures")
    return part


def embedded_landmarks(
    landmarks: Landmarks, folder: Path, embed: Embed, *, suffix: str = ".jpg", batch: int = 16
) -> tuple[Floats, Floats]:
    """Queries (Q, D), cut to their boxes, and gallery (N, D), at unit length; pictures are `folder`/name`suffix`.

    Holds `batch` pictures at a time. Raises Refused for a picture that is missing or cut, by name.
    """

    def questions() -> Iterator[Image]:
        for query in landmarks.queries:
            path = folder / f"{query.picture}{suffix}"
            yield cropped(read_picture(path), query.box, str(path))

    pictures = (read_picture(folder / f"{name}{suffix}") for name in landmarks.gallery)
    return embedded_images(questions(), embed, batch), embedded_images(pictures, embed, batch)


def embedded_images(images: Iterator[Image], embed: Embed, batch: int = 16) -> Floats:
    """Pictures that come one after the other -> (N, D) of unit length. Raises Refused when none comes."""
    if batch < 1:
        raise Refused(f"a batch of {batch} pictures holds nothing; give 1 or more")
    parts: list[Floats] = []
    while some := list(islice(images, batch)):
        parts.append(unit_length(np.asarray(embed(some)), len(some)))
    if not parts:
        raise Refused("there are no pictures to embed; give one or more")
    return np.concatenate(parts)
