"""`vreid models`: the bundled models, and what each costs and finds."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vreid.cli import output

if TYPE_CHECKING:
    from vreid.models.manifest import Manifest


@dataclass(frozen=True)
class Args:
    """List the bundled models, whose names every verb takes in place of a manifest; vreid-s is meant where none is given."""

    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    from vreid.models.manifest import read_manifest
    from vreid.models.zoo import bundled

    found = [read_manifest(path) for path in bundled().values()]
    if args.json:
        output.document({"models": [model.model_dump(by_alias=True) for model in found]})
        return 0
    rows = [_row(model) for model in found]
    heads = ("name", "pixels", "dimensions", "M params", "GMACs", "mAP", "threshold")
    output.table("bundled models", heads, rows)
    return 0


def _row(model: "Manifest") -> tuple[str, ...]:
    accuracy, match = model.accuracy, model.match
    return (
        model.name,
        f"{model.input.width} x {model.input.height}",
        str(model.output.dim),
        f"{model.cost.params / 1e6:.2f}",
        f"{model.cost.macs / 1e9:.3f}",
        "" if accuracy is None else f"{accuracy.map:.1f} on {accuracy.dataset}",
        "" if match is None else f"{match.threshold:g}",
    )
