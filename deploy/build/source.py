"""The ONNX model that an engine is built of, with everything refused that a builder would stumble over or pass in silence."""

from pathlib import Path

from vreid.deploy.build.records import Source
from vreid.models.errors import Refused
from vreid.models.manifest import read_model
from vreid.runtime.engines.onnx_file import FLOAT16, OnnxFile, onnx_from
from vreid.runtime.engines.table import open_engine

ARITHMETIC = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def read_source(path: Path) -> Source:
    """The model of the manifest at `path`, its bytes matched, its graph opened once by the plain engine, which checks it
    against the manifest (opset, one input and one output, their sizes). Raises Refused."""
    manifest, engine = read_model(path)
    onnx = engine.path
    if manifest.built_for is not None or onnx.suffix != ".onnx":
        raise Refused(f"{path} is of a built engine; give the manifest of the ONNX that it was built of")
    file = onnx_from(engine.data, onnx)
    _refuse_other_precision(onnx, manifest.precision, file)
    open_engine(manifest.model_copy(update={"backend": "onnxruntime"}), engine, threads=1)
    return Source(manifest, onnx, engine.data, file)


def _refuse_other_precision(onnx: Path, claimed: str, file: OnnxFile) -> None:
    """An engine computes in what the graph says, so the graph must say what the manifest claims."""
    found = precision_of(file)
    if found != claimed:
        raise Refused(
            f"{onnx} computes in {found.upper()} and its manifest claims {claimed.upper()}; "
            "make it again with 'vreid export' or 'vreid quantize'"
        )


def precision_of(file: OnnxFile) -> str:
    """int8 where weights and what they meet come out of DequantizeLinear, fp16 where weights are float16, else fp32.

    Weights that are only stored in float16 (deploy/store.py) pass a Cast on their way and do not count.
    """
    weighted = [set(node.inputs) for node in file.nodes if node.kind in ARITHMETIC]
    from_int8 = {name for node in file.nodes if node.kind == "DequantizeLinear" for name in node.outputs}
    if any(len(from_int8 & names) >= 2 for names in weighted):
        return "int8"
    halves = {name for name, kind in file.stored.items() if kind == FLOAT16}
    return "fp16" if any(halves & names for names in weighted) else "fp32"
