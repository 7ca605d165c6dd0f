"""How long each stage takes, in bounded memory."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from vreid.runtime.status import StageStatus

STAGES = ("wait", "detect", "track", "preprocess", "embed", "search", "tell")
KEPT = 20_000


class Stages:
    """Times of the stages by name; beyond `kept` a stage keeps a fair sample (Vitter, Algorithm R, 1985)."""

    def __init__(self, kept: int = KEPT, seed: int = 0) -> None:
        self._kept, self._random = kept, random.Random(seed)
        self._times: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self._counts: dict[str, int] = dict.fromkeys(STAGES, 0)
        self._seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)

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
        self._seconds[stage] += seconds
        if len(times) < self._kept:
            times.append(seconds)
        elif (place := self._random.randrange(self._counts[stage])) < self._kept:
            times[place] = seconds

    def status(self) -> dict[str, StageStatus]:
        """Each stage that ran; may be asked from any thread."""
        found = {}
        for stage, times in self._times.items():
            if kept := list(times):
                p50, p90, p99 = np.percentile(kept, (50, 90, 99)).tolist()
                found[stage] = StageStatus(self._counts[stage], self._seconds[stage], p50, p90, p99)
        return found

    def summary(self) -> dict[str, dict[str, Any]]:
        """Stage -> count, seconds in all, and p50, p90, p99 in milliseconds, of the stages that ran."""
        return {
            stage: {
                "count": now.count,
                "p50_ms": round(1000 * now.p50, 3),
                "p90_ms": round(1000 * now.p90, 3),
                "p99_ms": round(1000 * now.p99, 3),
                "seconds": round(now.seconds, 3),
            }
            for stage, now in self.status().items()
        }
