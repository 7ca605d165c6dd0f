"""Latency, throughput, memory and size of several models, timed by turns so that a noisy machine is noisy to all."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vreid.deploy.candidate import Candidate, open_candidate
from vreid.deploy.footprint import memory_of
from vreid.models.errors import Refused
from vreid.models.manifest import Accuracy, Cost

WARM_UP = 2  # batches before the first timed one
TURN_S = 1.0  # a turn ends after this time, so that a heavy model does not hold up the others
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


@dataclass(frozen=True)
class Result:
    """Of one model; with `error` set, what could not be measured is None or empty."""

    model: str
    name: str | None = None
    backend: str | None = None
    precision: str | None = None
    cost: Cost | None = None
    accuracy: Accuracy | None = None
    file_bytes: int | None = None
    memory_bytes: int | None = None  # added to a bare Python process, see footprint.memory_of
    timings: tuple[Timing, ...] = field(default=())
    error: str | None = None


def bench(
    models: Sequence[str],
    threads: int = 1,
    batches: Sequence[int] = (1, 8),
    rounds: int = 10,
    runs: int = 10,
    told: Callable[[str], None] = lambda text: None,
) -> list[Result]:
    """Measure each of `models`, in their order. A model that fails gets its reason; the others go on.

    In each of `rounds`, every model embeds up to `runs` batches of each size (for a second at most), engine and batching
    included, resize excluded. `told` hears of every step. Raises Refused for numbers that make no sense.
    """
    if not models or not batches or min(threads, rounds, runs, *batches) < 1:
        raise Refused("bench needs a model, and threads, batches and rounds of 1 or more")
    opened: dict[str, Candidate] = {}
    errors: dict[str, str] = {}
    memory: dict[str, int] = {}
    samples: dict[str, dict[int, list[float]]] = {model: {batch: [] for batch in batches} for model in models}
    for model in samples:
        told(f"opening {model}")
        try:
            opened[model] = open_candidate(model, threads)
            for batch in batches:
                _turn(opened[model], batch, WARM_UP)
            memory[model] = memory_of(model, threads, max(batches))
        except FAULTS as error:
            errors[model] = str(error) or type(error).__name__
    for turn in range(rounds):
        alive = [model for model in samples if model not in errors]
        for model in reversed(alive) if turn % 2 else alive:  # so that no model always follows the same one
            told(f"round {turn + 1} of {rounds}: {model}")
            try:
                for batch in batches:
                    samples[model][batch] += _turn(opened[model], batch, runs)
            except FAULTS as error:
                errors[model] = str(error) or type(error).__name__
    return [_result(model, opened.get(model), memory.get(model), samples[model], errors.get(model)) for model in models]


def machine() -> dict[str, str | int]:
    """What the numbers were measured on; `cores` are those this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cpu": _cpu(), "cores": cores, "system": platform.system(), "python": platform.python_version()}


def _turn(candidate: Candidate, batch: int, runs: int) -> list[float]:
    """Milliseconds of each of up to `runs` batches."""
    pictures = candidate.pictures(batch)
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < runs and (not found or time.perf_counter() - began < TURN_S):
        start = time.perf_counter()
        candidate.embed(pictures)
        found.append(1000 * (time.perf_counter() - start))
    return found


def timing_of(batch: int, samples: Sequence[float]) -> Timing:
    """Percentiles of milliseconds per batch, interpolated as numpy does."""
    p50, p90, p99 = (float(value) for value in np.percentile(samples, (50, 90, 99)))
    return Timing(batch, len(samples), float(min(samples)), p50, p90, p99, p90 / p50, 1000 * batch / p50)


def _result(
    model: str, found: Candidate | None, memory: int | None, samples: dict[int, list[float]], error: str | None
) -> Result:
    if found is None:
        return Result(model, error=error, memory_bytes=memory)
    return Result(
        model=model,
        name=found.name,
        backend=found.backend,
        precision=found.precision,
        cost=found.cost,
        accuracy=found.accuracy,
        file_bytes=found.file_bytes,
        memory_bytes=memory,
        timings=() if error else tuple(timing_of(batch, times) for batch, times in samples.items()),
        error=error,
    )


def _cpu() -> str:
    """The processor's name; Linux on ARM tells only its board."""
    for path, start in ((Path("/proc/cpuinfo"), "model name"), (Path("/proc/device-tree/model"), "")):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith(start):
                    return line.partition(":")[2].strip() if start else line.strip("\0 ")
    return platform.processor() or platform.machine()
