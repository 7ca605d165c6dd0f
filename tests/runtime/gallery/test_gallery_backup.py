"""A backup is the gallery of one moment while somebody writes, complete or not there, and a gallery like any other."""

import threading
from pathlib import Path

import pytest
from made_gallery import anew, answers, enrolled, features, opened, sighted, sighting

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.gallery.maintenance import backed_up
from vreid.runtime.gallery.sqlite import check


def test_a_backup_is_of_one_moment_while_somebody_writes(tmp_path: Path) -> None:
    path, enough = tmp_path / "known.db", threading.Event()
    opened(path).close()

    def write() -> None:
        number = 0
        with edit_gallery(path) as gallery:
            while not enough.is_set():
                with gallery.transaction():  # a vehicle and its sighting are there together
                    sighted(gallery, gallery.add_vehicle(f"car {number}"), sighting(number, seen=100.0 + number))
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts = []
        for copy in (tmp_path / f"copy {number}.db" for number in range(5)):
            done = backed_up(path, copy)
            counts.append(done.vehicles)
            with read_gallery(copy) as gallery:
                found = gallery.stats()
            assert (found.vehicles, found.prototypes, found.sightings) == (done.vehicles,) * 3
            assert check.check_gallery(copy) == []
    finally:
        enough.set()
        writer.join()
    assert counts == sorted(counts)
    assert sorted(one.name for one in tmp_path.iterdir() if one.suffix == ".db") == [
        *(f"copy {number}.db" for number in range(5)), "known.db"
    ]  # fmt: skip


def test_what_was_restored_goes_on(tmp_path: Path) -> None:
    path, copy = tmp_path / "known.db", tmp_path / "copy.db"
    with opened(path) as gallery:
        first = enrolled(gallery, 20, 1)
        before = answers(gallery)
        assert backed_up(path, copy).vehicles == 20  # while it is open for writing
        gallery.remove(first[3])
        enrolled(gallery, 5, 2)
    for file in tmp_path.glob("known.db*"):
        file.rename(tmp_path / f"old-{file.name}")
    copy.rename(path)
    assert anew(path) == before
    with opened(path) as gallery:
        new = gallery.add_vehicle("later")
        gallery.add_prototype(new, "front", features(1, 9)[0])
        assert new == 21 and gallery.search(features(1, 9), 1)[0][0].vehicle == 21


def test_a_backup_that_cannot_be_made_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "known.db"
    opened(path).close()
    before = sorted(one.name for one in tmp_path.iterdir())
    with pytest.raises(Refused, match="is there already"):
        backed_up(path, path)
    with pytest.raises(Refused, match="there is no folder"):
        backed_up(path, tmp_path / "nowhere" / "copy.db")
    with pytest.raises(Refused, match="there is no gallery"):
        backed_up(tmp_path / "nobody.db", tmp_path / "copy.db")
    assert sorted(one.name for one in tmp_path.iterdir()) == before
    assert main(["gallery", "backup", str(tmp_path / "copy.db"), "--gallery", str(path)]) == 0
    assert "0 vehicles with 0 sightings are in" in capsys.readouterr().out
    assert main(["gallery", "backup", str(tmp_path / "copy.db"), "--gallery", str(path)]) == 2
