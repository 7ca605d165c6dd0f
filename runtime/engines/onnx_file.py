"""What an ONNX file contains, read without the onnx package: opset, nodes, stored tensors, weights in other files.

Only the few fields that are wanted are read, by the protobuf wire format (protobuf.dev/programming-guides/encoding) and
the field numbers of onnx.proto3; the numbers of the weights are stepped over. Tensors are looked for wherever that schema
has any: tests/runtime/engines/test_onnx_file.py compares `PARTS` with the onnx package's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vreid.models.errors import Refused

NEWEST_OPSET = 28  # of ONNX 1.23: what is newer may mean anything, and some engines would run it all the same
FLOAT16 = 10  # TensorProto.DataType
# message -> {field number: the message in it}, of every message through which a tensor is reached
PARTS = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
}
OWN = (("ModelProto", 7), ("GraphProto", 1), ("GraphProto", 5))  # what is in the graph itself
COMPILED = "EPContext"  # ONNX Runtime's node for a compiled engine, which may lie in another file


@dataclass(frozen=True)
class Node:
    """One operation, and the names that go into it and come out."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxFile:
    """`nodes` and `stored` (data types of the initializers by name) are of the graph itself. `elsewhere` are the tensors,
    anywhere in the file, whose numbers are in another file; `compiled` is whether there is a node for a compiled engine."""

    opset: int
    nodes: tuple[Node, ...]
    stored: dict[str, int]
    elsewhere: tuple[str, ...]
    compiled: bool


def onnx_from(data: bytes, path: Path) -> OnnxFile:
    """Of the bytes of the file at `path`, which is for messages only.

    Raises Refused for what is not an ONNX file, for an unknown opset, and for what a hash of these bytes does not cover: weights
    in another file, and compiled engines.
    """
    try:
        found = _model(memoryview(data))
        if not found.opset:
            raise ValueError("no opset")
    except (IndexError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise Refused(f"cannot load {path}: it is not a complete ONNX file; export the model again") from error
    if found.elsewhere:
        raise Refused(
            f"{path} keeps its weights ({found.elsewhere[0]} and others) in another file, which its hash does not cover; "
            "export the model again, into one file"
        )
    if found.compiled:
        raise Refused(
            f"{path} has a node {COMPILED}, a compiled engine that may be in another file; give the ONNX it was made from"
        )
    if found.opset > NEWEST_OPSET:
        raise Refused(
            f"{path} is written in ONNX opset {found.opset} and vreid knows 1 to {NEWEST_OPSET}; export the model again"
        )
    return found


def _model(data: memoryview) -> OnnxFile:
    opset, nodes, stored, elsewhere, compiled = 0, [], {}, [], False
    waiting = [("ModelProto", data, True)]  # a list and no recursion, since graphs nest
    while waiting:
        message, block, own = waiting.pop()
        if message == "TensorProto":
            name, kind, external = _tensor(block)
            if external:
                elsewhere.append(name)
            if own:
                stored[name] = kind
            continue
        if message == "NodeProto":
            node = _node(block)
            compiled = compiled or node.kind == COMPILED
            if own:
                nodes.append(node)
        inner = []
        for number, value in _fields(block):
            if number in PARTS[message]:
                inner.append((PARTS[message][number], _block(value), own and (message, number) in OWN))
            elif message == "ModelProto" and number == 8:  # opset_import
                opset = _opset(_block(value)) or opset
        waiting.extend(reversed(inner))
    return OnnxFile(opset, tuple(nodes), stored, tuple(elsewhere), compiled)


def _opset(data: memoryview) -> int:
    """The version of ONNX's own operators, whose domain is empty; 0 for other domains."""
    entry = dict(_fields(data))
    return _number(entry.get(2, 0)) if bytes(_block(entry.get(1, memoryview(b"")))) in (b"", b"ai.onnx") else 0


def _tensor(data: memoryview) -> tuple[str, int, bool]:
    """Its name, its data type, and whether its numbers are in another file: data_location is set, or external_data is there."""
    name, kind, external = "", 0, False
    for number, value in _fields(data):
        if number == 8:
            name = _text(value)
        elif number == 2:
            kind = _number(value)
        elif number == 13 or (number == 14 and _number(value) != 0):
            external = True
    return name or "a constant", kind, external


def _node(data: memoryview) -> Node:
    fields = list(_fields(data))
    kind = next((_text(value) for number, value in fields if number == 4), "")
    inputs, outputs = (tuple(_text(value) for number, value in fields if number == wanted) for wanted in (1, 2))
    return Node(kind, inputs, outputs)


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, number or bytes) of one message; ValueError or IndexError where it breaks off."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        number = (tag & 0xFFFFFFFF) >> 3  # protobuf keeps 32 bits of a tag
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > len(data):
            raise ValueError("cut short")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _block(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _number(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message where a number should be")
    return value


def _text(value: int | memoryview) -> str:
    return str(_block(value), "utf-8")
