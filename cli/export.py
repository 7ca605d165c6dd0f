"""`vreid export`: lower a checkpoint to ONNX with its manifest."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import test_part, warn_if_checkpoint_learnt
from vreid.deploy.settings import ExportOptions
from vreid.models.errors import Refused
from vreid.models.zoo import is_checkpoint

if TYPE_CHECKING:
    from vreid.models.manifest import Manifest


@dataclass(frozen=True)
class Args:
    """Lower a checkpoint to ONNX, or an ONNX model to half precision; the manifest is written next to it."""

    checkpoint: Annotated[str, tyro.conf.Positional]
    """Checkpoint of a training; with --half also the manifest .json of a float32 ONNX model, exported or adopted, or the name of
    a bundled one."""
    out: Path
    """The ONNX file; the manifest gets the same name with .json."""
    lowering: tyro.conf.OmitArgPrefixes[ExportOptions] = field(default_factory=ExportOptions)
    data: Path | None = None
    """Evaluate the engine on this data set's test part and write the figures into the manifest."""
    json: bool = False
    """Print the manifest on stdout."""


def main(args: Args) -> int:
    manifest = _from_checkpoint(args) if is_checkpoint(args.checkpoint) else _from_onnx(args)
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
    if args.json:
        output.document(manifest.model_dump(by_alias=True))
    else:
        output.table(f"exported {manifest.name}", ("what", "value"), rows)
    return 0


def _from_checkpoint(args: Args) -> "Manifest":
    from vreid.deploy.export import onnx_from_checkpoint

    data = None if args.data is None else test_part(args.data)
    made = onnx_from_checkpoint(Path(args.checkpoint), args.out, args.lowering, data)
    if data is not None:
        warn_if_checkpoint_learnt(args.checkpoint, data)
    return made


def _from_onnx(args: Args) -> "Manifest":
    """Whose numbers are not new, so that nothing else can be requested of it."""
    from vreid.deploy.lower import half_from

    if not args.lowering.half or args.lowering.half_weights or args.data is not None:
        raise Refused(
            f"{args.checkpoint} is not a checkpoint .pt: an ONNX model is lowered to half precision, with --half and without "
            "--half-weights and --data ('vreid verify' measures it then)"
        )
    return half_from(args.checkpoint, args.out, args.lowering.batch).manifest
