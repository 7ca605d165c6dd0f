"""ROxford5k and RParis6k: the ground truth, the pictures as queries and gallery, and the scores of the revisited protocol."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from exact_ranks import ranks, wrong_ahead
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.models.picture import read_picture
from vreid.models.preprocess import Embed, Floats, Image
from vreid.train.data.records import leads_inside
from vreid.train.evaluate import Ints

SETTINGS = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}
_MARKS = ("easy", "hard", "junk")
MOST_BYTES = 16 * 2**20  # the largest known ground truth is below 1 MiB

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Query:
    """One query: a part of a picture (`box`: left, top, right, bottom, pixels) and the rows of the gallery that show
    the same landmark plainly (`easy`) or barely (`hard`), or of which nobody can say (`junk`). All others are wrong."""

    picture: str
    box: Box
    easy: tuple[int, ...]
    hard: tuple[int, ...]
    junk: tuple[int, ...]


@dataclass(frozen=True)
class Landmarks:
    """The names of the gallery's pictures, in the order of its rows, and the queries."""

    gallery: tuple[str, ...]
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class LandmarkScore:
    """Percentages 0-100 over the `queries` that had a positive; `skipped` had none; `gallery` counts pictures, with the
    distractors. `p1`, `p5`, `p10`: mP@k."""

    map: float
    p1: float
    p5: float
    p10: float
    queries: int
    skipped: int
    gallery: int


def read_landmarks(path: Path) -> Landmarks:
    """gnd_roxford5k or gnd_rparis6k as JSON: {imlist, qimlist, gnd: [{bbx, easy, hard, junk}]}.

    bench/ground_truth_json.py makes it of the pickle that is given out. Raises Refused for all content that does not fit:
    names twice or outside the folder, rows that the gallery does not have, a row marked twice, no box.
    """
    content = _json(path)
    if not isinstance(content, dict) or not content.keys() >= {"imlist", "qimlist", "gnd"}:
        raise Refused(f"{path} is not a ground truth of landmarks: it needs 'imlist', 'qimlist' and 'gnd'")
    gallery, queried = (_names(content[key], f"{path}: '{key}'") for key in ("imlist", "qimlist"))
    truths = content["gnd"]
    if not isinstance(truths, list | tuple) or len(truths) != len(queried):
        raise Refused(f"{path}: 'gnd' must be a list as long as 'qimlist' ({len(queried)}); download it again")
    if len(set(gallery)) != len(gallery):
        raise Refused(f"{path}: 'imlist' names a picture twice; download it again")
    return Landmarks(
        gallery,
        tuple(
            _query(name, truth, len(gallery), f"{path}: query {row} ({name})")
            for row, (name, truth) in enumerate(zip(queried, truths, strict=True))
        ),
    )


def landmark_scores(
    landmarks: Landmarks,
    queries: Floats,
    gallery: Floats,
    *,
    distractors: Iterable[NDArray[np.floating]] = (),
    block: int = 4096,
) -> dict[str, LandmarkScore]:
    """ "easy", "medium" and "hard" -> scores; a setting in which no query has a positive is left out.

    `queries` (Q, D) and `gallery` (N, D) in the order of `landmarks`, of unit length; `distractors` (R1M): blocks
    (M, D), read once, wrong for every query. Radenovic et al., CVPR 2018, section 3: Easy takes easy pictures for right
    and drops hard ones and junk, Medium takes easy and hard, Hard takes hard and drops easy. Where the protocol leaves
    the order of equal scores open, wrong pictures come first. Raises Refused when no setting has a positive.
    """
    for what, features, wanted in (
        ("queries", queries, len(landmarks.queries)),
        ("gallery pictures", gallery, len(landmarks.gallery)),
    ):
        if len(features) != wanted:
            raise Refused(f"there are {len(features)} features for {wanted} {what}; embed all, in the truth's order")
    marked = [np.array([*query.easy, *query.hard, *query.junk], np.int64) for query in landmarks.queries]
    ahead, seen = wrong_ahead(queries, gallery, marked, distractors, block)
    scores: dict[str, LandmarkScore] = {}
    for setting, right in SETTINGS.items():
        found = []
        for query, counts in zip(landmarks.queries, ahead, strict=True):
            kinds = np.repeat(_MARKS, [len(query.easy), len(query.hard), len(query.junk)])
            if (chosen := np.isin(kinds, right)).any():
                found.append(_measures(ranks(counts[chosen])))
        if found:
            precision, p1, p5, p10 = (100.0 * np.mean(np.asarray(found, np.float64), axis=0)).tolist()
            skipped = len(landmarks.queries) - len(found)
            scores[setting] = LandmarkScore(precision, p1, p5, p10, len(found), skipped, seen)
    if not scores:
        raise Refused("no query has a positive in the gallery; give a ground truth where some have")
    return scores


def trapezoid(places: Ints) -> float:
    """Rising ranks from 1 -> average precision: the area under the precision-recall curve by trapezia, as the Oxford
    Buildings tool and the revisited protocol take it; precision before the first rank is 1."""
    nth = np.arange(1, len(places) + 1)
    before = np.where(places > 1, (nth - 1) / np.maximum(places - 1, 1), 1.0)
    return float(np.mean((before + nth / places) / 2))


def _measures(places: Ints) -> tuple[float, ...]:
    """(AP, P@1, P@5, P@10): as in the protocol, P@k looks no further than the last right picture."""
    cuts = [min(int(places[-1]), k) for k in (1, 5, 10)]
    return (trapezoid(places), *(np.count_nonzero(places <= cut) / cut for cut in cuts))


def truth_bytes(path: Path) -> bytes:
    """A ground-truth file's bytes, MOST_BYTES at most. Raises Refused for a file that cannot be read or is larger."""
    try:
        with regular(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise Refused(f"cannot read the ground truth {path} ({error.strerror}); check the path") from error
    if len(content) > MOST_BYTES:
        raise Refused(f"{path} is over {MOST_BYTES >> 20} MiB, more than any ground truth has; give the right file")
    return content


def _json(path: Path) -> object:
    content = truth_bytes(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is not JSON; make it of a pickle with python bench/ground_truth_json.py") from error


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        raise Refused(f"{where} must be a list of names; download the ground truth again")
    for name in value:
        if not leads_inside(name):
            raise Refused(f"{where} names {name[:80]!a}, which is not a picture in the folder; do not trust it")
    return tuple(value)


def _query(name: str, truth: Any, count: int, where: str) -> Query:
    if not isinstance(truth, dict) or not truth.keys() >= {"bbx", *_MARKS}:
        raise Refused(f"{where} needs 'bbx', 'easy', 'hard' and 'junk'; download the revisited ground truth")
    box = truth["bbx"]
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_number(value) for value in box):
        raise Refused(f"{where}: 'bbx' must be four numbers, left, top, right, bottom; download it again")
    if not (box[0] < box[2] and box[1] < box[3]):
        raise Refused(f"{where}: 'bbx' holds no pixels; download it again")
    rows = {mark: _rows(truth[mark], count, f"{where}: '{mark}'") for mark in _MARKS}
    if len({row for part in rows.values() for row in part}) != sum(len(part) for part in rows.values()):
        raise Refused(f"{where} marks a gallery picture twice; download the ground truth again")
    return Query(name, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), **rows)


def _rows(value: Any, count: int, where: str) -> tuple[int, ...]:
    whole = isinstance(value, list | tuple) and all(type(row) is int and 0 <= row < count for row in value)
    if not whole:
        raise Refused(f"{where} must be a list of whole numbers from 0 to {count - 1}; download the ground truth again")
    return tuple(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9 and math.isfinite(value)


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
