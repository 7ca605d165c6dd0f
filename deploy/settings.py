"""What the verbs of deployment take: each record is a verb's flags and their help, and the argument of the function below it.

This file imports nothing heavy, so that `--help` is quick.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Triple = tuple[float, float, float]
Batch = tuple[int, int, int]  # least, best and largest
BATCH: Batch = (1, 8, 32)
Target = Literal["cpu", "tensorrt"]


@dataclass(frozen=True)
class Preprocessing:
    """How a foreign network wants its pictures: (pixel / scale - mean) / std, of channels in `order`; a network of one channel
    gets grey pictures and the means of `mean` and `std`."""

    order: Literal["RGB", "BGR"] = "RGB"
    """Channels as the network was trained on them."""
    mean: Triple = IMAGENET[0]
    """Of each channel in that order, after the scale; a grey network takes the mean of the three."""
    std: Triple = IMAGENET[1]
    """Of each channel in that order, after the scale."""
    scale: float = 255.0
    """What a pixel is divided by first; 1 for networks that take 0 to 255."""
    size: tuple[int, int] | None = None
    """Height and width, where the graph leaves them open."""
    output: str | None = None
    """Name of the embedding, where the graph has several outputs."""
    batch: Batch = BATCH
    """Least, best and largest batch that engines are built for."""
    layout: Literal["auto", "NCHW", "NHWC"] = "auto"
    """Whether channels come before height and width; auto goes by which of them is 1 or 3."""


@dataclass(frozen=True)
class NetworkInput:
    """How a foreign teacher wants its pictures, and which of its layers is its embedding; for an .xml or .onnx alone."""

    output: str | None = None
    """Layer whose output, averaged over height and width, is the embedding; also one before the network's end."""
    order: Literal["RGB", "BGR"] = "RGB"
    """Channels as the network was trained on them."""
    mean: Triple = IMAGENET[0]
    """Of each channel in that order, after the scale."""
    std: Triple = IMAGENET[1]
    """Of each channel in that order, after the scale."""
    scale: float = 255.0
    """What a pixel is divided by first; 1 for networks that take 0 to 255."""
    size: tuple[int, int] | None = None
    """Height and width, where the network leaves them open."""


@dataclass(frozen=True)
class ExportOptions:
    """What is lowered, and how far."""

    batch: Batch | None = None
    """Least, best and largest batch that engines are built for; 1 8 32 unless given, of a manifest its own."""
    half_weights: bool = False
    """Store the weights in half precision: half the file; what is computed stays float32."""
    half: bool = False
    """Compute in half precision between pixels and L2 norm: for GPUs and Jetson. A CPU runs it, no faster."""


@dataclass(frozen=True)
class Quantization:
    """How ranges are measured: on pictures of the training part, drawn with `seed`. `method` is average (the mean over batches
    of 16 of their least and largest values, so that no single picture sets a range), minmax, or percentile (99.99)."""

    target: Annotated[Target, tyro.conf.arg(name="for")] = "cpu"
    """cpu: what ONNX Runtime and OpenVINO run fastest. tensorrt: the form that TensorRT accepts; a CPU runs it, slower."""
    images: int = 256
    """Pictures that ranges are measured on."""
    seed: int = 0
    """Of the draw of pictures."""
    method: Literal["average", "minmax", "percentile"] = "average"
    """How a range comes from the pictures; see docs/engines.md."""
    reduce_range: Literal["auto", "yes", "no"] = "auto"
    """Weights in 7 bits, for processors without VNNI; auto looks at this one. For cpu only."""


@dataclass(frozen=True)
class Bounds:
    """What a candidate must keep to. The last two are of the open-set threshold."""

    max_map_loss: float = 0.5
    """Points of mAP that may be lost."""
    min_cosine: float | None = None
    """Least mean cosine to the reference; left out, 0.9999 for fp32, 0.999 for fp16 and 0.985 for int8."""
    false_match_rate: float | None = None
    """Strangers that may be taken for a known vehicle, as a share; what the threshold is set for. Left out, 0.01, and the
    manifest's own threshold stays where that would miss most of the known vehicles."""
    gallery_size: int | None = None
    """Vehicles in the gallery of the site; left out, as many as in the data."""


@dataclass(frozen=True)
class Turns:
    """How models are timed."""

    threads: int = 1
    """CPU threads of each model."""
    batches: tuple[int, ...] = (1, 8)
    """Batch sizes."""
    rounds: int = 10
    """Turns of each model; a turn is up to 10 batches of each size, a second at most."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build; a builder refuses those it has no use for."""

    dla: int | None = None
    """Core of a Jetson's DLA, for fp16 and int8 in one fixed batch; what cannot go there stays on the GPU."""
    workspace: int | None = None
    """MiB of memory that tensorrt and tensorrt_rtx may use for intermediate results; all that is free unless given."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities that tensorrt_rtx builds for, such as 8.6 8.9; Ampere and later unless given."""
    checkpoint: Path | None = None
    """Checkpoint of the model, which torch_tensorrt builds from."""
    cache: Path | None = None
    """Folder of timing caches, which make the next build on this device quick; vreid in the cache folder unless given."""
