"""`vreid adopt`: a foreign ONNX embedder under the contract, so that every other verb takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from vreid.cli import output


@dataclass(frozen=True)
class Args:
    """Put preprocessing and L2 norm into the graph of a foreign embedder; (pixel / scale - mean) / std."""

    model: Annotated[Path, tyro.conf.Positional]
    """ONNX file that takes float pictures: (N, 3, height, width), or with the channels last, or grey ones of one channel."""
    out: Path
    """The ONNX file to write; the manifest gets the same name with .json."""
    order: Literal["RGB", "BGR"] = "RGB"
    """Channels as the network was trained on them."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of each channel in that order, after the scale; a grey network takes the mean of the three."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Of each channel in that order, after the scale."""
    scale: float = 255.0
    """What a pixel is divided by first; 1 for networks that take 0 to 255."""
    size: tuple[int, int] | None = None
    """Height and width, where the graph leaves them open."""
    output: str | None = None
    """Name of the embedding, where the graph has several outputs."""
    batch: tuple[int, int, int] = (1, 8, 32)
    """Least, best and largest batch that engines are built for."""
    layout: Literal["auto", "NCHW", "NHWC"] = "auto"
    """Whether channels come before height and width; auto goes by which of them is 1 or 3."""
    json: bool = False
    """Print the manifest on stdout."""


def main(args: Args) -> int:
    """Adopt and say what was made."""
    from vreid.deploy.adopt import adopted
    from vreid.deploy.foreign import Habits

    habits = Habits(args.order, args.mean, args.std, args.scale, args.size, args.output, args.batch, args.layout)
    manifest = adopted(args.model, args.out, habits)
    if args.json:
        output.document(manifest.model_dump(by_alias=True))
        return 0
    rows = [
        ("engine", f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB)"),
        ("pictures", f"{manifest.input.height} x {manifest.input.width}"),
        ("embedding", str(manifest.output.dim)),
        ("precision", manifest.precision),
        ("params", f"{manifest.cost.params / 1e6:.2f} M"),
        ("MACs", f"{manifest.cost.macs / 1e6:.1f} M"),
        ("fingerprint", manifest.fingerprint),
    ]
    output.table(f"adopted {manifest.name}", ("what", "value"), rows)
    output.note("wrong colours, mean or std give no error: see that 'vreid eval' reaches what it should")
    return 0
