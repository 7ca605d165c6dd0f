"""Both bindings to CUDA, on stand-ins for the foreign modules: contexts are balanced, failures are sentences, memory is freed."""

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from enum import IntEnum
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.engines.cuda import BINDINGS, open_cuda


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The adapters are imported anew on the modules of a test, and forgotten after it."""
    names = ("vreid.runtime.engines.cuda_pycuda", "vreid.runtime.engines.cuda_python")
    kept = {name: sys.modules.pop(name, None) for name in names}
    yield monkeypatch
    for name, module in kept.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


# pycuda


class PyCudaError(Exception):
    pass


class Driver(ModuleType):
    """pycuda.driver: a stack of contexts for each thread."""

    Error = PyCudaError

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.stacks: dict[int, list[object]] = {}
        driver = self

        class Context:
            def push(self) -> None:
                driver.stacks.setdefault(threading.get_ident(), []).append(self)

            @staticmethod
            def pop() -> None:
                driver.stacks[threading.get_ident()].pop()

        class Device:
            def __init__(self, index: int) -> None:
                assert index == 0

            def retain_primary_context(self) -> Context:
                return Context()

        class Stream:
            handle = 42

            def __init__(self) -> None:
                assert driver.active()

            def synchronize(self) -> None:
                assert driver.active()

        self.Context, self.Device, self.Stream = Context, Device, Stream

    def active(self) -> bool:
        return bool(self.stacks.get(threading.get_ident()))

    def init(self) -> None:
        pass

    def mem_alloc(self, size: int) -> int:
        if not self.active():
            raise PyCudaError("explicit_context_dependent failed: no currently active context")
        if size > 1000:
            raise PyCudaError("cuMemAlloc failed: out of memory")
        return 4096

    def pagelocked_empty(self, shape: Any, dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)


def pycuda(modules: pytest.MonkeyPatch) -> Driver:
    package, driver = ModuleType("pycuda"), Driver()
    package.driver = driver  # type: ignore[attr-defined]
    modules.setitem(sys.modules, "pycuda", package)
    modules.setitem(sys.modules, "pycuda.driver", driver)
    return driver


def test_pycuda_is_current_in_every_thread_and_in_none_after(modules: pytest.MonkeyPatch) -> None:
    driver = pycuda(modules)
    cuda = open_cuda()  # pycuda is the default
    assert type(cuda).__name__ == "PyCuda" and not cuda.captures and cuda.stream == 42 and not driver.active()
    addresses: list[int] = []

    def work() -> None:
        with cuda.current():
            addresses.append(cuda.memory(10).address)
            cuda.synchronise()
            assert cuda.captured(lambda: None) is None
        assert not driver.active()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert addresses == [4096] * 3


def test_what_pycuda_refuses_is_a_sentence_and_the_context_is_popped(modules: pytest.MonkeyPatch) -> None:
    driver = pycuda(modules)
    cuda = open_cuda()
    with (
        pytest.raises(Refused, match=r"CUDA failed \(cuMemAlloc failed: out of memory\); free the GPU's memory"),
        cuda.current(),
    ):
        cuda.memory(2000)
    assert not driver.active()
    driver.init = lambda: (_ for _ in ()).throw(PyCudaError("cuInit failed: no device"))  # type: ignore[method-assign]
    with pytest.raises(Refused, match="no device"):
        open_cuda()


# cuda-python


class Status(IntEnum):
    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorStreamCaptureInvalidated = 901  # noqa: N815


class Way(IntEnum):
    cudaMemcpyHostToDevice = 1  # noqa: N815
    cudaMemcpyDeviceToHost = 2  # noqa: N815


class Mode(IntEnum):
    cudaStreamCaptureModeThreadLocal = 1  # noqa: N815


class Runtime(ModuleType):
    """cuda.bindings.runtime over the memory of the host; a capture keeps copies instead of making them."""

    cudaError_t, cudaMemcpyKind, cudaStreamCaptureMode = Status, Way, Mode  # noqa: N815
    cudaStreamNonBlocking, cudaHostAllocDefault = 1, 0  # noqa: N815

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.held: dict[int, Any] = {}
        self.recording: list[tuple[int, int, int]] | None = None
        self.graphs = 0
        self.invalid = False

    def cudaSetDevice(self, index: int) -> tuple[Status]:  # noqa: N802
        return (Status.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Status, int]:  # noqa: N802
        return Status.cudaSuccess, 9

    def cudaStreamDestroy(self, stream: int) -> tuple[Status]:  # noqa: N802
        return (Status.cudaSuccess,)

    cudaStreamSynchronize = cudaStreamDestroy  # noqa: N815

    def cudaMalloc(self, size: int) -> tuple[Status, int | None]:  # noqa: N802
        if size > 1 << 20:
            return Status.cudaErrorMemoryAllocation, None
        block = ctypes.create_string_buffer(size)
        self.held[ctypes.addressof(block)] = block
        return Status.cudaSuccess, ctypes.addressof(block)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Status, int | None]:  # noqa: N802
        return self.cudaMalloc(size)

    def cudaFree(self, address: int) -> tuple[Status]:  # noqa: N802
        del self.held[address]
        return (Status.cudaSuccess,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemcpyAsync(self, to: int, source: int, size: int, way: Way, stream: int) -> tuple[Status]:  # noqa: N802
        if self.recording is None:
            ctypes.memmove(to, source, size)
        else:
            self.recording.append((to, source, size))
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: Mode) -> tuple[Status]:  # noqa: N802
        self.recording = []
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Status, Any]:  # noqa: N802
        graph, self.recording = self.recording, None
        return (Status.cudaErrorStreamCaptureInvalidated, None) if self.invalid else (Status.cudaSuccess, graph)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Status, Any]:  # noqa: N802
        self.graphs += 1
        return Status.cudaSuccess, tuple(graph)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Status]:  # noqa: N802
        return (Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, graph: Any) -> tuple[Status]:  # noqa: N802
        self.graphs -= 1
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, graph: Any, stream: int) -> tuple[Status]:  # noqa: N802
        for copy in graph:
            ctypes.memmove(*copy)
        return (Status.cudaSuccess,)

    def cudaGetLastError(self) -> tuple[Status]:  # noqa: N802
        return (Status.cudaSuccess,)

    def cudaGetErrorString(self, error: Status) -> tuple[Status, bytes]:  # noqa: N802
        return Status.cudaSuccess, b"out of memory"


def cuda_python(modules: pytest.MonkeyPatch) -> Runtime:
    runtime, package, bindings = Runtime(), ModuleType("cuda"), ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    modules.setitem(sys.modules, "pycuda", None)
    modules.setitem(sys.modules, "cuda", package)
    modules.setitem(sys.modules, "cuda.bindings", bindings)
    modules.setitem(sys.modules, "cuda.bindings.runtime", runtime)
    return runtime


def test_cuda_python_copies_there_and_back_and_frees(modules: pytest.MonkeyPatch) -> None:
    runtime = cuda_python(modules)
    cuda = open_cuda()
    with cuda.current():
        there, back = cuda.pinned((2, 3), np.float32), cuda.pinned((2, 3), np.float32)
        block = cuda.memory(24)
        there[...], back[...] = np.arange(6).reshape(2, 3), 0
        cuda.upload(there, block)
        cuda.download(block, back[:1])
    np.testing.assert_array_equal(back, [[0, 1, 2], [0, 0, 0]])
    assert len(runtime.held) == 3
    view = there[1:]
    del there, back, block
    gc.collect()
    assert len(runtime.held) == 1 and view[0, 0] == 3  # a view keeps what it looks at
    del view
    gc.collect()
    assert not runtime.held


def test_a_capture_of_cuda_python_is_launched_again_and_again(modules: pytest.MonkeyPatch) -> None:
    runtime = cuda_python(modules)
    cuda = open_cuda()
    host, block = cuda.pinned((4,), np.uint8), cuda.memory(4)
    out = cuda.pinned((4,), np.uint8)

    def work() -> None:
        cuda.upload(host, block)
        cuda.download(block, out)

    launch = cuda.captured(work)
    assert cuda.captures and launch is not None
    for value in (3, 5):
        host[...] = value
        launch()
        assert (out == value).all()
    del launch
    gc.collect()
    assert runtime.graphs == 0


@pytest.mark.parametrize("how", ["refused within", "invalid"])
def test_what_cannot_be_captured_is_none_and_the_stream_is_free_again(modules: pytest.MonkeyPatch, how: str) -> None:
    runtime = cuda_python(modules)
    cuda = open_cuda()
    runtime.invalid = how == "invalid"

    def work() -> None:
        if how == "refused within":
            raise Refused("not on a DLA")

    assert cuda.captured(work) is None and runtime.recording is None and runtime.graphs == 0


def test_what_cuda_python_refuses_is_a_sentence(modules: pytest.MonkeyPatch) -> None:
    cuda_python(modules)
    with pytest.raises(Refused, match=r"CUDA failed \(out of memory\); free the GPU's memory"):
        open_cuda().memory(1 << 21)


def test_without_a_binding_each_reason_is_given(modules: pytest.MonkeyPatch) -> None:
    loaded = [name for name in sys.modules if name.partition(".")[0] in ("pycuda", "cuda")]
    for name in ("pycuda", "cuda", *loaded):  # also parts that another test has loaded
        modules.setitem(sys.modules, name, None)
    for member in BINDINGS.values():
        modules.delitem(sys.modules, member.partition(":")[0], raising=False)
    with pytest.raises(Refused, match=r"no binding to CUDA works here \(pycuda: .*; cuda-python: .*\): pip install"):
        open_cuda()


@pytest.mark.parametrize("member", BINDINGS.values())
def test_the_real_bindings_open_or_refuse(member: str) -> None:
    """On a machine without a device the real library says so in our words."""
    module, _, function = member.partition(":")
    try:
        opened = getattr(import_module(module), function)
    except ImportError as error:
        pytest.skip(f"the binding is not installed ({error})")
    try:
        assert opened().stream
    except Refused as refused:
        assert "CUDA failed" in str(refused)
