"""ROxford5k and RParis6k: the ground truth, and Easy, Medium and Hard as the revisited protocol scores them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.train.datasets.records import leads_inside
from vreid.train.evaluate import Floats, Ints
from vreid.train.protocols.pickles import plain_content
from vreid.train.protocols.ranks import ranks, wrong_ahead

SETTINGS = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}
_MARKS = ("easy", "hard", "junk")

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Query:
    """One question: a part of a picture (`box`: left, top, right, bottom, pixels) and the rows of the gallery that show
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
    """gnd_roxford5k.pkl, gnd_rparis6k.pkl or the same as .json: {imlist, qimlist, gnd: [{bbx, easy, hard, junk}]}.

    Pickles are read without running them (see `plain_content`). Raises Refused for all content that does not fit:
    names twice or outside the folder, rows that the gallery does not have, a row marked twice, no box.
    """
    content = plain_content(path)
    if not isinstance(content, dict) or not content.keys() >= {"imlist", "qimlist", "gnd"}:
        raise Refused(f"{path} is no ground truth of landmarks: it needs 'imlist', 'qimlist' and 'gnd'")
    gallery, asked = (_names(content[key], f"{path}: '{key}'") for key in ("imlist", "qimlist"))
    truths = content["gnd"]
    if not isinstance(truths, list | tuple) or len(truths) != len(asked):
        raise Refused(f"{path}: 'gnd' must be a list as long as 'qimlist' ({len(asked)}); download it again")
    if len(set(gallery)) != len(gallery):
        raise Refused(f"{path}: 'imlist' names a picture twice; download it again")
    return Landmarks(
        gallery,
        tuple(
            _query(name, truth, len(gallery), f"{path}: query {row} ({name})")
            for row, (name, truth) in enumerate(zip(asked, truths, strict=True))
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


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(name, str) for name in value):
        raise Refused(f"{where} must be a list of names; download the ground truth again")
    for name in value:
        if not leads_inside(name):
            raise Refused(f"{where} names {name[:80]!a}, which is no picture in the folder; do not trust it")
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
