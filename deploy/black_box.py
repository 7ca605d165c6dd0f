"""A foreign network from a file as a teacher: any layer of an OpenVINO IR or an ONNX file, run by OpenVINO; needs that extra.

A network that was trained for something else (types, colours, detection) may know vehicles in a layer before its last: its maps
are averaged over height and width, which leaves one number a channel.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from openvino import Model as Graph

from vreid.deploy.model import Model
from vreid.deploy.settings import NetworkInput
from vreid.models.errors import MOST_SIDE, Refused, shown
from vreid.models.files import regular
from vreid.models.manifest import Cost
from vreid.models.preprocess import Floats, Image, resized
from vreid.runtime.engines.openvino import CORE


def black_box(path: Path, wants: NetworkInput, threads: int = 1) -> Model:
    """The network in `path` as an embedder: the layer `wants.output`, or its one output, averaged over height and width.

    The fingerprint is of the file, the layer and the preprocessing. Raises Refused for a file that OpenVINO does not read, a
    network that does not take one float picture N x 3 x H x W, and a layer that is not there or gives no map or vector.
    """
    numbers = (*wants.mean, *wants.std, wants.scale)
    if not np.isfinite(numbers).all() or min(*wants.std, wants.scale) <= 0:
        raise Refused("--mean, --std and --scale are finite numbers, --std and --scale above 0; correct them")
    files = [path, path.with_suffix(".bin")] if path.suffix.lower() == ".xml" else [path]
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(regular(file).read_bytes())
        except OSError as error:
            raise Refused(
                f"cannot read {file} ({error.strerror or error}); give an .xml with its .bin, or an .onnx"
            ) from error
    digest.update(json.dumps(asdict(wants), sort_keys=True).encode())
    try:
        graph = CORE.read_model(path)
    except RuntimeError as error:
        raise Refused(f"OpenVINO cannot load {path} ({_reason(error)}); convert the network again") from error
    height, width = _size(graph, path, wants)
    layer = _layer(graph, path, wants.output)
    settings = {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False, "INFERENCE_PRECISION_HINT": "f32"}
    try:
        cut = Graph([layer], graph.get_parameters(), "teacher")
        cut.reshape([1, 3, height, width])
        request = CORE.compile_model(cut, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise Refused(f"OpenVINO cannot run {path} ({_reason(error)}); convert the network again") from error
    if (axes := len(cut.outputs[0].get_partial_shape())) not in (2, 4):
        raise Refused(
            f"the layer {layer.get_node().get_friendly_name()} gives {axes} axes; choose one of (N, C) or (N, C, H, W)"
        )
    return Model(
        name=path.stem,
        backend="openvino",
        precision="fp32",
        fingerprint=digest.hexdigest()[:16],
        embed=_embed(request, wants, height, width),
        height=height,
        width=width,
        file_bytes=sum(file.stat().st_size for file in files),
        cost=Cost(params=0, macs=0, flops=0),  # of a teacher they are not needed
    )


def _embed(request: Any, wants: NetworkInput, height: int, width: int) -> Any:
    channels = [2, 1, 0] if wants.order == "RGB" else [0, 1, 2]
    mean, std = np.array(wants.mean, np.float32), np.array(wants.std, np.float32)

    def embed(images: Sequence[Image]) -> Floats:
        rows = []
        for image in images:
            pixels = resized(image, height, width)[..., channels].astype(np.float32)
            pixels = (pixels / np.float32(wants.scale) - mean) / std  # (H, W, 3)
            request.infer([np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])])
            found = np.asarray(request.get_output_tensor(0).data, np.float32)[0]
            rows.append(found if found.ndim == 1 else found.mean((1, 2)))
        return np.stack(rows)

    return embed


def _size(graph: Any, path: Path, wants: NetworkInput) -> tuple[int, int]:
    """(height, width) of the one picture that the network takes."""
    ports = [port.get_partial_shape() for port in graph.inputs]
    kinds = [port.get_element_type().get_type_name() for port in graph.inputs]
    if len(ports) != 1 or ports[0].rank.is_dynamic or len(ports[0]) != 4 or kinds[0] not in ("f32", "f16"):
        raise Refused(
            f"{path} does not take one float picture N x 3 x H x W; of a model of vreid give the manifest .json"
        )
    _, channels, *sides = (None if side.is_dynamic else side.get_length() for side in ports[0])
    if channels not in (3, None):
        raise Refused(f"{path} takes {channels} channels, and a picture has 3, before height and width; convert it so")
    given = wants.size or tuple(side or 0 for side in sides)
    if not all(1 <= side <= MOST_SIDE for side in given):
        raise Refused(
            f"{path} leaves the size of its picture open; give it with --size HEIGHT WIDTH, up to {MOST_SIDE}"
        )
    if any(own not in (None, side) for own, side in zip(sides, given, strict=True)):
        raise Refused(
            f"{path} takes pictures of {sides[0]} x {sides[1]}, not {given[0]} x {given[1]}; leave --size out"
        )
    return given[0], given[1]


def _layer(graph: Any, path: Path, name: str | None) -> Any:
    """The output of the layer `name`, by the layer's own name or a tensor's; without a name the network's one output."""
    if name is None:
        if len(graph.outputs) == 1:
            return graph.outputs[0].get_node().input_value(0)
        names = ", ".join(min(port.get_names(), default="?") for port in graph.outputs)
        raise Refused(f"{path} has the outputs {names}; name one of them, or a layer before them, with --output")
    layers = [
        operation for operation in graph.get_ordered_ops() if operation.get_type_name() not in ("Constant", "Result")
    ]
    for operation in layers:
        for port in operation.outputs():
            if name == operation.get_friendly_name() or name in port.get_names():
                return port
    last = ", ".join(operation.get_friendly_name() for operation in layers[-8:])
    raise Refused(f"{path} has no layer {shown(name)}; its last ones are {last}")


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
