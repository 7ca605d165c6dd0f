"""How long each stage takes, in bounded memory."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

STAGES = ("wait", "decode", "detect", "track", "preprocess", "embed", "search")
KEPT = 20_000


class Stages:
    """Times of the stages by name; beyond `kept` a stage keeps a fair sample (Vitter, Algorithm R, 1985)."""

    def __init__(self, kept: int = KEPT, seed: int = 0) -> None:
        self._kept, self._random = kept, random.Random(seed)
        self._times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self._counts: dict[str, int] = dict.fromkeys(STAGES, 0)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Times the body as one call of `stage`; a body that raises is not counted."""
        began = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - began)

    def add(self, stage: str, seconds: float) -> None:
        """One call of `stage` took `seconds`."""
        times = self._times[stage]
        self._counts[stage] += 1
        if len(times) < self._kept:
            times.append(seconds)
        elif (place := self._random.randrange(self._counts[stage])) < self._kept:
            times[place] = seconds

    def summary(self) -> dict[str, dict[str, Any]]:
        """Stage -> count and p50, p90, p99 in milliseconds, of the stages that ran."""
        found = {}
        for stage, times in self._times.items():
            if times:
                p50, p90, p99 = np.percentile(times, (50, 90, 99)) * 1000
                found[stage] = {
                    "count": self._counts[stage],
                    "p50_ms": round(float(p50), 3),
                    "p90_ms": round(float(p90), 3),
                    "p99_ms": round(float(p99), 3),
                }
        return found
