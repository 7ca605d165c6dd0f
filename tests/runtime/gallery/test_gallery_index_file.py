"""A file of an index is believed only when it fits its gallery, and is built anew from it otherwise."""

import logging
import shutil
from functools import partial
from pathlib import Path

import made_gallery
import pytest
from made_gallery import IN_A_FILE, answers, compared, enrolled, sql

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.index import sync, vehicle_index
from vreid.runtime.gallery.requests import Remove
from vreid.runtime.gallery_place import GalleryPlace, path_of

opened = partial(made_gallery.opened, max_prototypes=4, merge_above=0.7)

STORED = ["hnsw", "ivf?train=60", "ivfpq?train=256&code=4"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes are kept from 100 prototypes on."""
    monkeypatch.setattr(vehicle_index, "LEAST_KEPT", 100)


def file_of(path: Path, index: str) -> Path:
    return path.with_name(f"{path.name}.{index.partition('?')[0]}.index")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("index", STORED)
def test_an_index_is_loaded_from_its_file_and_caught_up(
    place: GalleryPlace, index: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = path_of(place)

    def files() -> set[str]:
        return {one.name for one in path.parent.iterdir()} - {path.name}

    with opened(place) as gallery:
        vehicles = enrolled(gallery, 400, 0)
    before = files()  # the flat index has none
    with opened(place, write=False, index=index) as reader:
        answers(reader)
    assert files() - before == {file_of(path, index).name} and not any(path.name in name for name in before)
    with opened(place) as gallery:
        gallery.remove(vehicles[1])
        enrolled(gallery, 3, 5)
    monkeypatch.setattr(sync, "filled", lambda *_: pytest.fail("filled anew"))
    with opened(place, write=False, index=index) as reader:
        found, true = answers(reader), compared(reader)
        same = sum(len({*approximate} & {*exact}) for approximate, exact in zip(found, true, strict=True))
        assert same >= 0.9 * 5 * len(found)
        assert all(vehicle != vehicles[1] for best in found for vehicle, _ in best)
    assert not caplog.records


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("harm", ["cut", "byte", "empty", "text", "folder", "other gallery", "older copy", "lost rows"])
def test_a_file_that_does_not_fit_is_built_anew_with_one_warning(
    tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = tmp_path / "g.db", tmp_path / "other.db"
    for one, seed in ((path, 0), (other, 1)):
        with opened(one, index="hnsw") as gallery:
            enrolled(gallery, 200, seed)
            answers(gallery)
    file, whole = file_of(path, "hnsw"), file_of(path, "hnsw").read_bytes()
    if harm == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif harm == "byte":
        file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    elif harm in ("empty", "text"):
        file.write_bytes(b"" if harm == "empty" else b"an index, in words. " * 100)
    elif harm == "folder":
        file.unlink()
        file.mkdir()
    elif harm == "other gallery":
        shutil.copy(file_of(other, "hnsw"), file)
    elif harm == "older copy":  # which then went another way, as far as the one that the index was made of
        before = tmp_path / "before.db"
        shutil.copy(path, before)
        with opened(path, index="hnsw") as gallery:
            enrolled(gallery, 1100, 7)
            answers(gallery)
        assert file.read_bytes() != whole
        shutil.copy(before, path)
        with opened(path) as gallery:
            enrolled(gallery, 1200, 8)
    else:
        sql(path, "DROP TRIGGER prototype_old", foreign_keys=False)
        sql(path, "DELETE FROM prototypes WHERE id % 3 = 0", foreign_keys=False)
    with opened(path, write=False, index="hnsw") as reader:
        found, true = answers(reader), compared(reader)
        assert sum(len({*o} & {*t}) for o, t in zip(found, true, strict=True)) >= 0.9 * 5 * len(found)
    if harm == "folder":
        return
    assert len([one for one in caplog.records if one.levelno == logging.WARNING]) == 1
    assert "built anew" in caplog.text
    caplog.clear()
    with opened(path, write=False, index="hnsw") as reader:  # and the file is repaired
        assert answers(reader) == found
    assert not caplog.records
    assert not [*tmp_path.glob("*.new")]


@pytest.mark.usefixtures("small")
def test_a_file_is_written_again_on_closing_when_the_index_has_moved_on_a_lot(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    with opened(path, index="hnsw") as gallery:
        enrolled(gallery, 200, 0)
        answers(gallery)
        before = file_of(path, "hnsw").read_bytes()
        enrolled(gallery, 50, 1)
        answers(gallery)
    assert file_of(path, "hnsw").read_bytes() == before
    with opened(path, index="hnsw") as gallery:
        enrolled(gallery, 1100, 2)
        answers(gallery)
        assert file_of(path, "hnsw").read_bytes() == before
    assert len(file_of(path, "hnsw").read_bytes()) > 4 * len(before)
    with opened(path, index="hnsw") as gallery, pytest.raises(KeyError), gallery.transaction():
        enrolled(gallery, 1500, 3)
        answers(gallery)
        raise KeyError  # what is undone is in no file
    with opened(path, index="hnsw") as gallery:
        assert len(answers(gallery, 9999)[0]) == 1350


def test_what_cannot_be_opened_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not take"):
        opened(tmp_path / "g.db", index="ivf?lists=3")
    assert not [*tmp_path.iterdir()]
    opened(tmp_path / "g.db").close()
    with pytest.raises(Refused, match="there is no index"):
        read_gallery(tmp_path / "g.db", "magic")


@IN_A_FILE
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("index", STORED)
def test_an_index_that_was_made_before_a_removal_is_not_written_after_it(place: GalleryPlace, index: str) -> None:
    path = path_of(place)
    with opened(place, index=index) as gallery:
        gone, *_ = enrolled(gallery, 400, 0)
        [prototype] = gallery.prototypes(gone)
        answers(gallery)
        assert any(prototype.feature.tobytes() in file.read_bytes() for file in path.parent.iterdir())
        Remove(vehicle=f"id={gone}").apply(gallery)
        enrolled(gallery, 1200, 5)
        answers(gallery)  # it has caught up with so many that it is worth a file
    assert not any(prototype.feature.tobytes() in file.read_bytes() for file in path.parent.iterdir())
    with opened(place, index=index) as gallery:
        answers(gallery)
    assert file_of(path, index).is_file()
