"""Latency, throughput, memory, energy and accuracy of several models, timed by turns: a noisy machine is noisy to all."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vreid.deploy.compare import accuracy_from, agreement, unit_rows
from vreid.deploy.device import Counter, Gemm, Monitor, memory_of, metered, rail, share_of_peak
from vreid.deploy.model import Model, open_model
from vreid.deploy.settings import Turns
from vreid.models.errors import Refused
from vreid.models.manifest import Accuracy, Cost
from vreid.models.picture import read_picture
from vreid.models.preprocess import Embed, Floats
from vreid.train.data.records import Dataset
from vreid.train.evaluate import measured, parts_of, pictures_of

WARM_UP = 2  # batches before the first timed one
TURN_S = 1.0  # a turn ends after this time, so that a heavy model does not hold up the others
LEAST_FEWER = 0.1  # a share of MACs that is worth a look at the latency
READ = 32  # pictures in memory at once
ENERGY_S = 2.0  # of embedding while energy is read
# what an engine, torch or the memory may raise for one model; the others go on
FAULTS = (Refused, RuntimeError, ValueError, OSError, MemoryError)


@dataclass(frozen=True)
class Timing:
    """Of one batch size: milliseconds per batch over `runs` batches; `spread` is p90 / p50, near 1 on a quiet machine."""

    batch: int
    runs: int
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    spread: float
    images_per_s: float  # batch / p50
    peak_share: float | None = None  # of the FLOPs of a float32 matrix product in the same rounds; None off the CPU
    samples: tuple[float, ...] = ()  # ms of every batch


@dataclass(frozen=True)
class Result:
    """Of one model; with `error` set, what could not be measured is None or empty."""

    model: str
    name: str | None = None
    backend: str | None = None
    precision: str | None = None
    cost: Cost | None = None
    accuracy: Accuracy | None = None
    cosine_mean: float | None = None  # to the first model, over the test pictures
    cosine_min: float | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None  # added to a bare Python process, see footprint.memory_of
    load_ms: float | None = None  # from the manifest to the first embedding
    energy_mj: float | None = None  # of one image, where the machine has a rail that can be read
    timings: tuple[Timing, ...] = field(default=())
    error: str | None = None


@dataclass(frozen=True)
class ModelAccuracy:
    """Retrieval on the data's test part; cosines to the reference are None for another embedding length."""

    accuracy: Accuracy
    cosine_mean: float | None
    cosine_min: float | None


