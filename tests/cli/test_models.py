"""`vreid models`: every bundled model with its cost."""

import json

import pytest

from vreid.cli.main import main
from vreid.models.manifest import read_manifest
from vreid.models.zoo import bundled


def test_every_bundled_model_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    names = [read_manifest(path).name for path in bundled().values()]
    assert {"vreid-m", "vreid-n", "vreid-s"} <= set(names)
    assert main(["models", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert [model["name"] for model in listed] == names and all(model["cost"]["macs"] > 0 for model in listed)
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in names) and "160 x 160" in printed
