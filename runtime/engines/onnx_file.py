"""What an ONNX file says of itself, read without the onnx package: opset, stored tensors, nodes, weights kept elsewhere.

Only the few fields that are wanted are read, by the protobuf wire format (protobuf.dev/programming-guides/encoding) and
the field numbers of onnx.proto3; the numbers of the weights are stepped over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vreid.models.errors import Refused

NEWEST_OPSET = 28  # of ONNX 1.23: what is newer may mean anything, and some engines would run it all the same
FLOAT16 = 10  # TensorProto.DataType
ELSEWHERE = 1  # TensorProto.DataLocation.EXTERNAL


@dataclass(frozen=True)
class Node:
    """One operation, and the names that go into it and come out."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class OnnxFile:
    """`stored` are the data types of the initializers by name; `elsewhere` are those whose numbers are in another file."""

    opset: int
    nodes: tuple[Node, ...]
    stored: dict[str, int]
    elsewhere: tuple[str, ...]


def read_onnx_file(path: Path) -> OnnxFile:
    """Raises Refused for what is no ONNX file, for an unknown opset, and for weights in another file: no hash covers those."""
    try:
        found = _model(memoryview(path.read_bytes()))
        if not found.opset:
            raise ValueError("no opset")
    except (IndexError, ValueError) as error:  # UnicodeDecodeError is a ValueError
        raise Refused(f"cannot load {path}: it is no whole ONNX file; export the model again") from error
    if found.elsewhere:
        raise Refused(
            f"{path} keeps its weights ({found.elsewhere[0]} and others) in another file, which its hash does not cover; "
            "export the model again, into one file"
        )
    if found.opset > NEWEST_OPSET:
        raise Refused(
            f"{path} is written in ONNX opset {found.opset} and vreid knows 1 to {NEWEST_OPSET}; export the model again"
        )
    return found


def _model(data: memoryview) -> OnnxFile:
    opset, nodes, stored, elsewhere = 0, [], {}, []
    for number, value in _fields(data):
        if number == 8:  # opset_import; the domain of ONNX itself is empty
            entry = dict(_fields(_block(value)))
            if bytes(_block(entry.get(1, memoryview(b"")))) in (b"", b"ai.onnx"):
                opset = _number(entry.get(2, 0))
        elif number == 7:  # graph
            for kind, part in _fields(_block(value)):
                if kind == 1:  # node
                    nodes.append(_node(_block(part)))
                elif kind == 5:  # initializer
                    tensor = dict(_fields(_block(part)))
                    name = _text(tensor[8]) if 8 in tensor else ""
                    stored[name] = _number(tensor.get(2, 0))
                    if tensor.get(14, 0) == ELSEWHERE:
                        elsewhere.append(name)
    return OnnxFile(opset, tuple(nodes), stored, tuple(elsewhere))


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
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if place + size > len(data):
            raise ValueError("cut short")
        yield tag >> 3, data[place : place + size]
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
