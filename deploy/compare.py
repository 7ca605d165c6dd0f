"""Compared models: how near two embeddings of the same pictures are, what no embedding may be, and whether batches change it.

A run sends what a frame holds: 1 picture, the largest batch, and every number between; a CUDA graph is launched at the best
batch only. An engine may be right at one size and wrong at another (NVIDIA/TensorRT#4813, #3744), and in a graph the
pictures of a batch may change each other's embeddings (batch norm in training mode, a mean over the batch, a range that is
taken of the whole batch).

A picture has moved when two of its embeddings lie further apart than arithmetic by itself puts them: kernels differ with the
batch, and each rounds differently. The distance grows from the rounding of one number (2**-24 in float32, 2**-11 in half,
2**-8 of the range in INT8) by what a deep network makes of it, which is most in float32, where sums are long, and least in
INT8, where they are exact and only the rounding between layers differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vreid.models.manifest import Accuracy, Manifest
from vreid.models.preprocess import Embed, Floats, Image
from vreid.train.evaluate import Embedded, Retrieval

LENGTH = 1e-3  # how far from 1 a length may be: float32 is within 1e-6 of it, float16 is not within 5e-4
DEAD = 0.25  # of the reference's spread over the pictures; sound INT8 keeps more than 0.9 of it (docs/verify.md)
LEAST_SPREAD = 1e-6  # a dimension that is constant in the reference too has lost nothing
MOVED = {"fp32": 2.0**-10, "fp16": 2.0**-5, "int8": 2.0**-4}  # distances; cosines of 0.9999995, 0.9995 and 0.998
PICTURES = 64  # that are embedded at the least, best and largest batch
EVERY = 32  # every size up to here is tried once


@dataclass(frozen=True)
class Agreement:
    """Cosines between the two embeddings of a picture: least, first percentile, mean; the largest difference of one number."""

    cosine_min: float
    cosine_p1: float
    cosine_mean: float
    error_max: float


def agreement(candidate: Floats, reference: Floats) -> Agreement:
    """Of (N, D) and (N, D), the reference finite; an embedding that is zero, NaN or infinite has the cosine 0 to its reference."""
    cosines = (unit_rows(candidate) * unit_rows(reference)).sum(1)
    finite = np.isfinite(candidate).all(1)
    error = float(np.abs(candidate[finite] - reference[finite]).max(initial=0.0))
    return Agreement(float(cosines.min()), float(np.percentile(cosines, 1)), float(cosines.mean()), error)


def unit_rows(features: Floats) -> Floats:
    """(N, D) -> rows of unit length; a row that is zero, NaN or infinite becomes zero."""
    rows = np.where(np.isfinite(features).all(1, keepdims=True), features, 0).astype(np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12), np.float32)


def nearest_vehicles(query: Embedded, gallery: Embedded, camera_rule: bool = True) -> NDArray[np.int64]:
    """(Q,): the vehicle of the nearest gallery picture, the query's own vehicle in its own camera left out; -1 for none."""
    found = np.full(len(query.vehicles), -1, np.int64)
    for start in range(0, len(found), 256):
        rows = slice(start, start + 256)
        scores = query.features[rows] @ gallery.features.T  # (B, G)
        if camera_rule:
            junk = query.vehicles[rows, None] == gallery.vehicles
            scores[junk & (query.cameras[rows, None] == gallery.cameras)] = -np.inf
        best = scores.argmax(1)
        some = np.isfinite(scores[np.arange(len(best)), best])
        found[rows] = np.where(some, gallery.vehicles[best], -1)
    return found


def number_faults(candidate: Floats, reference: Floats) -> list[str]:
    """What is wrong with the numbers themselves, a sentence each; (N, D) as the engine gave them, the reference finite."""
    total, found = len(candidate), []
    finite = np.isfinite(candidate).all(1)
    no_numbers = ~finite
    if no_numbers.any():
        found.append(
            f"{no_numbers.sum()} of {total} embeddings are NaN or infinite: something overflows, in half "
            "precision most often the L2 norm or a large activation, or a weight is damaged; keep such nodes in FP32 "
            "and look at the weights"
        )
    lengths = np.linalg.norm(candidate[finite].astype(np.float64), axis=1)
    zero = lengths < LENGTH
    if zero.any():
        found.append(
            f"{zero.sum()} of {total} embeddings are zero, so these vehicles can never be found: the sum of squares of the "
            "L2 norm overflows to infinity, or nothing passes the last layer; keep the norm in FP32"
        )
    odd = lengths[~zero & (np.abs(lengths - 1) > LENGTH)]
    if len(odd):
        found.append(
            f"{len(odd)} of {total} embeddings are not of unit length but of {odd.min():.4g} to {odd.max():.4g}, so their "
            "inner products are not cosines: the L2 norm is missing from the graph, or its sum of squares overflows in half "
            "precision; keep the norm in FP32"
        )
    if candidate.shape == reference.shape and finite.sum() > 1:
        found += _dead(candidate[finite], reference[finite])
    return found


def _dead(candidate: Floats, reference: Floats) -> list[str]:
    """A dimension need not be constant to be dead: one whose weights are gone still varies with the length of the others."""
    spread, before = candidate.std(0, dtype=np.float64), reference.std(0, dtype=np.float64)
    alive = before > LEAST_SPREAD
    dead = alive & (spread < DEAD * before)
    if not dead.any():
        return []
    if dead[alive].all():
        return [
            "the embedding is nearly the same for every picture: nothing of the picture reaches the output; look at the "
            "ranges that INT8 was calibrated to and at the first layers"
        ]
    some = ", ".join(str(place) for place in np.flatnonzero(dead)[:5])
    return [
        f"{dead.sum()} of {len(dead)} dimensions (such as {some}) hardly change from picture to picture, which they do in the "
        "reference: what they held is lost; look at the last layer's weights and at its ranges"
    ]


