"""Timing: percentiles of all while few, of a fair sample when many; what raised is not counted. Frames a second: of the last
minute."""

import time

import numpy as np
import pytest

from vreid.runtime.status import FrameRates, Stages


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


def test_the_rate_is_that_of_the_last_minute() -> None:
    rates = FrameRates()
    assert rates.of("gate", 0.5, 5) == pytest.approx(10)  # of a run that has just begun
    frames = 0
    for second in range(1, 7201):  # 10 frames a second, and 2 from the second hour on
        frames += 10 if second <= 3600 else 2
        rates.count(second, {"gate": frames})
        rates.count(second + 0.5, {"gate": frames, "yard": 1})
        if second == 3600:
            assert rates.of("gate", second, frames) == pytest.approx(10)
    assert rates.of("gate", 7200.0, frames) == pytest.approx(2)
    assert rates.of("gate", 7230.0, frames) == pytest.approx(1)  # nothing has come for half a minute,
    assert rates.of("gate", 7300.0, frames) == 0  # and for longer
    assert rates.of("gate", 7200.0, 60) == 0  # it has begun anew
    assert rates.of("new", 7200.0, 120) == pytest.approx(2)
