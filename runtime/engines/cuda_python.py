"""CUDA through NVIDIA's cuda-python: the runtime API, with capture of graphs."""

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from cuda.bindings import runtime
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.engines.cuda import DeviceMemory


class CudaPython:
    """The runtime API works in the primary context; a thread only has to name the device. Raises Refused without one."""

    captures = True

    def __init__(self) -> None:
        with self.current():
            handle = _checked(runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking))
        self._stream = int(handle)
        _freed_with(self, runtime.cudaStreamDestroy, self._stream)

    @property
    def stream(self) -> int:
        return self._stream

    @contextmanager
    def current(self) -> Iterator[None]:
        _checked(runtime.cudaSetDevice(0))
        yield

    def memory(self, size: int) -> DeviceMemory:
        block = _Block()
        address = int(_checked(runtime.cudaMalloc(size)))
        _freed_with(block, runtime.cudaFree, address)
        return DeviceMemory(address, block)

    def pinned(self, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(_checked(runtime.cudaHostAlloc(size, runtime.cudaHostAllocDefault)))
        block = (ctypes.c_ubyte * size).from_address(address)
        _freed_with(block, runtime.cudaFreeHost, address)  # every array and view below keeps the block
        return np.frombuffer(memoryview(block), np.dtype(dtype)).reshape(shape)

    def upload(self, host: NDArray[Any], device: DeviceMemory) -> None:
        way = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        _checked(runtime.cudaMemcpyAsync(device.address, host.ctypes.data, host.nbytes, way, self._stream))

    def download(self, device: DeviceMemory, host: NDArray[Any]) -> None:
        way = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _checked(runtime.cudaMemcpyAsync(host.ctypes.data, device.address, host.nbytes, way, self._stream))

    def synchronise(self) -> None:
        _checked(runtime.cudaStreamSynchronize(self._stream))

    def captured(self, work: Callable[[], None]) -> Callable[[], None] | None:
        _checked(
            runtime.cudaStreamBeginCapture(self._stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        )
        try:
            work()
            whole = True
        except Refused:  # something in it cannot be captured, DLA for one
            whole = False
        error, graph = runtime.cudaStreamEndCapture(self._stream)
        if error != runtime.cudaError_t.cudaSuccess or not whole:
            runtime.cudaGetLastError()  # else the next call would fail with it
            return None
        error, launcher = runtime.cudaGraphInstantiate(graph, 0)
        runtime.cudaGraphDestroy(graph)
        if error != runtime.cudaError_t.cudaSuccess:
            runtime.cudaGetLastError()
            return None

        def launch() -> None:
            _checked(runtime.cudaGraphLaunch(launcher, self._stream))

        _freed_with(launch, runtime.cudaGraphExecDestroy, launcher)
        return launch


class _Block:
    """Something whose end frees memory."""


def _freed_with(owner: object, free: Callable[[Any], object], handle: object) -> None:
    """Not at the end of the process, when the driver may be gone before."""
    weakref.finalize(owner, free, handle).atexit = False


def _checked(result: tuple[Any, ...]) -> Any:
    """What a call gives besides its status."""
    error, *values = result
    if error != runtime.cudaError_t.cudaSuccess:
        _, words = runtime.cudaGetErrorString(error)
        reason = words.decode() if isinstance(words, bytes) else error.name
        raise Refused(
            f"CUDA failed ({reason}); free the GPU's memory, run vreid doctor, or take the onnxruntime engine"
        )
    return values[0] if values else None
