"""The precision that an ONNX graph computes in: the share of its multiply-accumulates in each, and what a manifest may claim."""

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from vreid.runtime.engines.onnx_file import FLOAT16, OnnxFile, onnx_from

LEAST_SHARE = 0.5  # of the MACs, for a claim of fp16 or int8
ARITHMETIC = ("Conv", "ConvTranspose", "Gemm", "MatMul")
INT8 = ("QLinearConv", "ConvInteger", "QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat")
Shares = dict[str, float]
Precision = Literal["fp32", "fp16", "int8"]


def shares_in(data: bytes, path: Path) -> Shares:
    """{precision: share of the MACs of one image}, the sum 1. Without the onnx package, which knows the shapes, every layer
    counts the same. Raises Refused for what is not an ONNX file."""
    if find_spec("onnx") is not None:
        from vreid.deploy.onnx_cost import layers_of_onnx

        found = [(layer.precision, layer.cost.macs) for layer in layers_of_onnx(data, path)]
    else:
        found = [(precision, 1) for precision in layer_precisions(onnx_from(data, path))]
    total = sum(macs for _, macs in found)
    shares = {"fp32": 0.0, "fp16": 0.0, "int8": 0.0}
    if not total:  # no weights at all: what there is is float
        return {**shares, "fp32": 1.0}
    for precision, macs in found:
        shares[precision] = shares.get(precision, 0.0) + macs / total
    return shares


def precision_of(shares: Shares) -> Precision:
    """What a manifest must claim: int8 or fp16 where at least half of the MACs are, fp16 too where both together are, else
    fp32."""
    if shares["int8"] >= LEAST_SHARE:
        return "int8"
    return "fp16" if shares["fp16"] + shares["int8"] >= LEAST_SHARE else "fp32"


def claims(claimed: str, shares: Shares | None) -> list[str]:
    """Why a manifest may not claim that precision; `shares` is None for an engine that cannot be looked into."""
    if shares is None or (really := precision_of(shares)) == claimed:
        return []
    return [
        f"the manifest claims {claimed} and the ONNX computes in {really} ({share_text(shares)} of the MACs): it will be "
        "neither as fast nor as exact as it says; lower it again with 'vreid quantize' or 'vreid export --half'"
    ]


def low_int8(shares: Shares, every_layer: bool) -> str | None:
    """A warning where an INT8 model has less than half of its MACs in INT8, which `vreid verify` and `vreid build` refuse.

    every_layer: no layer was kept in float for its error, so that only half precision is left.
    """
    if shares["int8"] >= LEAST_SHARE:
        return None
    more = (
        ""
        if every_layer
        else "allow more with --max-map-loss or all with --every-layer, calibrate on more --images, or "
    )
    return (
        f"only {100 * shares['int8']:.3g} % of the MACs are in INT8 ({share_text(shares)}), so it is hardly faster, and "
        f"'vreid verify' and 'vreid build' will refuse the claim of int8; {more}take half precision ('vreid export --half')"
    )


def share_text(shares: Shares) -> str:
    """Such as "98.2 % int8, 1.8 % fp32", the largest first."""
    some = sorted(((share, name) for name, share in shares.items() if share), reverse=True)
    return ", ".join(f"{100 * share:.3g} % {name}" for share, name in some)


def layer_precisions(file: OnnxFile) -> list[str]:
    """Of every layer with weights, by the names in the file only: int8 where weights and what they meet come out of
    DequantizeLinear, fp16 where weights are float16. Weights that are only stored in float16 (deploy/graph.py) pass a Cast
    on their way and do not count."""
    from_int8 = {name for node in file.nodes if node.kind == "DequantizeLinear" for name in node.outputs}
    halves = {name for name, kind in file.stored.items() if kind == FLOAT16}
    found = []
    for node in file.nodes:
        if node.kind in INT8 or (node.kind in ARITHMETIC and len(from_int8 & set(node.inputs)) >= 2):
            found.append("int8")
        elif node.kind in ARITHMETIC:
            found.append("fp16" if halves & set(node.inputs) else "fp32")
    return found
