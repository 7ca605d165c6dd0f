"""The TensorRT engine against a small CUDA and a small TensorRT that behave as theirs do: asynchronous, by address, stateful.

The fakes are strict where the real ones are silent: work outside the current device, memory that was never given, results
read before the stream was waited for, and a graph of a context whose shape changed since are all errors or noise.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.manifest import EngineFile, Manifest, read_manifest
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.engines.cuda import DeviceMemory
from vreid.runtime.engines.tensorrt import TensorRtEngine, tensorrt_library

PICTURES = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3)).astype(np.uint8)
Work = Callable[[], None]


class FakeCuda:
    """One stream that runs when it is waited for; blocks of memory by address; one thread at a time."""

    stream = 7

    def __init__(self, captures: bool = True, captured: bool = True) -> None:
        self.captures, self._capturable = captures, captured
        self.blocks: dict[int, np.ndarray] = {}
        self.queue: list[Work] = []
        self.recording: list[Work] | None = None
        self.launches = self.allocations = 0
        self._held_by: int | None = None

    @contextmanager
    def current(self) -> Iterator[None]:
        assert self._held_by is None, "two threads at once"
        self._held_by = threading.get_ident()
        try:
            yield
        finally:
            self._held_by = None

    def put(self, work: Work) -> None:
        assert self._held_by == threading.get_ident(), "no currently active context"
        (self.queue if self.recording is None else self.recording).append(work)

    def memory(self, size: int) -> DeviceMemory:
        assert self._held_by == threading.get_ident()
        self.allocations += 1
        address = 1000 * self.allocations
        self.blocks[address] = np.zeros(size, np.uint8)
        return DeviceMemory(address, object())

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.allocations += 1
        return np.zeros(shape, dtype)

    def upload(self, host: np.ndarray, device: DeviceMemory) -> None:
        self.put(lambda: _write(self.blocks[device.address], host))

    def download(self, device: DeviceMemory, host: np.ndarray) -> None:
        def copy() -> None:
            host[...] = self.blocks[device.address][: host.nbytes].view(host.dtype).reshape(host.shape)

        self.put(copy)

    def synchronise(self) -> None:
        assert self._held_by == threading.get_ident() and self.recording is None
        for work in self.queue:
            work()
        self.queue.clear()

    def captured(self, work: Work) -> Work | None:
        assert not self.queue, "a capture begins on a stream that is still"
        if not self._capturable:
            return None
        self.recording = graph = []
        work()
        self.recording = None

        def launch() -> None:
            self.launches += 1
            self.queue.extend(graph)

        return launch


def _write(block: np.ndarray, host: np.ndarray) -> None:
    block[: host.nbytes] = host.view(np.uint8).reshape(-1)


class FakeContext:
    """Computes the mean colour at unit length, as the model `colour` does."""

    def __init__(self, cuda: FakeCuda, plan: "FakePlan") -> None:
        self.cuda, self.plan = cuda, plan
        self.address: dict[str, int] = {}
        self.count, self.version, self.runs = 0, 0, 0

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.address[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self.plan.profile
        if name != "images" or not least <= shape[0] <= most:
            return False
        if shape[0] != self.count:
            self.count, self.version = shape[0], self.version + 1
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self.plan.broken:
            self.plan.listener.log("ERROR", "an illegal memory access\nin some file")
            return False
        assert stream == self.cuda.stream
        count, version = self.count, self.version
        self.runs += 1

        def compute() -> None:
            pixels = self.cuda.blocks[self.address["images"]][: count * 192].reshape(count, 64, 3).astype(np.float32)
            mean = pixels.mean(1)
            feature = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
            if version != self.version:  # TensorRT: undefined
                feature += 5
            _write(self.cuda.blocks[self.address["embedding"]], np.ascontiguousarray(feature, np.float32))

        self.cuda.put(compute)
        return True


class FakePlan:
    """Two tensors, images and embedding."""

    def __init__(self, cuda: FakeCuda, **changed: Any) -> None:
        self.cuda, self.contexts = cuda, list[FakeContext]()
        self.listener: Any = None
        self.profile, self.broken, self.room, self.height, self.kind, self.dim = (1, 8, 32), False, 9, 8, "UINT8", 3
        for name, value in changed.items():
            setattr(self, name, value)
        self.num_io_tensors = 2

    def create_execution_context(self) -> FakeContext | None:
        if len(self.contexts) == self.room:
            self.listener.log("ERROR", "out of memory")
            return None
        self.contexts.append(FakeContext(self.cuda, self))
        return self.contexts[-1]

    def get_tensor_name(self, index: int) -> str:
        return ("images", "embedding")[index]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, self.height, 8, 3) if name == "images" else (-1, self.dim)

    def get_tensor_dtype(self, name: str) -> str:
        return self.kind if name == "images" else "FLOAT"

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == "images" else "OUTPUT"

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(batch, 8, 8, 3) for batch in self.profile]


def fake_trt(plan: FakePlan | None) -> Any:
    """The part of the module that the engine uses."""

    class Listening:
        Severity = SimpleNamespace(ERROR="ERROR", INTERNAL_ERROR="INTERNAL_ERROR")

    class Runtime:
        DLA_core = -1

        def __init__(self, listener: Any) -> None:
            self.listener = listener

        def deserialize_cuda_engine(self, data: bytes) -> FakePlan | None:
            assert data
            if plan is None:
                self.listener.log("INFO", "loading")
                self.listener.log("ERROR", "the version tag does not match\nand more")
            else:
                plan.listener, plan.core = self.listener, self.DLA_core  # type: ignore[attr-defined]
            return plan

    modes = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    kinds = SimpleNamespace(UINT8="UINT8", FLOAT="FLOAT")
    return SimpleNamespace(ILogger=Listening, Runtime=Runtime, TensorIOMode=modes, DataType=kinds)


def opened(model: Path, cuda: FakeCuda, plan: FakePlan | None, manifest: Manifest | None = None) -> Embedder:
    about = manifest or read_manifest(model)
    return Embedder(about, TensorRtEngine(fake_trt(plan), cuda, about, EngineFile(model, b"plan")))


@pytest.mark.parametrize("captures", [True, False])
def test_batches_of_every_size_agree_with_the_plain_engine(colour_model: Path, captures: bool) -> None:
    """1 to more than the largest, in any order: graphs and launches take turns."""
    plain, cuda = open_embedder(colour_model), FakeCuda(captures)
    embedder = opened(colour_model, cuda, FakePlan(cuda))
    made = cuda.allocations
    for count in (1, 8, 3, 8, 32, 100, 8, 8, 31, 1):
        np.testing.assert_allclose(embedder.infer(PICTURES[:count]), plain.infer(PICTURES[:count]), atol=1e-6)
    assert cuda.allocations == made == 4  # two blocks on the device, two pinned ones, and no more


def test_only_the_best_batch_is_launched_as_a_graph(colour_model: Path) -> None:
    cuda = FakeCuda()
    plan = FakePlan(cuda)
    embedder = opened(colour_model, cuda, plan)
    usual, graphs = plan.contexts[0], plan.contexts[1]
    before = graphs.runs  # once to warm up, once to capture
    for count in (8, 1, 8, 32, 8):
        embedder.infer(PICTURES[:count])
    assert (cuda.launches, usual.runs, graphs.runs - before) == (3, 2, 0)


@pytest.mark.parametrize(("captures", "contexts"), [(False, 1), (True, 2)])
def test_without_a_capture_everything_is_launched(colour_model: Path, captures: bool, contexts: int) -> None:
    """pycuda cannot at all; of a network on a DLA cuda-python cannot."""
    cuda = FakeCuda(captures, captured=False)
    plan = FakePlan(cuda)
    embedder = opened(colour_model, cuda, plan)
    np.testing.assert_allclose(embedder.infer(PICTURES[:8]), open_embedder(colour_model).infer(PICTURES[:8]), atol=1e-6)
    assert cuda.launches == 0 and len(plan.contexts) == contexts


def test_every_thread_may_embed_and_they_take_turns(colour_model: Path) -> None:
    cuda = FakeCuda()
    embedder, expected = opened(colour_model, cuda, FakePlan(cuda)), open_embedder(colour_model).infer(PICTURES)
    places = [(n % 60, (1, 8, 17)[n % 3]) for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda place: embedder.infer(PICTURES[place[0] : sum(place)]), places)
        for (start, count), features in zip(places, found, strict=True):
            np.testing.assert_allclose(features, expected[start : start + count], atol=1e-6)


def test_a_result_is_the_callers(colour_model: Path) -> None:
    cuda = FakeCuda()
    engine = opened(colour_model, cuda, FakePlan(cuda)).engine
    for count in (3, 8):
        first = engine.infer(PICTURES[:count])
        kept = first.copy()
        engine.infer(PICTURES[50 : 50 + count])
        np.testing.assert_array_equal(first, kept)


def test_a_failure_is_raised_and_the_next_call_goes_on(colour_model: Path) -> None:
    cuda = FakeCuda()
    plan = FakePlan(cuda)
    embedder = opened(colour_model, cuda, plan)
    plan.broken = True
    with pytest.raises(Refused, match=r"cannot run colour \(an illegal memory access\); run vreid build again"):
        embedder.infer(PICTURES[:1])
    plan.broken = False
    cuda.queue.clear()
    assert embedder.infer(PICTURES[:1]).shape == (1, 3)
    with pytest.raises(Refused, match="at most 32 images at once, not 33"):
        embedder.engine.infer(PICTURES[:33])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"height": 16}, r"takes images uint8 \(any, 16, 8, 3\) and its manifest says"),
        ({"kind": "FLOAT"}, "takes images float32"),
        ({"kind": "HALF"}, "takes images other"),
        ({"dim": 4}, r"gives embedding float32 \(any, 4\) and its manifest says"),
        ({"profile": (1, 8, 16)}, "takes 1 to 16 images and its manifest says 1 to 32; run vreid build again"),
        ({"room": 0}, r"no room for colour \(out of memory\)"),
        ({"broken": True}, "cannot run colour"),
    ],
)
def test_a_plan_that_is_not_the_manifests_is_refused(colour_model: Path, changed: dict[str, Any], said: str) -> None:
    cuda = FakeCuda()
    with pytest.raises(Refused, match=said):
        opened(colour_model, cuda, FakePlan(cuda, **changed))


def test_a_plan_that_does_not_load_says_why(colour_model: Path) -> None:
    with pytest.raises(Refused, match=r"cannot load .*\(the version tag does not match\); run vreid build again here"):
        opened(colour_model, FakeCuda(), None)


def test_a_plan_for_a_dla_core_is_loaded_for_that_core(colour_model: Path) -> None:
    cuda = FakeCuda()
    plan: Any = FakePlan(cuda)
    about = read_manifest(colour_model)
    opened(colour_model, cuda, plan)
    assert plan.core == -1
    opened(colour_model, cuda, plan, about.model_copy(update={"built_for": {"dla": "1"}}))
    assert plan.core == 1


@pytest.mark.parametrize(
    ("version", "old"), [("8.6.2", True), ("10.0.1", True), ("10.3.0", False), ("11.4.0.106", False)]
)
def test_a_tensorrt_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, version: str, old: bool) -> None:
    """Before 10.3 a graph's types were suggestions, or the calls that are made here were not there."""
    library = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "tensorrt", library)  # type: ignore[arg-type]
    if not old:
        assert tensorrt_library("tensorrt") is library
        return
    with pytest.raises(Refused, match=f"TensorRT {version} is older than the 10.3"):
        tensorrt_library("tensorrt")
