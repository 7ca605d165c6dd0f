"""What a bench needs of the machine: its description, its peak, the memory of a model, and the energy of an image."""

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnxruntime as ort

# Energy over a stretch of work, where the machine measures it: RAPL counters (x86) and INA power monitors (Jetson), by sysfs.
#
# Read from the kernel's files as the manuals of both describe them; no tool is called and nothing is installed. A counter of
# RAPL is a package's joules since some time, and wraps around; an INA monitor gives the watts of now, which are sampled and
# summed. Both are of the whole rail, whatever runs there: measure on a machine that does nothing else, less its idle power.


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
def metered(source: Counter | Monitor | None) -> Iterator[Energy]:
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


LIBRARIES = ("onnxruntime", "onnxruntime-gpu", "openvino", "torch", "tensorrt", "tensorrt-rtx", "numpy")


def machine() -> dict[str, str | int]:
    """`cores` are those this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cpu": _cpu(), "cores": cores, "system": platform.system(), "python": platform.python_version()}


def versions() -> dict[str, str]:
    """Of the libraries that are installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    """The processor's name; Linux on ARM names only its board."""
    for path, start in ((Path("/proc/cpuinfo"), "model name"), (Path("/proc/device-tree/model"), "")):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith(start):
                    return line.partition(":")[2].strip() if start else line.strip("\0 ")
    return platform.processor() or platform.machine()


SIDE = 768  # of the square matrices: large enough for the peak, small enough for the cache and for a short turn
# onnx.helper's c = MatMul(a, b) of two float matrices, opset 17, IR 8: the onnx package is not needed to bench
GRAPH = (
    b'\x08\x08:^\n\x11\n\x01a\n\x01b\x12\x01c"\x06MatMul\x12\x04gemm'
    b"Z\x15\n\x01a\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01n\n\x03\x12\x01n"
    b"Z\x15\n\x01b\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01n\n\x03\x12\x01n"
    b"b\x15\n\x01c\x12\x10\n\x0e\x08\x01\x12\n\n\x03\x12\x01n\n\x03\x12\x01nB\x04\n\x00\x10\x11"
)


class Gemm:
    """(SIDE, SIDE) @ (SIDE, SIDE) by ONNX Runtime's own kernels on `threads` threads; calling it runs it once.

    What a network reaches is given as its share of this. Winograd's convolutions need fewer multiplications than are
    counted, and INT8 has more of them in a register, so a share may be above 1.
    """

    flops = 2 * SIDE**3

    def __init__(self, threads: int) -> None:
        left, right = np.random.default_rng(0).standard_normal((2, SIDE, SIDE)).astype(np.float32)
        self._given = {"a": left, "b": right}
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    def __call__(self) -> np.ndarray:
        product: np.ndarray = self._session.run(None, self._given)[0]
        return product


def share_of_peak(flops: int, ms: float, gemm_ms: float) -> float:
    """What a network of `flops` in `ms` reaches of what the product reached in `gemm_ms`; 1 is all."""
    return (flops / ms) / (Gemm.flops / gemm_ms)


SEEN = Path("/proc/self/status")


def memory_of(model: str, threads: int, batch: int) -> int:
    """Bytes of resident memory that loading `model` and embedding `batch` images adds to a bare Python process, at its
    peak; the libraries are part of it. Raises Refused with what the process said when it failed."""
    from vreid.models.errors import Refused

    command = [sys.executable, "-m", "vreid.deploy.device", model, str(threads), str(batch)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise Refused(f"its memory could not be measured: {said[-1] if said else f'exit code {done.returncode}'}")
    return int(json.loads(done.stdout.splitlines()[-1])["bytes"])


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    if SEEN.is_file():  # ru_maxrss would begin at the parent's peak: Linux hands it on at fork and keeps it over exec
        for line in SEEN.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(words: list[str]) -> int:
    """MODEL THREADS BATCH -> one line of JSON; nothing of vreid is imported before the first measurement."""
    before = peak_bytes()
    from vreid.deploy.model import open_model
    from vreid.models.errors import Refused

    model, threads, batch = words
    try:
        candidate = open_model(model, int(threads))
        candidate.embed(candidate.noise(int(batch)))
    except Refused as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps({"bytes": peak_bytes() - before}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
