"""The model of many cameras: its page has the tables that it prints, and its queue is that of the textbook where there is one."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def _loaded():
    spec = importlib.util.spec_from_file_location("fleet_model", ROOT / "bench" / "fleet_model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fleet_model"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


model = _loaded()


def test_the_page_has_the_tables_that_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "fleet_model.md").read_text(encoding="utf-8")
    assert model.main([]) == 0
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in page


def test_the_page_states_what_is_assumed() -> None:
    page = (ROOT / "docs" / "fleet_model.md").read_text(encoding="utf-8")
    for name, value in vars(model.Assumed()).items():
        if name != "index":  # the tables have both
            assert f"| `--{name.replace('_', '-')}` | {value:g} |" in page, name


def test_amounts_follow_the_cameras() -> None:
    found = model.measured()
    small, large = (model.Model(model.Assumed(cameras=cameras), found) for cameras in (1000, 10_000))
    assert large.per_day == 10 * small.per_day == 10_000 * 120 * 24
    assert large.vehicles == small.vehicles  # of one region, which is as large
    assert large.peak > 1.5 and large.peak_per_s == pytest.approx(large.per_day / 86400 * large.peak)


def test_the_queue_is_that_of_the_formula_for_even_arrivals(monkeypatch: pytest.MonkeyPatch) -> None:
    """M/D/1 at a load of a half: the mean wait is half a service time."""
    monkeypatch.setattr(model, "HOURS", (1,) * 24)
    found = replace(
        model.measured(), own_cpu_ms=0.0, server_cpu_ms=0.0, commit_ms=100.0, quantiles=(0.0,) * len(model.QUANTILES)
    )
    of = model.Model(model.Assumed(per_hour=180.0, region=100, cameras=100, vehicle_days=0.0), found)
    waited = model.delays(of, 100, days=2) - 0.1
    assert waited.min() > -1e-6 and float(np.mean(waited)) == pytest.approx(0.05, rel=0.1)
