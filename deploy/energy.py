"""Energy over a stretch of work, where the machine can tell: RAPL counters (x86) and INA power monitors (Jetson), by sysfs.

Read from the kernel's files as the manuals of both describe them; no tool is called and nothing is installed. A counter of
RAPL is a package's joules since some time, and wraps around; an INA monitor tells the watts of now, which are sampled and
summed. Both are of the whole rail, whatever runs there: measure on a machine that does nothing else, less its idle power.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SYSFS = Path("/sys")
EVERY_S = 0.05
RAILS = ("VDD_IN", "VDD_GPU_SOC", "VIN_SYS_5V0", "POM_5V_IN")  # of a Jetson: the module's input where there is one


@dataclass
class Energy:
    """`joules` over `seconds`, once the stretch is over; None where no rail can be read. `rail` names what was read, `began`
    is on the clock of time.perf_counter."""

    rail: str | None = None
    joules: float | None = None
    seconds: float = 0.0
    began: float = field(default_factory=time.perf_counter)


@dataclass(frozen=True)
class Counter:
    """A RAPL package: microjoules in `file`, wrapping at `most`."""

    name: str
    file: Path
    most: int

    def read(self) -> int:
        return int(self.file.read_text(encoding="ascii"))


@dataclass(frozen=True)
class Monitor:
    """An INA rail: milliwatts are mV x mA / 1000, or microwatts from a file of their own."""

    name: str
    volts: Path | None = None
    amperes: Path | None = None
    power: Path | None = None

    def watts(self) -> float:
        if self.power is not None:
            return int(self.power.read_text(encoding="ascii")) / 1e6
        if self.volts is None or self.amperes is None:
            return 0.0
        return int(self.volts.read_text(encoding="ascii")) * int(self.amperes.read_text(encoding="ascii")) / 1e6


@dataclass
class _Sampler:
    """Sums the watts of a monitor in a thread of its own, from `start` to `stop` however late the thread runs."""

    monitor: Monitor
    joules: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._last, self._watts = time.perf_counter(), self.monitor.watts()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            now, watts = time.perf_counter(), self.monitor.watts()
            self.joules += (now - self._last) * (self._watts + watts) / 2
            self._last, self._watts = now, watts

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.joules += (time.perf_counter() - self._last) * self._watts


def rail(root: Path = SYSFS) -> Counter | Monitor | None:
    """The rail of this machine that can be read; None on most virtual machines, and without the right to read RAPL."""
    for zone in sorted(root.glob("class/powercap/intel-rapl:?")):
        try:
            most = int((zone / "max_energy_range_uj").read_text(encoding="ascii"))
            found = Counter((zone / "name").read_text(encoding="ascii").strip(), zone / "energy_uj", most)
            found.read()
        except (OSError, ValueError):
            continue
        return found
    monitors = list(_monitors(root))
    by_name = {monitor.name: monitor for monitor in monitors}
    return next((by_name[name] for name in RAILS if name in by_name), monitors[0] if monitors else None)


@contextmanager
def measured(source: Counter | Monitor | None) -> Iterator[Energy]:
    """Energy of the body, in the record it is given, when it is over."""
    found = Energy(None if source is None else source.name)
    if isinstance(source, Counter):
        before = source.read()
        yield found
        found.joules = ((source.read() - before) % (source.most + 1)) / 1e6
    elif isinstance(source, Monitor):
        sampler = _Sampler(source)
        sampler.start()
        try:
            yield found
        finally:
            sampler.stop()
        found.joules = sampler.joules
    else:
        yield found
    found.seconds = time.perf_counter() - found.began


def _monitors(root: Path) -> Iterator[Monitor]:
    """INA3221 channels (JetPack 5 and later: hwmon with labels) that can be read."""
    for folder in sorted(root.glob("class/hwmon/hwmon*")):
        for label in sorted(folder.glob("in?_label")):
            number = label.name[2:-6]
            volts, amperes = folder / f"in{number}_input", folder / f"curr{number}_input"
            monitor = Monitor(label.read_text(encoding="ascii", errors="replace").strip(), volts, amperes)
            try:
                monitor.watts()
            except (OSError, ValueError):
                continue
            yield monitor
        for power in sorted(folder.glob("power?_input")):
            monitor = Monitor(f"{folder.name} {power.name}", power=power)
            try:
                monitor.watts()
            except (OSError, ValueError):
                continue
            yield monitor
