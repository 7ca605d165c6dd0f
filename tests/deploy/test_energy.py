"""Joules of a stretch of work from the kernel's files, written here as RAPL and INA write them."""

import threading
import time
from pathlib import Path

import pytest

from vreid.deploy.device import Counter, Monitor, metered, rail


def written(path: Path, text: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n", encoding="ascii")
    return path


def test_a_counter_is_read_before_and_after_and_may_wrap(tmp_path: Path) -> None:
    zone = tmp_path / "class" / "powercap" / "intel-rapl:0"
    for name, value in (("name", "package-0"), ("max_energy_range_uj", 999_999), ("energy_uj", 900_000)):
        written(zone / name, value)
    found = rail(tmp_path)
    assert found == Counter("package-0", zone / "energy_uj", 999_999)
    with metered(found) as energy:
        written(zone / "energy_uj", 400_000)
    assert energy.joules == pytest.approx(0.5) and energy.rail == "package-0"


def test_watts_are_summed_over_time(tmp_path: Path) -> None:
    folder = tmp_path / "class" / "hwmon" / "hwmon3"
    for name, value in (("in1_label", "VDD_CPU"), ("in1_input", 5000), ("curr1_input", 100)):
        written(folder / name, value)
    for name, value in (("in2_label", "VDD_IN"), ("in2_input", 5000), ("curr2_input", 2000)):
        written(folder / name, value)
    found = rail(tmp_path)
    assert isinstance(found, Monitor) and found.name == "VDD_IN" and found.watts() == pytest.approx(10)
    running = threading.active_count()
    with metered(found) as energy:
        began = time.perf_counter()
        time.sleep(0.3)
        least = time.perf_counter() - began
    assert energy.joules is not None and 10 * least <= energy.joules * (1 + 1e-9)
    assert energy.joules <= 10 * energy.seconds * (1 + 1e-9)
    assert threading.active_count() == running


def test_power_files_are_in_microwatts(tmp_path: Path) -> None:
    written(tmp_path / "class" / "hwmon" / "hwmon0" / "power1_input", 7_500_000)
    found = rail(tmp_path)
    assert isinstance(found, Monitor) and found.watts() == pytest.approx(7.5)


def test_a_machine_that_cannot_tell_says_nothing(tmp_path: Path) -> None:
    written(tmp_path / "class" / "hwmon" / "hwmon0" / "in1_label", "VDD_IN")  # a label without its files
    assert rail(tmp_path) is None
    with metered(None) as energy:
        pass
    assert energy.joules is None and energy.rail is None
