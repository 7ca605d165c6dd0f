"""A foreign ONNX embedder made a model of vreid: preprocessing and L2 norm are put into its graph, with a manifest next to it."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf.message import DecodeError
from onnx import inliner, shape_inference, version_converter

from vreid.deploy.compare import batch_runs
from vreid.deploy.foreign import ForeignInput, input_of, output_of, refuse_preprocessing, wrapped
from vreid.deploy.graph import simplified
from vreid.deploy.model import atomic_output, open_lowered, refuse_other_than_onnx, refuse_replaced, written_and_opened
from vreid.deploy.onnx_cost import layers_of_onnx
from vreid.deploy.precision import precision_of, shares_in
from vreid.deploy.settings import Preprocessing
from vreid.models.cost import total_of
from vreid.models.errors import Refused
from vreid.models.files import regular
from vreid.models.manifest import Cost, Input, Manifest, Output, write_manifest
from vreid.models.preprocess import Image
from vreid.runtime.engines.onnx_file import onnx_from
from vreid.runtime.engines.onnxruntime import FAULTS as NOT_RUN

OPSET = 18
CONSTANT = 1e-4  # distance of the embeddings of two pictures that have nothing in common
# what onnx and onnxsim raise for graphs that they do not understand
NOT_CHANGED = (
    *NOT_RUN,
    AssertionError,
    AttributeError,
    DecodeError,
    IndexError,
    KeyError,
    TypeError,
    onnx.checker.ValidationError,
    shape_inference.InferenceError,
    version_converter.ConvertError,
)


def adopted(source: Path, out: Path, wants: Preprocessing) -> Manifest:
    """Write `out` (.onnx) and its manifest: raw camera pixels in, an embedding of unit length out.

    The dimension and the batches are those of real runs; the precision is that of most of the graph's MACs. What it was
    trained with cannot be seen in the file: wrong wants give a worse model and no error, so `vreid eval` it after. Raises
    Refused for a graph that is not an embedder of pictures: whose embedding depends on the other pictures of its batch,
    differs from run to run, is the same for every picture, zero, NaN or infinite, or whose batch is fixed inside.
    """
    refuse_other_than_onnx(out)
    refuse_replaced(out, source)
    refuse_preprocessing(wants)
    try:
        data = regular(source).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {source} ({error.strerror or error}); give the ONNX file of an embedder") from error
    onnx_from(data, source)  # refuses a file that is cut short, too new, or has weights in another file
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise Refused(f"cannot load {source}: it is not a complete ONNX file; export the model again") from error
    given, wanted = input_of(model, source, wants), output_of(model, source, wants)
    model = _plain(model)
    with atomic_output(out) as temporary:
        graph, dim = _running(model, given, wanted, source, wants)
        digest = hashlib.sha256(data).hexdigest()
        stored = graph.SerializeToString()
        shares = shares_in(stored, source)
        if max(shares, key=lambda name: shares[name]) not in ("fp32", "fp16", "int8"):
            raise Refused(f"{source} computes in a precision that no engine here runs; export it in float32 or float16")
        total = total_of([layer.cost for layer in layers_of_onnx(stored, source)])
        manifest = Manifest(
            name=out.stem,
            engine=out.name,
            sha256="0" * 64,  # of nothing yet: `written_and_opened` writes the file and its hash
            backend="onnxruntime",
            precision=precision_of(shares),
            input=Input(height=given.height, width=given.width, batch=list(wants.batch)),
            output=Output(dim=dim),
            cost=Cost(params=total.params, macs=total.macs, flops=total.flops),
            accuracy=None,
            match=None,
            fingerprint=digest[:16],
            built_for=None,
            made_from=digest,
        )
        manifest, _ = written_and_opened(graph, manifest, temporary)
        _refuse_unusable(temporary.with_suffix(".json"), source)
        write_manifest(manifest, temporary.with_suffix(".json"))
    return manifest


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """With its functions written out, in the opset of our own graphs where it can be converted (operators that the onnx
    package does not know cannot), and without shapes of another batch."""
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        found = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        return version_converter.convert_version(model, OPSET) if found < OPSET else model
    except NOT_CHANGED:
        return model


def _running(
    model: onnx.ModelProto, given: ForeignInput, wanted: str, source: Path, wants: Preprocessing
) -> tuple[onnx.ModelProto, int]:
    """The first way of wrapping `model` that runs at every batch, and its dimension."""
    reasons = []
    for graph in _ways(model, given, wanted, wants):
        try:
            dim = _dimension(graph, given, wants)
            graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value = dim
            return graph, dim
        except (*NOT_CHANGED, Refused) as error:
            reasons.append(str(error).strip().partition("\n")[0])
    own = given.batch or 1
    way = f" or adopt it for its own batch with --batch {own} {own} {own}" if set(wants.batch) != {own} else ""
    sizes = " and ".join(str(batch) for batch in sorted(set(wants.batch)))
    raise Refused(
        f"{source} does not run on {sizes} pictures at once ({reasons[0]}); export it with a batch that varies{way}"
    )


def _ways(model: onnx.ModelProto, given: ForeignInput, wanted: str, wants: Preprocessing) -> Iterator[onnx.ModelProto]:
    """Simplified and as it is, flattened and reshaped."""
    for by_reshape in (False, True):
        plain = wrapped(model, given, wanted, wants, by_reshape)
        try:
            yield simplified(plain, wants.batch[1])
        except (*NOT_CHANGED, Refused):
            pass
        yield plain


def _dimension(graph: onnx.ModelProto, given: ForeignInput, wants: Preprocessing) -> int:
    """Of one run at every batch. Raises Refused where a run does not give a row for each picture."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    dims = set()
    for batch in sorted(set(wants.batch)):
        pixels = np.zeros((batch, given.height, given.width, 3), np.uint8)
        shape = session.run(["embedding"], {"images": pixels})[0].shape
        if len(shape) != 2 or shape[0] != batch or shape[1] < 1:
            raise Refused(f"{batch} pictures give {' x '.join(map(str, shape))} numbers")
        dims.add(int(shape[1]))
    if len(dims) != 1:
        raise Refused(f"the length of the embedding varies with the batch: {', '.join(map(str, sorted(dims)))}")
    return dims.pop()


