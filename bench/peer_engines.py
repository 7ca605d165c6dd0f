"""Every way to run one network on a processor, vreid's and what a user would pick instead: uint8 BGR pixels in, embedding out.

A way is opened for a network, a number of threads and one batch size, and is a function from (B, H, W, 3) uint8 to (B, D)
float32 of unit length, whatever it does in between: pixels that an engine does not take itself are prepared by its own
means inside that function, and `note` says so. Packages are imported on opening: one that is missing costs its own rows only.
"""

import subprocess
import tempfile
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from vreid.deploy.export import OPSET, PixelsToEmbedding
from vreid.models.errors import Refused
from vreid.models.manifest import Manifest, engine_file
from vreid.models.network import MEAN, STD, ReidNetwork
from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder
from vreid.runtime.engines.table import open_engine
from vreid.runtime.records import Floats

Run = Callable[[Image], Floats]
CONVERTER_S = 600.0  # pnnx takes seconds


@dataclass(frozen=True)
class Graph:
    """A lowered form of a network: the exported ONNX and its manifest."""

    manifest: Manifest
    path: Path  # of the ONNX


@dataclass(frozen=True)
class Subject:
    """One network: `network` in torch where a checkpoint was given, `graphs` are its ONNX forms, float32 first."""

    name: str
    height: int
    width: int
    params: int
    macs: int
    network: nn.Module | None
    graphs: tuple[Graph, ...]


@dataclass(frozen=True)
class Way:
    """How to run a subject: ways of one `engine` and `precision` compete, and the best `form` is what a user would take."""

    engine: str
    package: str
    open: Callable[[Subject, int, int], tuple[Run, str]]  # (subject, threads, batch) -> what runs, and a note
    form: str = ""
    precision: str = "fp32"

    def version(self) -> str | None:
        """Of the package, where it is installed under this name."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return None


def eager(memory_format: torch.memory_format) -> Callable[[Subject, int, int], tuple[Run, str]]:
    """torch as it is."""

    def opened(subject: Subject, threads: int, batch: int) -> tuple[Run, str]:
        torch.set_num_threads(threads)
        return _running(_module(subject, memory_format)), ""

    return opened


def compiled(options: dict[str, Any]) -> Callable[[Subject, int, int], tuple[Run, str]]:
    """torch.compile with inductor, for one fixed batch; `options` are inductor's."""

    def opened(subject: Subject, threads: int, batch: int) -> tuple[Run, str]:
        torch.set_num_threads(threads)
        # all networks share one forward, and past the limit torch would run eagerly without a word
        torch._dynamo.config.recompile_limit = 1000
        module = _module(subject, torch.channels_last)
        return _running(cast(nn.Module, torch.compile(module, dynamic=False, fullgraph=True, options=options))), ""

    return opened


def opencv(subject: Subject, threads: int, batch: int) -> tuple[Run, str]:
    """OpenCV DNN on the exported graph; where it does not take that, on float planes that its blobFromImages makes."""
    cv2.setNumThreads(threads)
    pixels = np.zeros((batch, subject.height, subject.width, 3), np.uint8)
    try:
        if not subject.graphs:
            raise Refused("there is no exported graph")
        net = cv2.dnn.readNetFromONNX(str(subject.graphs[0].path))
        run = _opencv_run(net, lambda batch: batch)
        run(pixels)
        return run, ""
    except (cv2.error, Refused) as error:
        if subject.network is None:
            raise Refused(f"it does not take the exported graph ({_first(error)}); give the checkpoint too") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planes.onnx"
        write_graph(_planes(subject), torch.zeros((batch, 3, subject.height, subject.width)), path, dynamic=False)
        net = cv2.dnn.readNetFromONNX(str(path))
    parameters = cv2.dnn.Image2BlobParams(
        scalefactor=[1 / (255 * one) for one in STD], mean=[255 * one for one in MEAN], swapRB=True
    )
    run = _opencv_run(net, lambda batch: cv2.dnn.blobFromImagesWithParams(list(batch), parameters))
    return run, "uint8, channel order and normalisation left out of the graph: blobFromImages does them, timed"


def _opencv_run(net: Any, prepared: Callable[[Image], Any]) -> Run:
    def run(pixels: Image) -> Floats:
        net.setInput(prepared(pixels))
        return np.array(net.forward(), np.float32)

    return run


