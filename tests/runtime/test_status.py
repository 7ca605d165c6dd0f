"""Timing: percentiles of all while few, of a fair sample when many; what raised is not counted."""

import time

import numpy as np
import pytest

from vreid.runtime.status import Stages


def test_few_times_are_all_kept() -> None:
    stages, times = Stages(), np.random.default_rng(0).exponential(0.01, 500)
    for seconds in times:
        stages.add("embed", float(seconds))
    found = stages.summary()
    assert list(found) == ["embed"] and found["embed"]["count"] == 500
    expected = np.percentile(times, (50, 90, 99)) * 1000
    np.testing.assert_allclose([found["embed"][f"p{p}_ms"] for p in (50, 90, 99)], expected, atol=6e-4)


def test_many_times_are_a_fair_sample_in_bounded_memory() -> None:
    stages = Stages(kept=2000)
    for number in range(50_000):
        stages.add("track", number / 1e6)
    assert len(stages.times["track"]) == 2000
    found = stages.summary()["track"]
    assert found["count"] == 50_000
    assert found["p50_ms"] == pytest.approx(25, abs=2) and found["p90_ms"] == pytest.approx(45, abs=2)


def test_a_body_is_timed_and_one_that_raises_is_not() -> None:
    stages, began = Stages(), time.perf_counter()
    with stages.time("search"):
        time.sleep(0.02)
    around = 1000 * (time.perf_counter() - began)
    with pytest.raises(KeyError), stages.time("search"):
        raise KeyError("body")
    found = stages.summary()["search"]
    assert found["count"] == 1 and 19 < found["p50_ms"] <= around + 0.001  # rounded to microseconds
