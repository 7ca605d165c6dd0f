"""A foreign ONNX embedder under our contract: preprocessing and L2 norm are put into its graph, a manifest beside it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

from vreid.deploy.draft import drafted, opened, refuse_other_than_onnx
from vreid.deploy.onnx_cost import cost_of_onnx
from vreid.deploy.simplify import simplified
from vreid.models.cost import total_of
from vreid.models.errors import Refused
from vreid.models.manifest import Cost, Input, Manifest, Output, write_manifest
from vreid.runtime.engines.onnx_file import onnx_from
from vreid.runtime.engines.onnxruntime import FAULTS

OPSET = 18
EPS = 1e-12
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Habits:
    """How the foreign network wants its pictures: (pixel / scale - mean) / std, of channels in `order`, (N, 3, H, W).

    `size` (height, width) is needed where the graph leaves it open, `output` (a name) where it has several."""

    order: Literal["RGB", "BGR"] = "RGB"
    mean: Triple = IMAGENET[0]
    std: Triple = IMAGENET[1]
    scale: float = 255.0
    size: tuple[int, int] | None = None
    output: str | None = None
    batch: tuple[int, int, int] = (1, 8, 32)


def adopted(source: Path, out: Path, habits: Habits) -> Manifest:
    """Write `out` (.onnx) and its manifest: raw camera pixels in, an embedding of unit length out.

    What it was trained with cannot be seen in the file: wrong habits give a worse model and no error, so `vreid eval` it
    after. Raises Refused for a graph that is no embedder of pictures, or whose batch is fixed inside.
    """
    refuse_other_than_onnx(out)
    try:
        data = source.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {source} ({error.strerror or error}); give the ONNX file of an embedder") from error
    onnx_from(data, source)  # refuses a file that is cut short, too new, or has weights in another file
    model = onnx.load_model_from_string(data)
    found = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if found < OPSET:
        model = version_converter.convert_version(model, OPSET)
    given, (height, width) = _pixels_of(model, source, habits)
    wanted = _output_of(model, source, habits)
    graph = _wrapped(model, given, wanted, habits, height, width)
    with drafted(out) as draft:
        try:
            whole = simplified(graph, habits.batch[1])
        except FAULTS as error:
            reason = str(error).strip().partition("\n")[0]
            raise Refused(f"{source} does not run on {habits.batch[1]} pictures at once ({reason})") from error
        dim = whole.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
        digest = hashlib.sha256(data).hexdigest()
        manifest = Manifest(
            name=out.stem,
            engine=out.name,
            sha256="0" * 64,  # of nothing yet: `opened` writes the file and its hash
            backend="onnxruntime",
            precision="fp32",
            input=Input(height=height, width=width, batch=list(habits.batch)),
            output=Output(dim=dim),
            cost=Cost(params=0, macs=0, flops=0),
            accuracy=None,
            match=None,
            fingerprint=digest[:16],
            built_for=None,
            made_from=digest,
        )
        manifest, embedder = opened(whole, manifest, draft)
        total = total_of(cost_of_onnx(draft))
        manifest = manifest.model_copy(update={"cost": Cost(params=total.params, macs=total.macs, flops=total.flops)})
        write_manifest(manifest, draft.with_suffix(".json"))
        for batch in sorted({habits.batch[0], habits.batch[1], habits.batch[2]}):
            noise = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
            embedder.infer(noise)  # a batch that is fixed somewhere inside shows here
    return manifest


def _pixels_of(model: onnx.ModelProto, source: Path, habits: Habits) -> tuple[str, tuple[int, int]]:
    """The input's name and (height, width)."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise Refused(f"{source} has {len(inputs)} inputs; an embedder takes pictures and nothing else")
    kind, dims = inputs[0].type.tensor_type.elem_type, inputs[0].type.tensor_type.shape.dim
    if kind != TensorProto.FLOAT or len(dims) != 4 or dims[1].dim_value not in (0, 3):
        raise Refused(f"{source} does not take float pictures of (N, 3, height, width); export it so")
    size = habits.size or (dims[2].dim_value, dims[3].dim_value)
    if min(size) < 1:
        raise Refused(f"{source} leaves the size of its pictures open; give it with --size HEIGHT WIDTH")
    if any(dim.dim_value not in (0, side) for dim, side in zip(dims[2:], size, strict=True)):
        raise Refused(
            f"{source} takes pictures of {dims[2].dim_value} x {dims[3].dim_value}, not {size[0]} x {size[1]}"
        )
    return inputs[0].name, size


def _output_of(model: onnx.ModelProto, source: Path, habits: Habits) -> str:
    names = [value.name for value in model.graph.output]
    if habits.output is None and len(names) != 1:
        raise Refused(f"{source} has the outputs {', '.join(names)}; name the embedding with --output")
    if habits.output is not None and habits.output not in names:
        raise Refused(f"{source} has no output {habits.output}; it has {', '.join(names)}")
    return habits.output or names[0]


def _wrapped(
    model: onnx.ModelProto, given: str, wanted: str, habits: Habits, height: int, width: int
) -> onnx.ModelProto:
    """uint8 BGR (batch, height, width, 3) -> the graph -> (batch, D) at length one."""
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if {"images", "embedding"} & (taken - {given, wanted}):
        raise Refused("the graph has a tensor called images or embedding inside; rename it")
    for node in graph.node:
        node.input[:] = [
            "vreid_pixels" if name == given else "vreid_raw" if name == wanted else name for name in node.input
        ]
        node.output[:] = ["vreid_raw" if name == wanted else name for name in node.output]
    constants = {
        "vreid_order": np.array([2, 1, 0] if habits.order == "RGB" else [0, 1, 2], np.int64),
        "vreid_mean": _channels(habits.mean, habits.scale),
        "vreid_std": _channels(habits.std, habits.scale),
        "vreid_axis": np.array([1], np.int64),
        "vreid_eps": np.float32(EPS),
    }
    before = [
        helper.make_node("Cast", ["images"], ["vreid_float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["vreid_float"], ["vreid_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Gather", ["vreid_nchw", "vreid_order"], ["vreid_colours"], axis=1),
        helper.make_node("Sub", ["vreid_colours", "vreid_mean"], ["vreid_centred"]),
        helper.make_node("Div", ["vreid_centred", "vreid_std"], ["vreid_pixels"]),
    ]
    after = [
        helper.make_node("Flatten", ["vreid_raw"], ["vreid_flat"], axis=1),
        helper.make_node("Mul", ["vreid_flat", "vreid_flat"], ["vreid_squares"]),
        helper.make_node("ReduceSum", ["vreid_squares", "vreid_axis"], ["vreid_sum"], keepdims=1),
        helper.make_node("Max", ["vreid_sum", "vreid_eps"], ["vreid_least"]),
        helper.make_node("Sqrt", ["vreid_least"], ["vreid_length"]),
        helper.make_node("Div", ["vreid_flat", "vreid_length"], ["embedding"]),
    ]
    nodes = [*before, *graph.node, *after]
    del graph.node[:], graph.input[:], graph.output[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items())
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", height, width, 3]))
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", None]))
    return model


def _channels(values: Triple, scale: float) -> np.ndarray:
    return (np.array(values, np.float32) * np.float32(scale)).reshape(1, 3, 1, 1)
