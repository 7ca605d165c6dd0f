"""C++ finds the files of kept pictures that Python has written, by the same names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_gallery import features, opened, sighting

from vreid.models.errors import Refused
from vreid.runtime.kept.folder import CLIP, KeptFolder, folder_of_gallery, kept_name

Drive = Callable[[], Any]  # see conftest.py


@pytest.mark.parametrize("seen", [0.0, 1.0005, 951_782_399.9999, 1_790_000_000.123, 9_999_999_999.75])
def test_who_removes_a_vehicle_removes_its_kept_pictures(
    tmp_path: Path, drive: Drive, seen: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The same file in both languages, of every camera that a run may have; others stay."""
    path, cameras = tmp_path / "a.db", ("gate", "old tower", "S\u00fcd", "..", "../b")
    driver, kept = drive(), KeptFolder(folder_of_gallery(path))
    with opened(path) as gallery:
        for vehicle in (1, 2):
            gallery.add_prototype(gallery.add_vehicle(), "gate", features(1, vehicle)[0])
            for camera in cameras:
                gallery.add_sighting(vehicle, sighting(vehicle, camera=camera, track=vehicle, seen=seen or 1e-9), 0.5)
                if camera[0] != ".":
                    kept.write(kept_name(camera, seen, vehicle), b"1")
                    kept.write(kept_name(camera, seen, vehicle, CLIP), b"1")
    (tmp_path / "b").mkdir()
    bystander = KeptFolder(tmp_path)
    bystander.write(kept_name("b", seen, 1), b"mine")
    driver.call("edit", path=str(path))
    driver.call("remove", vehicle=1)
    driver.call("close")
    assert len([file for file in kept.path.rglob("*-1.*") if file.is_file()]) == 0
    assert len([file for file in kept.path.rglob("*-2.*") if file.is_file()]) == 6
    assert (tmp_path / kept_name("b", seen, 1)).is_file()
    with opened(path) as gallery:
        gallery.remove(2)
    assert not any(file.is_file() for file in kept.path.rglob("*"))
    (tmp_path / "a.db.pictures" / kept_name("gate", seen, 3)).mkdir(parents=True)
    (tmp_path / "a.db.pictures" / kept_name("gate", seen, 3) / "x").touch()
    with opened(path) as gallery:
        three = gallery.add_vehicle()
        gallery.add_sighting(three, sighting(3, track=3, seen=seen or 1e-9), 0.5)
    driver.call("edit", path=str(path))
    with pytest.raises(Refused, match=r"cannot remove the kept picture .*make its folder writable"):
        driver.call("remove", vehicle=three)
    driver.call("close")
    with opened(path) as gallery:
        assert gallery.vehicles() == []  # as in Python, it is removed all the same
        four = gallery.add_vehicle()
        gallery.add_sighting(four, sighting(3, track=3, seen=seen or 1e-9), 0.5)
        gallery.remove(four)
    assert "cannot remove the kept picture" in caplog.text


def test_kept_pictures_stay_where_the_removal_is_taken_back(tmp_path: Path, drive: Drive) -> None:
    path = tmp_path / "a.db"
    driver, kept = drive(), KeptFolder(folder_of_gallery(path))
    with opened(path) as gallery:
        gallery.add_sighting(gallery.add_vehicle(), sighting(1, track=1, seen=100.0), 0.5)
    kept.write(kept_name("gate", 100.0, 1), b"1")
    driver.call("edit", path=str(path))
    removal = {"do": "remove", "vehicle": 1}
    assert driver.call("transaction", steps=[removal], fail=True) == "undone"
    assert (kept.path / kept_name("gate", 100.0, 1)).is_file()
    inner = {"do": "transaction", "steps": [removal]}
    assert driver.call("transaction", steps=[inner], fail=True) == "undone"
    assert (kept.path / kept_name("gate", 100.0, 1)).is_file()
    driver.call("transaction", steps=[inner])
    assert not (kept.path / kept_name("gate", 100.0, 1)).exists()