def accuracy_from(dataset: str, found: Retrieval) -> Accuracy:
    """What a manifest says of a measurement."""
    return Accuracy(dataset=dataset, map=round(found.map, 2), rank1=round(found.rank1, 2), queries=found.queries)


@dataclass(frozen=True)
class BatchRun:
    """One way of running the same pictures: `name` says which, `pictures` how many were compared with the same ones at another
    batch, of which `moved` differ, `no_numbers` are NaN or infinite and `not_run` were in a batch that the engine cannot run;
    `distance` is the largest between two finite ones."""

    name: str
    pictures: int
    moved: int
    no_numbers: int
    not_run: int
    distance: float

    @property
    def sound(self) -> bool:
        """Whether the engine gives the same embeddings this way."""
        return not (self.moved or self.no_numbers or self.not_run)


def batch_runs(
    embed: Embed, images: Sequence[Image], about: Manifest, reference: Floats | None = None, every: int = EVERY
) -> list[BatchRun]:
    """Every way, of `images` at `spread_places`; `embed` hands on what the engine gave, NaN included, and rows of infinity
    for a batch that the engine cannot run.

    The rows of the batch that is nearest to the `reference` (N, D), or of the largest without one, are those that the others
    are compared with.
    """
    spec, count = about.input.batch, len(images)
    main = sorted({1, spec[0], spec[1], spec[2]})
    at = {size: _in_batches(embed, images, size) for size in main}
    best = max(reversed(main), key=lambda size: _nearness(at[size], reference))
    base, most = at[best], MOVED[about.precision]
    found = [_batch_run(f"batch {size}", rows, base, most) for size, rows in at.items()]
    for size in range(2, min(spec[2], every, count) + 1):
        if size not in at:
            start = (7 * size) % (count - size + 1)
            rows = embed(images[start : start + size])
            found.append(_batch_run(f"batch {size}", rows, base[start : start + size], most))
    order = np.random.default_rng(0).permutation(count)
    turned = np.empty_like(base)
    turned[order] = _in_batches(embed, [images[place] for place in order], spec[2])
    found.append(_batch_run(f"another order of the pictures (batch {spec[2]})", turned, base, most))
    again = _in_batches(embed, images, best)
    found.append(_batch_run(f"a second time (batch {best})", again, base, most))
    return found


def spread_places(count: int, about: Manifest) -> list[int]:
    """Places of the pictures to run: evenly over `count`, enough for two of the largest batches."""
    wanted = min(count, max(PICTURES, 2 * about.input.batch[2]))
    return [int(place) for place in np.linspace(0, count - 1, wanted).round()]


def moved_reasons(found: Sequence[BatchRun]) -> list[str]:
    """A sentence for each way in which something moved; the sizes between the least, best and largest batch share one."""
    bad = [way for way in found if way.moved or way.no_numbers]
    said = []
    for way in bad[:4]:
        what = (
            f"{way.no_numbers} of {way.pictures} embeddings are NaN or infinite"
            if way.no_numbers
            else f"{way.moved} of {way.pictures} embeddings differ from those of the same pictures at another batch (by up to "
            f"{way.distance:.2g}, where rounding explains less)"
        )
        more = f"; so it is in {len(bad) - 4} other ways" if len(bad) > 4 and way is bad[3] else ""
        said.append(
            f"at {way.name}, {what}{more}: a run sends batches of every size, so build the engine again for this device, and "
            "look for batch norms in training mode, sums over the batch, and ranges that are taken at run time"
        )
    return said


def failure_reasons(failures: Mapping[int, str], about: Manifest) -> list[str]:
    """A sentence that names the batch sizes at which the engine cannot run, of {size: the engine's message}."""
    if not failures:
        return []
    sizes = sorted(failures)
    named = ", ".join(map(str, sizes[:8])) + (f" and {len(sizes) - 8} other sizes" if len(sizes) > 8 else "")
    return [
        f"at batch {named}, the engine cannot run ({failures[sizes[0]]}), and the manifest promises {about.input.batch[0]} to "
        f"{about.input.batch[2]}: export or build the model again with a batch that may vary, or write the one batch that it "
        "can run as input.batch into the manifest"
    ]


def _in_batches(embed: Embed, images: Sequence[Image], size: int) -> Floats:
    return np.concatenate([embed(images[start : start + size]) for start in range(0, len(images), size)])


def _batch_run(name: str, rows: Floats, base: Floats, most: float) -> BatchRun:
    finite, not_run = np.isfinite(rows).all(1), np.isposinf(rows).all(1)
    both = finite & np.isfinite(base).all(1)
    apart = np.linalg.norm(rows[both].astype(np.float64) - base[both], axis=1)
    no_numbers = int((~finite & ~not_run).sum())
    return BatchRun(
        name, len(rows), int((apart > most).sum()), no_numbers, int(not_run.sum()), float(apart.max(initial=0.0))
    )


def _nearness(rows: Floats, reference: Floats | None) -> float:
    """The mean cosine to the reference; a row with NaN or infinity counts as opposite."""
    finite = np.isfinite(rows).all(axis=1)
    if reference is None or reference.shape != rows.shape:
        return float(finite.mean())
    cosines = (np.nan_to_num(rows, posinf=0, neginf=0) * reference).sum(axis=1)
    return float(np.where(finite, cosines, -1).mean())
