"""The ONNX model that an engine is built of, with everything refused that a builder would stumble over or pass in silence."""

from pathlib import Path

from vreid.deploy.build.records import Source
from vreid.deploy.precision import precision_of, share_text, shares_in
from vreid.models.errors import Refused
from vreid.models.manifest import read_model
from vreid.runtime.engines.onnx_file import onnx_from
from vreid.runtime.engines.table import open_engine


def read_source(path: Path) -> Source:
    """The model of the manifest at `path`, its bytes matched, its graph opened once by the plain engine, which checks it
    against the manifest (opset, one input and one output, their sizes). Raises Refused."""
    manifest, engine = read_model(path)
    onnx = engine.path
    if manifest.built_for is not None or onnx.suffix != ".onnx":
        raise Refused(f"{path} is of a built engine; give the manifest of the ONNX that it was built of")
    file = onnx_from(engine.data, onnx)
    _refuse_other_precision(onnx, engine.data, manifest.precision)
    open_engine(manifest.model_copy(update={"backend": "onnxruntime"}), engine, threads=1)
    return Source(manifest, onnx, engine.data, file)


def _refuse_other_precision(onnx: Path, data: bytes, claimed: str) -> None:
    """An engine computes in what the graph says, so the graph must say what the manifest claims, by the rule of `vreid verify`."""
    shares = shares_in(data, onnx)
    found = precision_of(shares)
    if found != claimed:
        raise Refused(
            f"{onnx} computes in {found.upper()} and its manifest claims {claimed.upper()} "
            f"({share_text(shares)} of the MACs); "
            "make it again with 'vreid export', 'vreid quantize' or 'vreid adopt'"
        )