def bench(
    models: Sequence[str],
    turns: Turns,
    runs: int = 10,
    data: Dataset | None = None,
    report: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> list[Result]:
    """Measure each of `models`, in their order. A model that fails gets its reason; the others go on.

    In each round every model embeds up to `runs` batches of each size (for a second at most), engine and batching
    included, resize excluded; a matrix product has its turn too. With `data` all embed its test part, and cosines are to
    the first that runs; otherwise accuracy is what a manifest says. `report` gets what is
    going on, how much of it is done and how much there is: turns of models, then pictures. Raises Refused for numbers
    that make no sense.
    """
    threads, batches = turns.threads, turns.batches
    if not models or not batches or min(threads, turns.rounds, runs, *batches) < 1:
        raise Refused("bench needs a model, and threads, batches and rounds of 1 or more")
    opened: dict[str, Model] = {}
    errors: dict[str, str] = {}
    about: dict[str, dict[str, float | None]] = {model: {} for model in models}
    samples: dict[str, dict[int, list[float]]] = {model: {batch: [] for batch in batches} for model in models}
    steps = len(samples) * (turns.rounds + 1)
    for number, model in enumerate(samples):
        report(f"opening {model}", number, steps)
        try:
            began = time.perf_counter()
            opened[model] = open_model(model, threads)
            _turn(opened[model], batches[0], 1)
            about[model]["load_ms"] = 1000 * (time.perf_counter() - began)
            for batch in batches:
                _turn(opened[model], batch, WARM_UP)
            about[model]["memory_bytes"] = memory_of(model, threads, max(batches))
        except FAULTS as error:
            errors[model] = str(error) or type(error).__name__
    gemm, products = Gemm(threads), []
    for turn in range(turns.rounds):
        alive = [model for model in samples if model not in errors]
        if not alive:
            break
        for number, model in enumerate(reversed(alive) if turn % 2 else alive):  # none always follows the same one
            report(f"round {turn + 1} of {turns.rounds}, {model}", len(samples) * (turn + 1) + number, steps)
            try:
                for batch in batches:
                    samples[model][batch] += _turn(opened[model], batch, runs)
            except FAULTS as error:
                errors[model] = str(error) or type(error).__name__
        products += _times(gemm, runs)
    found: dict[str, ModelAccuracy] = {}
    alive = [model for model in samples if model not in errors]
    if data is not None and alive:
        embeds = {model: opened[model].embed for model in alive}
        found, wrong = accuracies(
            embeds, alive[0], data, FAULTS, lambda done, total: report("accuracy, pictures", done, total)
        )
        errors |= wrong
    source = rail()
    for model in alive if source is not None else ():
        report(f"energy, {model}", steps, steps)
        about[model]["energy_mj"] = _energy(opened[model], max(batches), source)
    peak = float(np.median(products)) if products else 0.0
    return [
        _result(model, opened.get(model), about[model], samples[model], peak, found.get(model), errors.get(model))
        for model in models
    ]


def no_faster(results: Sequence[Result]) -> list[str]:
    """A sentence for each model whose MACs fell below the first's and whose latency did not fall by half of that."""
    found = []
    sound = [result for result in results if result.cost and result.timings]
    for result in sound[1:]:
        first = sound[0]
        if result.cost is None or first.cost is None or result.backend != first.backend:
            continue
        fewer = 1 - result.cost.macs / max(1, first.cost.macs)
        faster = 1 - result.timings[0].p50_ms / first.timings[0].p50_ms
        if fewer >= LEAST_FEWER and faster < fewer / 2:
            found.append(
                f"{result.name} has {fewer:.0%} fewer MACs than {first.name} and is {faster:.0%} faster: the engine does not "
                "gain from these widths; round them to 16, or train with --target-latency"
            )
    return found


def _turn(candidate: Model, batch: int, runs: int) -> list[float]:
    """Milliseconds of each of up to `runs` batches."""
    pictures = candidate.noise(batch)
    return _times(lambda: candidate.embed(pictures), runs)


def _times(run: Callable[[], object], runs: int) -> list[float]:
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < runs and (not found or time.perf_counter() - began < TURN_S):
        start = time.perf_counter()
        run()
        found.append(1000 * (time.perf_counter() - start))
    return found


def _energy(candidate: Model, batch: int, source: Counter | Monitor | None) -> float | None:
    """Millijoules of one image, less what the machine takes when it rests for as long."""
    pictures, count = candidate.noise(batch), 0
    with metered(source) as idle:
        time.sleep(ENERGY_S)
    with metered(source) as busy:
        while time.perf_counter() - busy.began < ENERGY_S:
            candidate.embed(pictures)
            count += batch
    if idle.joules is None or busy.joules is None:
        return None
    return 1000 * (busy.joules - idle.joules * busy.seconds / idle.seconds) / count


def timing_of(batch: int, samples: Sequence[float]) -> Timing:
    """Percentiles of milliseconds per batch, interpolated as numpy does."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Timing(batch, len(samples), float(min(samples)), p50, p90, p99, p90 / p50, 1000 * batch / p50)


def _result(
    model: str,
    found: Model | None,
    about: dict[str, float | None],
    samples: dict[int, list[float]],
    peak_ms: float,
    quality: ModelAccuracy | None,
    error: str | None,
) -> Result:
    if found is None:
        return Result(model, error=error)
    timings = []
    for batch, times in samples.items() if error is None else ():
        timing = timing_of(batch, times)
        share = share_of_peak(batch * found.cost.flops, timing.p50_ms, peak_ms) if found.on_cpu else None
        timings.append(replace(timing, peak_share=share, samples=tuple(round(one, 4) for one in times)))
    memory = about.get("memory_bytes")
    return Result(
        model=model,
        name=found.name,
        backend=found.backend,
        precision=found.precision,
        cost=found.cost,
        accuracy=found.accuracy if quality is None else quality.accuracy,
        cosine_mean=None if quality is None else quality.cosine_mean,
        cosine_min=None if quality is None else quality.cosine_min,
        file_bytes=found.file_bytes,
        memory_bytes=None if memory is None else int(memory),
        load_ms=about.get("load_ms"),
        energy_mj=about.get("energy_mj"),
        timings=tuple(timings),
        error=error,
    )


def accuracies(
    embeds: Mapping[str, Embed],
    reference: str,
    data: Dataset,
    faults: tuple[type[Exception], ...],
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str, ModelAccuracy], dict[str, str]]:
    """({model: quality}, {model: why it has none}) of every model; `reference` is one of them.

    A model that raises one of `faults` is left out from then on. Raises Refused for data without a test part.
    """
    paths, errors = pictures_of(data), {}
    parts: dict[str, list[Floats]] = {name: [] for name in embeds}
    for start in range(0, len(paths), READ):
        images = [read_picture(path) for path in paths[start : start + READ]]
        for name, embed in embeds.items():
            if name in errors:
                continue
            try:
                parts[name].append(embed(images))
            except faults as error:
                errors[name] = str(error) or type(error).__name__
        report(start + len(images), len(paths))
    features = {name: np.concatenate(found) for name, found in parts.items() if name not in errors}
    return {name: _accuracy_of(found, features.get(reference), data) for name, found in features.items()}, errors


def _accuracy_of(features: Floats, reference: Floats | None, data: Dataset) -> ModelAccuracy:
    accuracy = accuracy_from(data.name, measured(data, *parts_of(data, unit_rows(features))))
    if reference is None or reference.shape != features.shape:
        return ModelAccuracy(accuracy, None, None)
    near = agreement(features, reference)
    return ModelAccuracy(accuracy, near.cosine_mean, near.cosine_min)