def _refuse_unusable(path: Path, source: Path) -> None:
    """Runs the written model on pictures that have nothing in common, at every batch, in another order, and again."""
    model = open_lowered(path, finite=False)
    spec = model.manifest.input
    images = unlike(max(spec.batch[2], 12), spec.height, spec.width)
    rows = model.embed(images)
    if not np.isfinite(rows).all():
        raise Refused(
            f"{source} gives NaN or infinity for {(~np.isfinite(rows).all(1)).sum()} of "
            f"{len(rows)} pictures; look at its weights, and at --mean, --std and --scale"
        )
    if (np.linalg.norm(rows, axis=1) < 0.5).mean() > 0.5:
        raise Refused(f"{source} gives zero for most pictures, so it finds nothing; look at its weights")
    if np.linalg.norm(rows - rows[:1], axis=1).max() < CONSTANT:
        raise Refused(
            f"{source} gives the same embedding for every picture; look at its weights, and name another --output"
        )
    bad = [way for way in batch_runs(model.embed, images, model.manifest, every=0) if not way.sound]
    if any(way.name.startswith("a second time") for way in bad):
        raise Refused(
            f"{source} gives another embedding each time for the same picture (a dropout or a random number is left in it); "
            "export it in evaluation mode"
        )
    if bad:
        raise Refused(
            f"the embedding that {source} gives of a picture depends on the other pictures of its batch (seen at "
            f"{bad[0].name}); export it in evaluation mode, without sums over the batch"
        )


def unlike(count: int, height: int, width: int) -> list[Image]:
    """`count` pictures (height, width, 3): flat colours, ramps, stripes and noise of different size and brightness."""
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 1, height)[:, None, None] * np.ones((1, width, 1))
    found = []
    for place in range(count):
        colour, other = random.integers(0, 256, (2, 1, 1, 3))
        if place % 4 == 0:
            picture = np.broadcast_to(colour, (height, width, 3))
        elif place % 4 == 1:
            picture = colour * ramp + other * (1 - ramp)
        elif place % 4 == 2:
            stripes = (np.arange(width) // (1 + place) % 2)[None, :, None]
            picture = colour * stripes + other * (1 - stripes) + 0 * ramp
        else:
            picture = colour / 255 * random.integers(0, 256, (height, width, 3))
        found.append(np.ascontiguousarray(picture.astype(np.uint8)))
    return found
