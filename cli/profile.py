"""`vreid profile`: params, MACs and FLOPs of every layer of a checkpoint or a lowered model."""

from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.models.zoo import is_checkpoint


@dataclass(frozen=True)
class Args:
    """Params, MACs and FLOPs (2 x MACs) of every layer, for one image of the model's own size."""

    model: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt, manifest .json, or the name of a bundled model."""
    json: bool = False
    """Print one JSON document on stdout instead of the table."""


def main(args: Args) -> int:
    counted = None
    if is_checkpoint(args.model):
        from vreid.models.checkpoint import load_checkpoint, network_from
        from vreid.models.cost import cost_of

        layers = cost_of(network_from(load_checkpoint(args.model)))
    else:
        from vreid.deploy.model import read_onnx
        from vreid.deploy.onnx_cost import layers_of_onnx

        manifest, engine = read_onnx(args.model)
        counted = None if manifest.cost is None else manifest.cost.params
        layers = [layer.cost for layer in layers_of_onnx(engine.data, engine.path)]
    from vreid.models.cost import total_of

    total = total_of(layers)
    if args.json:
        sums = {"params": total.params, "macs": total.macs, "flops": total.flops}
        found = [{**asdict(layer), "flops": layer.flops} for layer in layers]
        output.document({"model": args.model, "layers": found, **sums})
        return 0
    rows = [
        (
            layer.name or "total",
            layer.kind if layer.name else "",
            "x".join(map(str, layer.shape)),
            f"{layer.params:,}",
            f"{layer.macs:,}",
            f"{layer.flops:,}",
            f"{100 * layer.macs / max(1, total.macs):.1f}",
        )
        for layer in (*layers, total)
    ]
    columns = ("layer", "kind", "output", "params", "MACs", "FLOPs", "% of MACs")
    output.table(f"{args.model}, one image", columns, rows)
    if counted is not None and counted != total.params:
        output.result(
            f"params here are those of the ONNX graph; the manifest counts {counted:,}, those of the network before its "
            "batch norms were folded into the convolutions"
        )
    return 0
