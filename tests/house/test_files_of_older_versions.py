"""What earlier commits wrote is still read: gallery, checkpoint and teacher cache of tests/data/written-by-earlier-commits."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vreid.models.manifest import read_manifest
from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.gallery.gallery import Gallery


@pytest.fixture
def written(root: Path, tmp_path: Path) -> Path:
    """A copy of the files, to be opened for writing."""
    return Path(shutil.copytree(root / "tests" / "data" / "written-by-earlier-commits", tmp_path / "written"))


@pytest.mark.parametrize("opened", [read_gallery, edit_gallery])
def test_the_gallery_opens_with_all_its_vehicles(written: Path, opened: Callable[[Path], Gallery]) -> None:
    with opened(written / "gallery.db") as gallery:
        stats = gallery.stats()
    assert (stats.vehicles, stats.prototypes, stats.sightings) == (16, 16, 10)


def test_the_checkpoint_is_a_network(written: Path) -> None:
    pytest.importorskip("torch")
    from vreid.models.checkpoint import load_checkpoint, network_from

    best = load_checkpoint(written / "training" / "best.pt")
    assert (best.config.body, best.config.classes) == ("resnet18", 6)
    network_from(best)


def test_the_manifest_is_read(root: Path) -> None:
    assert read_manifest(root / "tests" / "data" / "colour" / "colour.json").name == "colour"
