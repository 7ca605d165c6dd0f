"""A gallery with an outbox in C++: what it writes there is in the outbox too, and what it removes is not sent."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from made_gallery import DIM, features, opened, sql

from vreid.runtime.gallery.maintenance import check_gallery


def test_what_cpp_writes_and_removes_is_in_the_outbox(tmp_path: Path, drive: Callable[[], Any]) -> None:
    path, driver = tmp_path / "g.db", drive()
    with opened(path) as gallery, gallery.transaction() as store:
        assert store.outbox(make=True) is not None
        gallery.add_vehicle("taxi")
    driver.call("open", path=str(path), fingerprint="aaaaaaaa", dim=DIM, model="small", write=True)
    assert driver.call("find", text="taxi") == 1
    for track in (1, 2):
        seen = {
            "camera": "門 1",
            "track": track,
            "feature": features(1, track)[0].tolist(),
            "quality": 0.5,
            "seen": 1.7e9,
        }
        driver.call("sighting", vehicle=1, **seen, score=0.5, picture=[40, 60])
    driver.call("vehicle", name="bus")
    driver.call("sighting", vehicle=2, **seen, score=0.5)
    driver.call("remove", vehicle=2)
    driver.call("close")
    assert check_gallery(path) == []
    with opened(path, write=False) as gallery, gallery.reading() as store:
        outbox = store.outbox()
        assert outbox is not None
        waiting = [(one.what, one.vehicle, one.row and one.row.camera) for one in outbox.messages(9)]
        assert waiting[:2] == [("sighting", 1, "門 1")] * 2 and outbox.sizes().pictures == 2
        assert waiting[2:] == [("removed", 2, None)]


def test_cpp_gives_no_number_again_after_a_backup_was_put_back(tmp_path: Path, drive: Callable[[], Any]) -> None:
    path, backup, driver, given = tmp_path / "g.db", tmp_path / "backup.db", drive(), []
    with opened(path) as gallery, gallery.transaction() as store:
        assert store.outbox(make=True) is not None
        gallery.add_vehicle("taxi")
    shutil.copy(path, backup)
    for put_back in (False, True, False):
        if put_back:
            shutil.copy(backup, path)
        driver.call("edit", path=str(path))
        driver.call("remove", vehicle=driver.call("vehicle", name="bus"))
        driver.call("close")
        with opened(path, write=False) as gallery, gallery.reading() as store:
            outbox = store.outbox()
            assert outbox is not None
            given.append([(one.vehicle, one.vehicle_number) for one in outbox.messages(9)])
    assert [vehicle for vehicle, _ in given[0] + given[2]] == [2, 2, 3] and given[1] == given[2][:1]
    assert len({number for _, number in given[0] + given[2]}) == 3
    driver.call("edit", path=str(path))  # and writes nothing
    driver.call("close")
    with opened(path) as gallery:
        pass
    assert sql(path, "SELECT count(*) FROM outbox_numbers") == [(4,)]
