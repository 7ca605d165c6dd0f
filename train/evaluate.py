"""Retrieval as the benchmarks measure it: image to image, cosine, no re-ranking."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Embed, Floats, Image, batch_of
from vreid.train.data.records import Dataset, Item

if TYPE_CHECKING:
    from vreid.models.network import ReidNetwork

Ints = NDArray[np.int64]

# Two cosines nearer than this are equal: BLAS sums the same vectors in another order at the edge of a block.
_TIE = 1e-6
_DRAWS = 10


@dataclass(frozen=True)
class Embedded:
    """Pictures as the network sees them: features (N, D) of unit length, vehicles (N,), cameras (N,)."""

    features: Floats
    vehicles: Ints
    cameras: Ints


@dataclass(frozen=True)
class Retrieval:
    """Percentages 0-100 over the `queries` that had a positive; `skipped` had none; `gallery` counts pictures."""

    map: float
    rank1: float
    rank5: float
    rank10: float
    minp: float
    queries: int
    gallery: int
    skipped: int


def retrieval(query: Embedded, gallery: Embedded, *, camera_rule: bool = True, block: int = 256) -> Retrieval:
    """Ranks the gallery for every query by cosine; mAP and Rank-k as for VeRi-776 (methods.md 7.1), mINP as in
    Ye et al., TPAMI 2022: positives / rank of the last one.

    With `camera_rule`, gallery pictures of the query's vehicle in the query's camera are dropped. Among equal scores
    wrong vehicles rank first, so that a network that gives every picture the same feature cannot look good. Memory is that of
    `block` x gallery scores. Raises Refused for features that are not finite or when no query has a positive.
    """
    found = _scored(query, gallery, camera_rule, block)
    if not len(found):
        where = " in another camera" if camera_rule else ""
        raise Refused(f"no query has its vehicle in the gallery{where}; give a test part where some have")
    precision, rank1, rank5, rank10, penalty = (100.0 * found.mean(axis=0)).tolist()
    skipped = len(query.vehicles) - len(found)
    return Retrieval(precision, rank1, rank5, rank10, penalty, len(found), len(gallery.vehicles), skipped)


def average_precisions(query: Embedded, gallery: Embedded, *, camera_rule: bool = True) -> NDArray[np.float64]:
    """(queries with a positive,) the average precision of each in percent, of which `retrieval` gives the mean."""
    return np.asarray(100.0 * _scored(query, gallery, camera_rule, 256)[:, 0])


def _scored(query: Embedded, gallery: Embedded, camera_rule: bool, block: int) -> NDArray[np.float64]:
    """(queries with a positive, 5): average precision, found within 1, 5 and 10, and positives / rank of the last."""
    _check(query, gallery)
    found: list[tuple[float, float, float, float, float]] = []
    for start in range(0, len(query.features), block):
        scores = query.features[start : start + block] @ gallery.features.T  # (B, G)
        same = query.vehicles[start : start + block, None] == gallery.vehicles  # (B, G)
        junk = same & (query.cameras[start : start + block, None] == gallery.cameras) if camera_rule else None
        for row in range(len(scores)):
            right = scores[row][same[row] if junk is None else same[row] & ~junk[row]]
            if not len(right):
                continue
            wrong = np.sort(scores[row][~same[row]])
            right = np.sort(right)[::-1]
            ahead = len(wrong) - np.searchsorted(wrong, right - np.float32(_TIE))
            nth = np.arange(1, len(right) + 1)
            ranks = nth + ahead
            precision = float(np.mean(nth / ranks))
            found.append((precision, ranks[0] <= 1, ranks[0] <= 5, ranks[0] <= 10, len(right) / ranks[-1]))
    return np.array(found, np.float64).reshape(-1, 5)


def evaluate(
    dataset: Dataset,
    embed: Embed,
    *,
    batch: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Retrieval:
    """Reads the test part, embeds every picture once, and measures by the data set's protocol.

    `embed`: N pictures of any size -> (N, D), of any length (they are normalised here). `progress(done, total)` counts
    pictures. Raises Refused for an empty test part or a bad picture.
    """
    return measured(dataset, *embedded(dataset, embed, batch=batch, progress=progress))


def measured(dataset: Dataset, query: Embedded, gallery: Embedded) -> Retrieval:
    """What `evaluate` measures of a test part that is embedded already."""
    if dataset.protocol == "cameras":
        return retrieval(query, gallery)
    return _mean([retrieval(*drawn, camera_rule=False) for drawn in one_of_each(gallery)])


def embedded(
    dataset: Dataset, embed: Embed, *, batch: int = 64, progress: Callable[[int, int], None] | None = None
) -> tuple[Embedded, Embedded]:
    """The query and gallery parts, embedded; a picture in both is embedded once. Raises Refused as `evaluate` does."""
    paths, parts = pictures_of(dataset), []
    for start in range(0, len(paths), batch):
        images = [read_picture(path) for path in paths[start : start + batch]]
        parts.append(of_unit_length(np.asarray(embed(images), np.float32), len(images)))
        if progress is not None:
            progress(start + len(images), len(paths))
    return parts_of(dataset, np.concatenate(parts))


def pictures_of(dataset: Dataset) -> list[Path]:
    """The pictures of the test part, each once. Raises Refused for an empty query or gallery part."""
    for part, items in (("query", dataset.query), ("gallery", dataset.gallery)):
        if not items and dataset.untested:
            raise Refused(dataset.untested)
        if not items:
            raise Refused(f"the data set '{dataset.name}' has no {part} pictures; give one with a test part")
    return list(dict.fromkeys(item.path for item in (*dataset.query, *dataset.gallery)))


def parts_of(dataset: Dataset, features: Floats) -> tuple[Embedded, Embedded]:
    """The query and gallery parts of the features (N, D), of unit length, of `pictures_of`."""
    rows = {path: row for row, path in enumerate(pictures_of(dataset))}
    vehicles = numbers_of(item.vehicle for item in (*dataset.query, *dataset.gallery))
    cameras = numbers_of(item.camera for item in (*dataset.query, *dataset.gallery))

    def part_of(items: Sequence[Item]) -> Embedded:
        return Embedded(
            features[[rows[item.path] for item in items]],
            np.array([vehicles[item.vehicle] for item in items], np.int64),
            np.array([cameras[item.camera] for item in items], np.int64),
        )

    return part_of(dataset.query), part_of(dataset.gallery)


def one_of_each(test: Embedded) -> Iterator[tuple[Embedded, Embedded]]:
    """VehicleID's protocol (Liu et al., CVPR 2016; methods.md 7.2): one random picture of each vehicle is the gallery,
    all others are queries, ten times; the draws are always the same."""
    random = np.random.default_rng(0)
    for _ in range(_DRAWS):
        order = random.permutation(len(test.vehicles))
        _, first = np.unique(test.vehicles[order], return_index=True)
        chosen = np.zeros(len(order), bool)
        chosen[order[first]] = True
        yield rows_among(test, ~chosen), rows_among(test, chosen)


def _check(query: Embedded, gallery: Embedded) -> None:
    for name, part in (("query", query), ("gallery", gallery)):
        if not len(part.vehicles):
            raise Refused(f"there are no {name} pictures; give a test part with both")
        _refuse_infinite(part.features)


def _refuse_infinite(features: Floats) -> None:
    if not np.isfinite(features).all():
        raise Refused("the network gave features that are not finite (NaN or infinity); use another checkpoint")


def of_unit_length(features: Floats, rows: int) -> Floats:
    """(N, D) -> unit length; a zero feature stays zero and matches nothing."""
    if features.ndim != 2 or len(features) != rows:
        raise Refused(
            f"the network gave features of shape {features.shape} for {rows} pictures; it must give ({rows}, D)"
        )
    _refuse_infinite(features)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(length, 1e-12), np.float32)


def numbers_of(labels: Iterable[str]) -> dict[str, int]:
    """A number for each label, from 0 on, in the order in which they came first."""
    numbers: dict[str, int] = {}
    for label in labels:
        numbers.setdefault(label, len(numbers))
    return numbers


def rows_among(part: Embedded, chosen: NDArray[np.bool_]) -> Embedded:
    """The pictures (or tracks) of `part` for which `chosen` (N,) holds."""
    return Embedded(part.features[chosen], part.vehicles[chosen], part.cameras[chosen])


def _mean(draws: Sequence[Retrieval]) -> Retrieval:
    rows = [(d.map, d.rank1, d.rank5, d.rank10, d.minp) for d in draws]
    precision, rank1, rank5, rank10, penalty = np.mean(np.asarray(rows, np.float64), axis=0).tolist()
    return Retrieval(precision, rank1, rank5, rank10, penalty, draws[0].queries, draws[0].gallery, draws[0].skipped)


BINS = (12, 4, 6)


def hsv_histograms(images: Sequence[Image]) -> NDArray[np.float32]:
    """N pictures -> (N, 288): square roots of the shares of 12 x 4 x 6 hue, saturation and value bins (unit length)."""
    rows = [
        cv2.calcHist([cv2.cvtColor(image, cv2.COLOR_BGR2HSV)], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256])
        for image in images
    ]
    counts = np.stack([row.ravel() for row in rows])
    return np.asarray(np.sqrt(counts / counts.sum(1, keepdims=True)), np.float32)


def embed_with(network: "ReidNetwork", size: tuple[int, int] | None = None) -> Embed:
    """N pictures of any size -> (N, D) float32 of unit length; `size` overrides the network's own (height, width)."""
    import torch  # here, so that a lowered model is measured where there is no torch

    height, width = size or (network.config.height, network.config.width)
    device = next(network.parameters()).device

    def embed(images: Sequence[Image]) -> NDArray[np.float32]:
        network.eval()
        with torch.inference_mode():
            pixels = torch.from_numpy(batch_of(images, height, width)).to(device)
            return np.asarray(network.embed(pixels).cpu().numpy(), np.float32)

    return embed


