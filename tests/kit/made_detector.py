"""Detectors made for tests: ONNX graphs that give a fixed answer to every picture, or the box around what is white."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]


def constant_graph(
    path: Path,
    answers: Mapping[str, Array],
    height: int = 64,
    width: int = 64,
    *,
    batch: int | str = 1,
    names: str = "",
    sizes: bool = False,
) -> Path:
    """A network that takes (batch, 3, height, width) and gives `answers`, each (1, ...), to every picture.

    `names`: its metadata entry of that name; `sizes`: it takes the pictures' sizes (batch, 2) int64 as well. With an open batch
    (a text) the answers are repeated for each picture.
    """
    onnx = pytest.importorskip("onnx")
    make, types = onnx.helper, onnx.TensorProto
    inputs = [make.make_tensor_value_info("images", types.FLOAT, [batch, 3, height, width])]
    if sizes:
        inputs.append(make.make_tensor_value_info("orig_target_sizes", types.INT64, [batch, 2]))
    nodes, outputs, constants = [], [], {}
    for number, (name, answer) in enumerate(answers.items()):
        constants[f"answer_{number}"] = answer
        kind = onnx.helper.np_dtype_to_tensor_dtype(answer.dtype)
        if isinstance(batch, str):
            constants[f"rest_{number}"] = np.ones(answer.ndim - 1, np.int64)
            nodes += [
                make.make_node("Shape", ["images"], [f"count_{number}"], start=0, end=1),
                make.make_node("Concat", [f"count_{number}", f"rest_{number}"], [f"times_{number}"], axis=0),
                make.make_node("Tile", [f"answer_{number}", f"times_{number}"], [name]),
            ]
            outputs.append(make.make_tensor_value_info(name, kind, [batch, *answer.shape[1:]]))
        else:
            nodes.append(make.make_node("Identity", [f"answer_{number}"], [name]))
            outputs.append(make.make_tensor_value_info(name, kind, list(answer.shape)))
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = make.make_graph(nodes, "made", inputs, outputs, initial)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    if names:
        onnx.helper.set_model_props(model, {"names": names})
    onnx.save(model, path)
    return path
