"""The little of CUDA that an engine needs, and the bindings that give it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused

# in the order in which they are tried
BINDINGS = {
    "pycuda": "vreid.runtime.engines.cuda_pycuda:open_pycuda",
    "cuda-python": "vreid.runtime.engines.cuda_python:CudaPython",
}


@dataclass(frozen=True)
class DeviceMemory:
    """A block on the device at `address`, freed with its `owner`."""

    address: int
    owner: object


class Cuda(Protocol):
    """The first device, through its primary context, and one stream. All but `current` is called within `current`."""

    captures: bool  # whether `captured` can do anything

    @property
    def stream(self) -> int:
        """The stream's handle."""
        ...

    def current(self) -> AbstractContextManager[None]:
        """Makes the device current in the calling thread, whichever it is. What CUDA refuses within is Refused."""
        ...

    def memory(self, size: int) -> DeviceMemory:
        """`size` bytes on the device."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        """Page-locked memory of the host, the only kind that is copied while other work goes on."""
        ...

    def upload(self, host: NDArray[Any], device: DeviceMemory) -> None:
        """Copy to the device, in the order of the stream."""
        ...

    def download(self, device: DeviceMemory, host: NDArray[Any]) -> None:
        """Copy from the device, in the order of the stream."""
        ...

    def synchronise(self) -> None:
        """Wait for the stream."""
        ...

    def captured(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """What `work` puts on the stream as one graph, to launch again and again; None where that cannot be."""
        ...


def binding_installed() -> bool:
    """Whether there is one to try; nothing is loaded."""
    return find_spec("pycuda") is not None or _has_bindings()


def _has_bindings() -> bool:
    """Whether `cuda` is NVIDIA's: another package has that name."""
    try:
        return find_spec("cuda.bindings.runtime") is not None
    except (ImportError, ValueError):
        return False


def open_cuda() -> Cuda:
    """The first binding that is installed and loads. Raises Refused with the reason of each."""
    reasons = []
    for name, member in BINDINGS.items():
        module, _, function = member.partition(":")
        try:
            found: Cuda = getattr(import_module(module), function)()
            return found
        except ImportError as error:  # not installed, or libcuda.so.1 is not what it was made for
            reasons.append(f"{name}: {str(error).partition(chr(10))[0]}")
    raise Refused(f"no binding to CUDA works here ({'; '.join(reasons)}): pip install cuda-python")
