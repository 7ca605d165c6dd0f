"""The golden manifests, which the native reader reads too: accepted and refused in the same cases, with the same field."""

import json
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "manifests"
INDEX = json.loads((GOLDEN / "index.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("one", INDEX, ids=lambda one: one["file"])
def test_a_golden_manifest(one: dict[str, str | None]) -> None:
    path, refused = GOLDEN / str(one["file"]), one["refused"]
    if refused is None:
        assert read_manifest(path).name
        return
    with pytest.raises(Refused) as refusal:
        read_manifest(path)
    assert refused in str(refusal.value)


def test_every_golden_file_is_in_the_index() -> None:
    named = {str(one["file"]) for one in INDEX}
    assert named == {file.name for file in GOLDEN.glob("*.json")} - {"index.json"}