def ncnn(subject: Subject, threads: int, batch: int) -> tuple[Run, str]:
    """ncnn, converted by pnnx from the traced network, weights in float32. It has no batches: one call for each picture."""
    import ncnn as library
    import pnnx

    if subject.network is None:
        raise Refused("pnnx converts from torch; give the checkpoint too")
    shape = (1, 3, subject.height, subject.width)
    net = library.Net()
    net.opt.num_threads, net.opt.use_vulkan_compute = threads, False
    with tempfile.TemporaryDirectory() as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pnnx 20261020 reads TorchScript
            torch.jit.trace(_planes(subject), (torch.zeros(shape),), check_trace=False).save(f"{folder}/net.pt")
        command = [pnnx.EXEC_PATH, "net.pt", f"inputshape={list(shape)}".replace(" ", ""), "fp16=0"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=CONVERTER_S, check=False)
        if done.returncode or not (Path(folder) / "net.ncnn.param").is_file():
            raise Refused(f"pnnx does not convert it ({done.returncode}: {done.stderr.strip()[-200:]})")
        if net.load_param(f"{folder}/net.ncnn.param") or net.load_model(f"{folder}/net.ncnn.bin"):
            raise Refused("ncnn does not load what pnnx wrote")
    mean, scale = [255 * one for one in MEAN], [1 / (255 * one) for one in STD]

    def one(picture: Image) -> Floats:
        planes = library.Mat.from_pixels(picture, library.Mat.PixelType.PIXEL_BGR2RGB, subject.width, subject.height)
        planes.substract_mean_normalize(mean, scale)
        with net.create_extractor() as extractor:
            extractor.input("in0", planes)
            failed, out = extractor.extract("out0")
            if failed:
                raise Refused(f"ncnn does not run it ({failed})")
            return np.array(out, np.float32).reshape(-1)

    note = "uint8, channel order and normalisation left out of the graph: from_pixels does them, timed"
    return (
        lambda pixels: np.stack([one(picture) for picture in pixels]),
        note if batch == 1 else f"{note}; {batch} calls of one",
    )


def vreid_engine(engine: str, place: int) -> Callable[[Subject, int, int], tuple[Run, str]]:
    """The engine of vreid on the subject's graph `place`, as every program of vreid runs it."""

    def opened(subject: Subject, threads: int, batch: int) -> tuple[Run, str]:
        graph = subject.graphs[place]
        if graph.path.suffix != ".onnx":
            raise Refused(f"{graph.path.name} is a built engine; give the manifest of its ONNX")
        if batch > graph.manifest.input.batch[-1]:
            raise Refused(f"its manifest allows {graph.manifest.input.batch[-1]} pictures at once")
        manifest = graph.manifest.model_copy(update={"backend": engine})
        return Embedder(
            manifest, open_engine(manifest, engine_file(manifest, graph.path, graph.path.with_suffix(".json")), threads)
        ).infer, ""

    return opened


def ways_of(subject: Subject, peers: bool) -> list[Way]:
    """Our engines on every graph of the subject; with `peers` also what a user would pick instead."""
    found = [
        Way("torch eager", "torch", eager(torch.contiguous_format), "plain"),
        Way("torch eager", "torch", eager(torch.channels_last), "channels_last"),
        Way("torch.compile", "torch", compiled({}), "default"),
        Way("torch.compile", "torch", compiled({"freezing": True}), "freezing"),
        Way("OpenCV DNN", "opencv-python-headless", opencv),
        Way("ncnn", "ncnn", ncnn),
    ]
    return (found if peers else []) + [
        Way(label, package, vreid_engine(package, place), precision=graph.manifest.precision)
        for place, graph in enumerate(subject.graphs)
        for label, package in (("ONNX Runtime", "onnxruntime"), ("OpenVINO", "openvino"))
    ]


def write_graph(module: nn.Module, example: Tensor, path: Path, dynamic: bool) -> None:
    """The module as ONNX, images -> embedding, by the exporter that `vreid export` uses."""
    axes = {"images": {0: "batch"}, "embedding": {0: "batch"}} if dynamic else {}
    torch.onnx.export(
        module, (example,), str(path), opset_version=OPSET, input_names=["images"], output_names=["embedding"],
        dynamic_axes=axes, dynamo=False,
    )  # fmt: skip


def _module(subject: Subject, memory_format: torch.memory_format) -> nn.Module:
    """A copy of the network, uint8 pixels -> embedding."""
    if subject.network is None:
        raise Refused("torch needs the checkpoint that the manifest was made of; give it to --models too")
    copy = deepcopy(subject.network).to(memory_format=memory_format)  # type: ignore[call-overload]
    return PixelsToEmbedding(cast(ReidNetwork, copy)).eval()


def _planes(subject: Subject) -> nn.Module:
    """The network without its first part: (B, 3, H, W) float32 normalised RGB -> embedding."""
    module = _module(subject, torch.contiguous_format)
    cast(ReidNetwork, module.network).pixels = nn.Identity()  # type: ignore[assignment]
    return module


def _running(module: nn.Module) -> Run:
    def run(pixels: Image) -> Floats:
        with torch.no_grad():  # inductor's freezing knows no inference mode
            return np.asarray(module(torch.from_numpy(pixels)).numpy(), np.float32)

    return run


def _first(error: Exception) -> str:
    """The first line that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
