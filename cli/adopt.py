"""`vreid adopt`: a manifest for a foreign ONNX embedder, so that every other verb takes it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.deploy.settings import Preprocessing


@dataclass(frozen=True)
class Args:
    """Put preprocessing and L2 norm into the graph of a foreign embedder; (pixel / scale - mean) / std."""

    model: Annotated[Path, tyro.conf.Positional]
    """ONNX file that takes float pictures: (N, 3, height, width), or with the channels last, or grey ones of one channel."""
    out: Path
    """The ONNX file to write; the manifest gets the same name with .json."""
    preprocessing: tyro.conf.OmitArgPrefixes[Preprocessing] = field(default_factory=Preprocessing)
    json: bool = False
    """Print the manifest on stdout."""


def main(args: Args) -> int:
    from vreid.deploy.adopt import adopted

    manifest = adopted(args.model, args.out, args.preprocessing)
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
