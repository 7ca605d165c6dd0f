"""The manifest says exactly what it says: anything unknown, missing, changed or out of its folder is refused."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import (
    Accuracy,
    Cost,
    Input,
    Manifest,
    Match,
    Output,
    read_manifest,
    read_model,
    write_manifest,
)

Fields = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A manifest next to its engine."""
    engine = tmp_path / "student.onnx"
    engine.write_bytes(b"an engine" * 200_000)  # more than one block of the hash
    manifest = Manifest(
        name="student",
        engine=engine.name,
        sha256=sha256_of(engine),
        backend="onnxruntime",
        precision="fp32",
        input=Input(height=256, width=256, batch=[1, 8, 32]),
        output=Output(dim=512),
        cost=Cost(params=10, macs=20, flops=40),
        accuracy=Accuracy(dataset="synthetic", map=71.25, rank1=90.0, queries=100),
        match=Match(threshold=0.5, false_match_rate=0.01, gallery=50),
        fingerprint="0123456789abcdef",
        built_for={"device": "cpu"},
        made_from="0" * 64,
    )
    write_manifest(manifest, tmp_path / "student.json")
    return tmp_path / "student.json"


def fields_of(path: Path) -> Fields:
    fields: Fields = json.loads(path.read_text())
    return fields


def changed(path: Path, change: Callable[[Fields], object]) -> Path:
    fields = copy.deepcopy(fields_of(path))
    change(fields)
    path.write_text(json.dumps(fields))
    return path


def test_it_comes_back_as_it_was_written(path: Path) -> None:
    manifest = read_manifest(path)
    assert manifest.input.batch == [1, 8, 32] and manifest.accuracy is not None and manifest.match is not None
    again = path.with_name("again.json")
    write_manifest(manifest, again)
    assert read_manifest(again) == manifest
    assert again.read_text() == path.read_text()
    assert sorted(file.name for file in path.parent.iterdir()) == ["again.json", "student.json", "student.onnx"]


def test_the_file_is_the_contract_of_the_design(path: Path) -> None:
    fields = fields_of(path)
    assert list(fields) == [
        "schema",
        "name",
        "engine",
        "sha256",
        "backend",
        "precision",
        "input",
        "output",
        "cost",
        "accuracy",
        "match",
        "calibration",
        "fingerprint",
        "built_for",
        "made_from",
    ]
    assert fields["schema"] == 1
    assert fields["input"] == {
        "name": "images",
        "dtype": "uint8",
        "layout": "NHWC",
        "order": "BGR",
        "height": 256,
        "width": 256,
        "resize": "bilinear",
        "keep_aspect": False,
        "batch": [1, 8, 32],
    }
    assert fields["output"] == {"name": "embedding", "dim": 512, "normalized": True, "metric": "cosine"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.update(mean=[0.5]), "mean"),
        (lambda f: f["input"].update(mean=[0.5]), "input.mean"),
        (lambda f: f.pop("fingerprint"), "fingerprint"),
        (lambda f: f.update(schema=2), "schema 2"),
        (lambda f: f.pop("schema"), "schema None"),
        (lambda f: f["input"].update(dtype="float32"), "input.dtype"),
        (lambda f: f["input"].update(layout="NCHW"), "input.layout"),
        (lambda f: f["input"].update(keep_aspect=True), "input.keep_aspect"),
        (lambda f: f["input"].update(height="256"), "input.height"),
        (lambda f: f["input"].update(height=0), "input.height"),
        (lambda f: f["input"].update(batch=[1, 8]), "input.batch"),
        (lambda f: f["input"].update(batch=[8, 1, 32]), "input.batch"),
        (lambda f: f["output"].update(normalized=False), "output.normalized"),
        (lambda f: f["accuracy"].update(map=101.0), "accuracy.map"),
        (lambda f: f["accuracy"].update(map=float("nan")), "accuracy.map"),
        (lambda f: f["match"].update(threshold=2.0), "match.threshold"),
        (lambda f: f.update(sha256="abc"), "sha256"),
        (lambda f: f.update(precision="int4"), "precision"),
        (lambda f: f.update(engine=""), "engine"),
    ],
)
def test_a_wrong_field_is_refused_by_name(path: Path, change: Callable[[Fields], object], said: str) -> None:
    with pytest.raises(Refused, match=said.replace(".", r"\.")):
        read_manifest(changed(path, change))


@pytest.mark.parametrize("name", ["../student.onnx", "/etc/passwd", "a/b.onnx", "..\\student.onnx", ".", ".."])
def test_an_engine_elsewhere_is_refused(path: Path, name: str) -> None:
    with pytest.raises(Refused, match="engine"):
        read_manifest(changed(path, lambda fields: fields.update(engine=name)))


@pytest.mark.parametrize("place", [0, 1_000_000, -1])
def test_one_changed_byte_of_the_engine_is_noticed(path: Path, place: int) -> None:
    engine = path.with_name("student.onnx")
    content = bytearray(engine.read_bytes())
    content[place] ^= 1
    engine.write_bytes(content)
    with pytest.raises(Refused, match="sha256 differs"):
        read_manifest(path)


def test_a_missing_engine_or_manifest_is_refused(path: Path) -> None:
    path.with_name("student.onnx").unlink()
    with pytest.raises(Refused, match="not in the same folder"):
        read_manifest(path)
    with pytest.raises(Refused, match="vreid export"):
        read_manifest(path.with_name("absent.json"))


def test_the_bytes_that_were_hashed_are_handed_on(path: Path) -> None:
    engine = path.with_name("student.onnx")
    before = engine.read_bytes()
    manifest, file = read_model(path)
    engine.write_bytes(b"swapped")
    assert file.data == before and manifest == Manifest.model_validate_json(path.read_text()) and file.path == engine


DEEP = 100_000


@pytest.mark.parametrize(
    "content",
    [
        "[" * DEEP + "]" * DEEP,
        '{"schema": 1, "name": ' + "[" * DEEP + "]" * DEEP + "}",
        '{"schema": ' + '{"a":' * DEEP + "1" + "}" * DEEP + "}",
        *('{"schema": ' + "[" * depth + "]" * depth + "}" for depth in (150, 300, 600, 800, 900, 950, 980)),
        *('{"schema": 1, "name": ' + "[" * depth + "]" * depth + "}" for depth in (150, 300, 600, 800, 900, 950, 980)),
        '{"schema": 1, "schema": 1}',
        '{"schema": 1, "a\\nb\\u001b[31m": 1}',
        '{"schema": "' + "9" * 10_000 + '"}',
        '{"schema": ' + "9" * 10_000 + "}",
        '{"schema": 1, "name": ' + "9" * 10_000 + "}",
        '{"schema": 1, "name": "\\ud800"}',
        '{"schema": 1e400}',
        " " * (17 << 20),
    ],
)
def test_json_that_is_an_attack_is_refused_in_one_line(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(Refused) as refusal:
        read_manifest(path)
    said = str(refusal.value)
    assert said.isprintable() and len(said) < 300 + len(str(path)) and "student.json" in said


@pytest.mark.parametrize("place", ["schema", "engine", "sha256", "input", "height"])
def test_a_key_that_is_there_twice_is_refused_by_name(path: Path, place: str) -> None:
    text = path.read_text()
    at = text.index(f'"{place}"')
    path.write_text(f'{text[:at]}"{place}": 1, {text[at:]}')
    with pytest.raises(Refused, match=f"the key '{place}' is there twice"):
        read_manifest(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"schema"'])
def test_a_file_that_is_no_manifest_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(Refused, match=r"student\.json"):
        read_manifest(path)
