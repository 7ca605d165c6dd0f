"""TensorRT or TensorRT for RTX as a module, and a listener to what it says."""

import re
from importlib import import_module
from typing import Any

from vreid.models.errors import Refused

OLDEST = (10, 3)
FIXES = {
    "tensorrt": "pip install tensorrt (on a Jetson JetPack brings it: sudo apt install nvidia-jetpack)",
    "tensorrt_rtx": "pip install tensorrt-rtx",
}


def tensorrt_library(name: str) -> Any:
    """The module `tensorrt` or `tensorrt_rtx`, which share one interface. Raises Refused with the way to install it, and
    for a TensorRT before 10.3, which would take a graph's types for a suggestion."""
    try:
        library = import_module(name)
    except (ImportError, OSError) as error:  # not there, or its libraries are not
        said = str(error).partition("\n")[0]
        raise Refused(f"{name} does not import ({said}): {FIXES[name]}") from error
    version = str(library.__version__)
    if name == "tensorrt" and tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        raise Refused(
            f"TensorRT {version} is older than the 10.3 that vreid needs; update it, on a Jetson with JetPack 6.2"
        )
    return library


def listener_of(trt: Any) -> Any:
    """A logger whose `said` gathers the errors, as stdout is not TensorRT's and a refusal wants the reason."""

    class Listener(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.said.append(message.partition("\n")[0])

    return Listener()


def reason_of(listener: Any) -> str:
    """The first error that a listener heard: what comes after it follows from it."""
    return str(listener.said[0]) if listener.said else "it gave no reason"
