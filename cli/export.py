"""`vreid export`: lower a checkpoint to ONNX with its manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output


@dataclass(frozen=True)
class Args:
    """Lower a checkpoint to ONNX; the manifest is written beside it."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Checkpoint of a training."""
    out: Path
    """The ONNX file; the manifest gets the same name with .json."""
    batch: tuple[int, int, int] = (1, 8, 32)
    """Least, best and largest batch that engines are built for."""
    half_weights: bool = False
    """Store the weights in half precision: half the file; what is computed stays float32."""
    half: bool = False
    """Compute in half precision between pixels and L2 norm: for GPUs and Jetson. A CPU runs it, no faster."""
    data: Path | None = None
    """Evaluate the engine on this data set's test part and write the figures into the manifest."""
    json: bool = False
    """Print the manifest on stdout."""


def main(args: Args) -> int:
    """Export and say what was made."""
    from vreid.deploy.export import onnx_from_checkpoint
    from vreid.train.datasets.table import read_dataset

    data = None if args.data is None else read_dataset(args.data)
    manifest = onnx_from_checkpoint(args.checkpoint, args.out, args.batch, args.half_weights, data, args.half)
    size = args.out.stat().st_size / 1e6
    rows = [
        ("engine", f"{args.out} ({size:.1f} MB)"),
        ("params", f"{manifest.cost.params / 1e6:.2f} M"),
        ("MACs", f"{manifest.cost.macs / 1e6:.1f} M"),
        ("FLOPs", f"{manifest.cost.flops / 1e6:.1f} M"),
        ("fingerprint", manifest.fingerprint),
    ]
    if manifest.accuracy is not None:
        rows.append(
            (f"on {manifest.accuracy.dataset}", f"{manifest.accuracy.map} mAP, {manifest.accuracy.rank1} Rank-1")
        )
    output.table(f"exported {manifest.name}", ("what", "value"), rows)
    if args.json:
        output.document(manifest.model_dump(by_alias=True))
    return 0
