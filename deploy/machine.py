"""What numbers were measured on: the processor, its cores, and the versions of what ran."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
    """The processor's name; Linux on ARM tells only its board."""
    for path, start in ((Path("/proc/cpuinfo"), "model name"), (Path("/proc/device-tree/model"), "")):
        if path.is_file():
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith(start):
                    return line.partition(":")[2].strip() if start else line.strip("\0 ")
    return platform.processor() or platform.machine()