def refuse_unfindable(parts: Sequence[Dataset], otherwise: str = "give 0 to train without") -> None:
    """Raises Refused for a part in which no query has its vehicle in another camera, and says what to do, or `otherwise`: better
    now than after epochs."""
    for part in parts:
        seen = {(item.vehicle, item.camera) for item in part.gallery}
        cameras = Counter(vehicle for vehicle, _ in seen)
        if part.protocol == "cameras" and not any(
            cameras[item.vehicle] > ((item.vehicle, item.camera) in seen) for item in part.query
        ):
            raise Refused(
                f"no vehicle held out of '{part.name}' is seen by two cameras, so there is nothing to find again; "
                f"hold out more with --validation, or {otherwise}"
            )


def validated(network: "ReidNetwork", parts: Sequence[Dataset], size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of every validation part, by name, at (height, width) `size`."""
    return by_name(parts, [evaluate(part, embed_with(network, size)) for part in parts])


def by_name(parts: Sequence[Dataset], scores: Sequence[Retrieval]) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of every part by its name; the second of a name is name#2."""
    found: dict[str, dict[str, float]] = {}
    times: Counter[str] = Counter()
    for part, score in zip(parts, scores, strict=True):
        times[part.name] += 1
        name = part.name if times[part.name] == 1 else f"{part.name}#{times[part.name]}"
        found[name] = {"map": round(score.map, 2), "rank1": round(score.rank1, 2)}
    return found
