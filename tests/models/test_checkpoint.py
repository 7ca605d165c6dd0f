"""A checkpoint comes back as it was, runs no code, is never half written, and its fingerprint names the embedding."""

import json
import os
import resource
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from vreid.models.checkpoint import (
    Checkpoint,
    fingerprint_of,
    is_classifier,
    load_checkpoint,
    network_from,
    save_checkpoint,
)
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork


def made(classes: int = 5) -> Checkpoint:
    torch.manual_seed(0)
    config = NetworkConfig("resnet18", 32, 48, 8, "gem", classes, {"scale": 0.0625, "last_stride": 2})
    metrics = {"map": 71.5, "dataset": "synthetic", "curve": [1, 2.5]}
    return Checkpoint(config, ReidNetwork(config).state_dict(), metrics, {"epoch": 3, "best": None})


def test_everything_comes_back(tmp_path: Path) -> None:
    stored = made()
    save_checkpoint(stored, tmp_path / "new" / "best.pt")
    again = load_checkpoint(tmp_path / "new" / "best.pt")
    assert (again.config, again.metrics, again.training) == (stored.config, stored.metrics, stored.training)
    assert list(again.weights) == list(stored.weights)
    assert all(torch.equal(again.weights[key], value) for key, value in stored.weights.items())
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["best.pt"]
    assert fingerprint_of(again) == fingerprint_of(stored)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(Refused, match=r"cannot write .*a\.pt; make room"):
            save_checkpoint(made(), tmp_path / "a.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert list(tmp_path.iterdir()) == []


def test_the_classifier_is_kept_only_on_demand() -> None:
    stored = made()
    without, whole = network_from(stored), network_from(stored, classifier=True)
    assert without.head.classifier is None and whole.head.classifier is not None
    assert not without.training
    pixels = torch.randint(0, 256, (2, 32, 48, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(without.embed(pixels), whole.embed(pixels))


def test_a_checkpoint_whose_classifier_was_taken_off_is_refused_where_it_is_needed() -> None:
    stored = made()
    bare = {key: value for key, value in stored.weights.items() if not is_classifier(key)}
    assert network_from(replace(stored, weights=bare)).head.classifier is None
    with pytest.raises(Refused, match=r"without the layer of its 5 vehicles.*; join the two parts by bench/stored"):
        network_from(replace(stored, weights=bare), classifier=True)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"schema": 1, "config": Trap(), "weights": {}, "metrics": {}, "training": None}, tmp_path / "trap.pt")
    with pytest.raises(Refused, match="safely"):
        load_checkpoint(tmp_path / "trap.pt")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused(kept: float, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    save_checkpoint(made(), path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(Refused, match="safely"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [{"weights": {}}, {"schema": 2}, {"schema": 1, "config": {}}, [1, 2]])
def test_another_file_of_torch_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(Refused, match="not a checkpoint of this vreid"):
        load_checkpoint(tmp_path / "other.pt")


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="vreid train"):
        load_checkpoint(tmp_path / "absent.pt")


def test_a_description_with_an_unknown_field_is_refused(tmp_path: Path) -> None:
    save_checkpoint(made(), tmp_path / "best.pt")
    fields = torch.load(tmp_path / "best.pt", weights_only=True)
    fields["config"]["depth"] = 3
    torch.save(fields, tmp_path / "best.pt")
    with pytest.raises(Refused, match="depth"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("body", 5),
        ("body", ["resnet18"]),
        ("height", 0),
        ("height", 10**7),
        ("width", 32.5),
        ("width", "32"),
        ("dim", -3),
        ("dim", True),
        ("classes", "9"),
        ("options", [1]),
    ],
)
def test_a_description_that_no_network_has_is_refused(name: str, value: object, tmp_path: Path) -> None:
    stored = made()
    fields = {**asdict(stored), "schema": 1}
    fields["config"][name] = value
    torch.save(fields, tmp_path / "best.pt")
    with pytest.raises(Refused, match=f"has {name} .*; train it again"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize("fields", [{"weights": [1]}, {"metrics": None}, {"training": 3}])
def test_a_checkpoint_of_other_parts_is_refused(fields: dict[str, object], tmp_path: Path) -> None:
    torch.save({**asdict(made()), "schema": 1, **fields}, tmp_path / "best.pt")
    with pytest.raises(Refused, match="is not a table; train or download"):
        load_checkpoint(tmp_path / "best.pt")


@pytest.mark.parametrize(
    "odd",
    [
        {"a": 1},
        {1: torch.zeros(2)},
        {"a": torch.eye(2).to_sparse()},
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": torch.zeros(2, device="meta")},
        {"a": torch.zeros(1).expand(10**12)},
    ],
)
def test_weights_that_fill_no_layer_are_refused(odd: dict[object, object], tmp_path: Path) -> None:
    torch.save({**asdict(made()), "schema": 1, "weights": odd}, tmp_path / "best.pt")
    with pytest.raises(Refused, match=r"not a state dict; give|dense and real; give other"):
        load_checkpoint(tmp_path / "best.pt")


def test_weights_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    stored = made()
    stored.weights["head.norm.weight"][3] = float("inf")
    save_checkpoint(stored, tmp_path / "best.pt")
    with pytest.raises(Refused, match=r"best\.pt holds NaN or infinite numbers in head\.norm\.weight"):
        load_checkpoint(tmp_path / "best.pt")


def test_weights_that_do_not_fit_their_description_are_refused() -> None:
    stored = made()
    others = [{"scale": "x"}, {"scale": 1e9}, {"scale": float("nan")}, {"inner": 5}]
    configs = [replace(stored.config, options=options) for options in others]
    for config in (*configs, replace(stored.config, dim=9), replace(stored.config, dim=10**9)):
        with pytest.raises(Refused, match="do not fit"):
            network_from(replace(stored, config=config))


def test_the_fingerprint_ignores_the_classifier_and_the_bookkeeping() -> None:
    stored = made()
    mark = fingerprint_of(stored)
    assert len(mark) == 16 and int(mark, 16) >= 0
    others = {**stored.weights, "head.classifier.weight": torch.rand(9, 8)}
    assert fingerprint_of(replace(stored, weights=others, config=replace(stored.config, classes=9))) == mark
    bare = {key: value for key, value in stored.weights.items() if not key.startswith("head.classifier.")}
    assert fingerprint_of(replace(stored, weights=bare, config=replace(stored.config, classes=0))) == mark
    assert fingerprint_of(replace(stored, metrics={}, training=None)) == mark


def test_the_fingerprint_changes_with_every_weight_and_the_description() -> None:
    stored = made(0)
    marks = {fingerprint_of(stored)}
    for key, value in stored.weights.items():
        marks.add(fingerprint_of(replace(stored, weights={**stored.weights, key: value + 1})))
    for change in ({"height": 64}, {"options": {"scale": 0.0625}}):
        marks.add(fingerprint_of(replace(stored, config=replace(stored.config, **change))))
    assert len(marks) == 1 + len(stored.weights) + 2


def test_the_fingerprint_does_not_depend_on_lists_or_tuples() -> None:
    stored = made(0)
    options = json.loads(json.dumps(stored.config.options | {"inner": ((4,), (8,))}))
    as_tuples = replace(stored.config, options=stored.config.options | {"inner": ((4,), (8,))})
    as_lists = replace(stored.config, options=options)
    assert fingerprint_of(replace(stored, config=as_tuples)) == fingerprint_of(replace(stored, config=as_lists))
