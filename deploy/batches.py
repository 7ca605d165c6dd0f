"""Whether an engine says the same of a picture at every batch size, in another order, and when it is asked again.

A run sends what a frame holds: 1 picture, the largest batch, and every number between; a CUDA graph is launched at the best
batch alone. An engine may be right at one size and wrong at another (NVIDIA/TensorRT#4813, #3744), and a graph may let the
pictures of a batch speak of each other (batch norm in training mode, a mean over the batch, a range that is taken of the
whole batch).

A picture has moved when two of its embeddings lie further apart than arithmetic alone puts them: kernels differ with the
batch, and each rounds differently. The distance grows from the rounding of one number (2**-24 in float32, 2**-11 in half,
2**-8 of the range in INT8) by what a deep network makes of it, which is most in float32, where sums are long, and least in
INT8, where they are exact and only the rounding between layers differs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vreid.models.manifest import Manifest
from vreid.models.preprocess import Image
from vreid.runtime.records import Floats

MOVED = {"fp32": 2.0**-10, "fp16": 2.0**-5, "int8": 2.0**-4}  # distances; cosines of 0.9999995, 0.9995 and 0.998
PICTURES = 64  # that are embedded at the least, best and largest batch
EVERY = 32  # every size up to here is tried once
Embed = Callable[[Sequence[Image]], Floats]


@dataclass(frozen=True)
class Way:
    """One way of asking: `name` says which, `pictures` how many were compared with the same ones at another batch, of which
    `moved` differ, `no_numbers` are NaN or infinite and `not_run` were in a batch that the engine cannot run; `distance` is the
    largest between two that are numbers."""

    name: str
    pictures: int
    moved: int
    no_numbers: int
    not_run: int
    distance: float

    @property
    def sound(self) -> bool:
        """Whether the engine says the same this way."""
        return not (self.moved or self.no_numbers or self.not_run)


def ways_of_asking(
    embed: Embed, images: Sequence[Image], about: Manifest, reference: Floats | None = None, every: int = EVERY
) -> list[Way]:
    """Every way, of `images` as drawn by `drawn`; `embed` hands on what the engine gave, NaN included, and rows of infinity
    for a batch that the engine cannot run.

    The rows of the batch that is nearest to the `reference` (N, D), or of the largest without one, are those that the others
    are compared with.
    """
    spec, count = about.input.batch, len(images)
    main = sorted({1, spec[0], spec[1], spec[2]})
    at = {size: _in_batches(embed, images, size) for size in main}
    best = max(reversed(main), key=lambda size: _nearness(at[size], reference))
    base, most = at[best], MOVED[about.precision]
    found = [_way(f"batch {size}", rows, base, most) for size, rows in at.items()]
    for size in range(2, min(spec[2], every, count) + 1):
        if size not in at:
            start = (7 * size) % (count - size + 1)
            rows = embed(images[start : start + size])
            found.append(_way(f"batch {size}", rows, base[start : start + size], most))
    order = np.random.default_rng(0).permutation(count)
    turned = np.empty_like(base)
    turned[order] = _in_batches(embed, [images[place] for place in order], spec[2])
    found.append(_way(f"another order of the pictures (batch {spec[2]})", turned, base, most))
    again = _in_batches(embed, images, best)
    found.append(_way(f"a second time (batch {best})", again, base, most))
    return found


def drawn(count: int, about: Manifest) -> list[int]:
    """Places of the pictures to ask with: evenly over `count`, enough for two of the largest batches."""
    wanted = min(count, max(PICTURES, 2 * about.input.batch[2]))
    return [int(place) for place in np.linspace(0, count - 1, wanted).round()]


def movements(found: Sequence[Way]) -> list[str]:
    """A sentence for each way in which something moved; the sizes between the least, best and largest batch share one."""
    bad = [way for way in found if way.moved or way.no_numbers]
    said = []
    for way in bad[:4]:
        what = (
            f"{way.no_numbers} of {way.pictures} embeddings are no numbers (NaN or infinity)"
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


def failed_runs(failures: Mapping[int, str], about: Manifest) -> list[str]:
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


def _way(name: str, rows: Floats, base: Floats, most: float) -> Way:
    finite, not_run = np.isfinite(rows).all(1), np.isposinf(rows).all(1)
    both = finite & np.isfinite(base).all(1)
    apart = np.linalg.norm(rows[both].astype(np.float64) - base[both], axis=1)
    no_numbers = int((~finite & ~not_run).sum())
    return Way(
        name, len(rows), int((apart > most).sum()), no_numbers, int(not_run.sum()), float(apart.max(initial=0.0))
    )


def _nearness(rows: Floats, reference: Floats | None) -> float:
    """The mean cosine to the reference; a row that is no number counts as opposite."""
    finite = np.isfinite(rows).all(axis=1)
    if reference is None or reference.shape != rows.shape:
        return float(finite.mean())
    cosines = (np.nan_to_num(rows, posinf=0, neginf=0) * reference).sum(axis=1)
    return float(np.where(finite, cosines, -1).mean())
