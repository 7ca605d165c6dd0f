"""CUDA through pycuda. It has no capture of graphs, so every batch is launched piece by piece."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pycuda.driver
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.engines.cuda import DeviceMemory


class PyCuda:
    """Retains the primary context, which TensorRT and torch use too, and pushes it around every use.

    pycuda's usual `autoinit` makes a context of its own, current in the thread that imported it and in no other.
    """

    captures = False

    def __init__(self) -> None:
        pycuda.driver.init()
        self._context = pycuda.driver.Device(0).retain_primary_context()
        with self.current():
            self._stream = pycuda.driver.Stream()

    @property
    def stream(self) -> int:
        return int(self._stream.handle)

    @contextmanager
    def current(self) -> Iterator[None]:
        try:
            self._context.push()
            try:
                yield
            finally:
                pycuda.driver.Context.pop()
        except pycuda.driver.Error as error:
            raise _refusal(error) from error

    def memory(self, size: int) -> DeviceMemory:
        block = pycuda.driver.mem_alloc(size)
        return DeviceMemory(int(block), block)

    def pinned(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        array: NDArray[Any] = pycuda.driver.pagelocked_empty(shape, dtype)
        return array

    def upload(self, host: NDArray[Any], device: DeviceMemory) -> None:
        pycuda.driver.memcpy_htod_async(device.address, host, self._stream)

    def download(self, device: DeviceMemory, host: NDArray[Any]) -> None:
        pycuda.driver.memcpy_dtoh_async(host, device.address, self._stream)

    def synchronise(self) -> None:
        self._stream.synchronize()

    def captured(self, work: Callable[[], None]) -> Callable[[], None] | None:
        return None


def _refusal(error: Exception) -> Refused:
    return Refused(f"CUDA failed ({error}); free the GPU's memory, run vreid doctor, or take the onnxruntime engine")


def open_pycuda() -> PyCuda:
    """Raises Refused where there is no device."""
    try:
        return PyCuda()
    except pycuda.driver.Error as error:
        raise _refusal(error) from error
