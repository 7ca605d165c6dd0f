"""The reader of ONNX files sees what the onnx package sees, and weights in another file wherever the schema has a tensor."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

import onnx

from vreid.models.errors import Refused
from vreid.models.zoo import ZOO
from vreid.runtime.engines.onnx_file import FLOAT16, PARTS, onnx_from

Steps = tuple[str, ...]


def ways_to_tensors(most: int = 9) -> Iterator[Steps]:
    """Names of fields from ModelProto to a TensorProto, by the onnx package's own schema; no message more than three times."""

    def below(message: Any, path: Steps, seen: tuple[str, ...]) -> Iterator[Steps]:
        for field in message.fields:
            inner = field.message_type
            if inner is None or seen.count(inner.name) > 2 or len(path) == most:
                continue
            if inner.name == "TensorProto":
                yield (*path, field.name)
            else:
                yield from below(inner, (*path, field.name), (*seen, inner.name))

    yield from below(onnx.ModelProto.DESCRIPTOR, (), ())


def sound() -> Any:
    model = onnx.ModelProto(ir_version=10)
    model.opset_import.add(version=18)
    return model


def reached(model: Any, way: Steps) -> Any:
    """The tensor at `way`, made with all that is on the way to it."""
    message = model
    for name in way:
        field = message.DESCRIPTOR.fields_by_name[name]
        message = getattr(message, name)
        if isinstance(message, (onnx.ModelProto, onnx.GraphProto)) or not hasattr(message, "add"):
            message.SetInParent()
        else:
            message = message.add()
        assert field.message_type is not None
    return message


def test_every_way_to_a_tensor_is_walked() -> None:
    ways = list(ways_to_tensors())
    assert len(ways) > 100
    for way in ways:
        model = sound()
        tensor = reached(model, way)
        tensor.name = "inside"
        onnx_from(model.SerializeToString(), Path("a.onnx"))
        tensor.data_location = onnx.TensorProto.EXTERNAL
        with pytest.raises(Refused, match=r"keeps its weights \(inside .* in another file"):
            onnx_from(model.SerializeToString(), Path("a.onnx"))
        tensor.ClearField("data_location")
        tensor.external_data.add(key="location", value="a.bin")
        with pytest.raises(Refused, match="in another file"):
            onnx_from(model.SerializeToString(), Path("a.onnx"))


def test_the_schema_has_no_other_messages_with_tensors() -> None:
    """A newer onnx package with a new place for tensors fails here."""
    found = {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    holds: dict[str, bool] = {"TensorProto": True}

    def has(message: Any, seen: tuple[str, ...] = ()) -> bool:
        if message.name not in holds and message.name not in seen:
            inside = [field.message_type for field in message.fields if field.message_type is not None]
            holds[message.name] = any([has(one, (*seen, message.name)) for one in inside])
        return holds.get(message.name, False)

    while waiting:
        message = waiting.pop()
        if message.name in found or message.name == "TensorProto":
            continue
        inner = {field.number: field.message_type for field in message.fields if field.message_type is not None}
        found[message.name] = {number: one.name for number, one in inner.items() if has(one)}
        waiting += [one for one in inner.values() if has(one)]
    assert found == PARTS


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize(
    "location", [varint(1), varint(1 + (1 << 32)), b"\x81\x80\x00", varint(2), varint(1) + b"\x70\x00"]
)
@pytest.mark.parametrize("tag", [b"\x70", b"\xf0\x00", varint(0x70 + (1 << 32))])
def test_other_spellings_of_the_same_field_are_found(location: bytes, tag: bytes) -> None:
    """Protobuf keeps 32 bits of a tag and of an enumeration, and the last of several."""
    tensor = b"\x42\x01w" + tag + location  # field 8: the name, field 14: where the numbers are
    graph = b"\x2a" + varint(len(tensor)) + tensor
    model = b"\x08\x0a\x42\x02\x10\x12\x3a" + varint(len(graph)) + graph
    with pytest.raises(Refused, match="in another file"):
        onnx_from(model, Path("a.onnx"))


def test_a_node_for_a_compiled_engine_is_refused() -> None:
    model = sound()
    branch = model.graph.node.add(op_type="If").attribute.add(name="then_branch").g
    branch.node.add(op_type="EPContext", domain="com.microsoft")
    with pytest.raises(Refused, match="compiled engine"):
        onnx_from(model.SerializeToString(), Path("a.onnx"))


def test_graphs_may_nest_deeper_than_python_recurses() -> None:
    inner = b""
    for _ in range(3000):  # a graph in an attribute of a node of a graph
        for tag in (b"\x32", b"\x2a", b"\x0a"):
            inner = tag + varint(len(inner)) + inner
    data = b"\x08\x0a\x42\x02\x10\x12\x3a" + varint(len(inner)) + inner
    assert onnx_from(data, Path("a.onnx")).opset == 18


def test_an_onnx_file_says_what_the_onnx_package_says() -> None:
    path = ZOO / "vreid-s.onnx"
    found, model = onnx_from(path.read_bytes(), path), onnx.load(str(path))
    assert found.opset == model.opset_import[0].version
    assert found.stored == {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert FLOAT16 in found.stored.values() and FLOAT16 == onnx.TensorProto.FLOAT16
    assert [(node.kind, node.inputs, node.outputs) for node in found.nodes] == [
        (node.op_type, tuple(node.input), tuple(node.output)) for node in model.graph.node
    ]


def test_any_bytes_are_a_file_or_refused(tiny_model: Path) -> None:
    """Cut anywhere, or with a byte changed: never anything but Refused."""
    whole = tiny_model.with_name("colour.onnx").read_bytes()
    random = np.random.default_rng(0)
    refused = 0
    for turn in range(300):
        content = bytearray(whole[: int(random.integers(len(whole)))] if turn % 2 else whole)
        for place in random.integers(0, max(1, len(content)), turn % 5):
            content[place : place + 1] = bytes([int(random.integers(256))])
        try:
            onnx_from(bytes(content), tiny_model)
        except Refused:
            refused += 1
    assert refused > 150
