"""The folder of kept pictures: names, age, the bound, and that nothing else in it is ever touched."""

import math
import random
from datetime import datetime, timezone
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.runtime.camera_names import camera_name
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, kept_name, link_to

DAY = 86400.0


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def moment(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp()


def test_a_name_says_camera_time_and_track(tmp_path: Path) -> None:
    assert kept_name("gate", moment("2026-11-29T10:15:30.123"), 31) == "gate/2026-11-29/101530123-31.jpg"
    assert kept_name("gate", 0.0, 1, ".mp4") == "gate/1970-01-01/000000000-1.mp4"
    rng = random.Random(0)
    moments = sorted(rng.uniform(0, 9e9) for _ in range(500))
    assert sorted(kept_name("a", one, 1) for one in moments) == [kept_name("a", one, 1) for one in moments]
    for one in moments:
        name = kept_name("a", one, 1)
        back = datetime.strptime(name[2:22], "%Y-%m-%d/%H%M%S%f").replace(tzinfo=timezone.utc).timestamp()
        assert abs(back - math.floor(one * 1000) / 1000) < 1e-5


@pytest.mark.parametrize("camera", ["gate", "old tower", "Süd-Tor", ".hidden", "-rf", "口" * 60, "a'b;c&d(e)`f`"])
def test_any_camera_s_name_is_a_folder_s(tmp_path: Path, camera: str) -> None:
    folder = KeptFolder(tmp_path / "kept")
    camera = camera_name(camera)
    folder.write(kept_name(camera, 1e9, 7), b"12345")
    folder.write(kept_name(camera, 1e9, 7, ".mp4"), b"123")
    folder.write(kept_name(camera, 1e9, 77), b"1")
    assert files(tmp_path / "kept")[0] == f"{camera}/2001-09-09/014640000-7.jpg"
    assert folder.size() == 9
    assert folder.remove(camera, 1e9, 7) == 2
    assert folder.remove(camera, 1e9, 7) == 0
    assert files(tmp_path / "kept") == [f"{camera}/2001-09-09/014640000-77.jpg"]


def test_what_is_too_old_goes_and_its_empty_folders_with_it(tmp_path: Path) -> None:
    folder, now = KeptFolder(tmp_path / "kept"), moment("2026-11-29T12:00:00")
    for camera in ("gate", "yard"):
        for hours in range(96):
            folder.write(kept_name(camera, now - 3600.0 * hours, hours), b"1" * 10)
    assert folder.remove_before(now - 2 * DAY) == 2 * 47  # the one at that very moment stays
    assert folder.size() == 2 * 49 * 10
    assert sorted(path.name for path in (tmp_path / "kept" / "gate").iterdir()) == [
        "2026-11-27", "2026-11-28", "2026-11-29"
    ]  # fmt: skip
    assert folder.remove_before(0.0) == 0
    assert folder.remove_before(now + DAY) == 2 * 49
    assert list((tmp_path / "kept").iterdir()) == []


def test_beyond_the_bound_the_oldest_of_all_cameras_goes(tmp_path: Path) -> None:
    folder, now = KeptFolder(tmp_path / "kept"), moment("2026-11-29T00:00:03")
    for number in range(100):  # the newest is 99; over midnight, by turns of two cameras
        folder.write(kept_name(("gate", "yard")[number % 2], now - 0.1 * (99 - number), number), b"1" * 100)
    assert folder.remove_oldest(10_000) == 0
    assert folder.remove_oldest(5_000) == 51  # 2 % of room
    left = sorted(int(name.rpartition("-")[2].removesuffix(".jpg")) for name in files(tmp_path / "kept"))
    assert left == list(range(51, 100))
    assert folder.size() == 4_900


def test_what_is_no_kept_picture_stays(tmp_path: Path) -> None:
    root, other = tmp_path / "kept", tmp_path / "other"
    folder = KeptFolder(root)
    folder.write(kept_name("gate", 1e9, 1), b"1")
    day = root / "gate" / "2001-09-09"
    (other / "2001-09-09").mkdir(parents=True)
    mine = [other / "2001-09-09" / "014640000-1.jpg", day / "holiday.jpg", day / "014640000-1.txt", root / "note.txt",
            root / "gate" / "014640000-1.jpg"]  # fmt: skip
    for path in mine:
        path.write_bytes(b"mine")
    (root / "link").symlink_to(other)
    (day / "014640000-2.jpg").symlink_to(mine[0])
    killed = day / ".014640000-1.123-456.tmp.mp4"
    killed.write_bytes(b"half")
    assert folder.size() == 5
    assert folder.remove_before(2e9) == 2
    assert not killed.exists()
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert folder.remove_oldest(1) == 0


@pytest.mark.parametrize("camera", ["../other", "..", ".", "", "/tmp", "gate/../../other"])
def test_a_camera_that_no_run_has_leads_nowhere_else(tmp_path: Path, camera: str) -> None:
    other = KeptFolder(tmp_path)
    other.write(kept_name("other", 1e9, 1), b"mine")
    other.write(kept_name("kept", 1e9, 1), b"mine")
    assert KeptFolder(tmp_path / "kept").remove(camera, 1e9, 1) == 0
    assert len(files(tmp_path)) == 2


def test_what_cannot_be_removed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = KeptFolder(tmp_path / "kept")
    (tmp_path / "kept" / kept_name("gate", 1e9, 1)).mkdir(parents=True)
    with pytest.raises(Refused, match=r"cannot remove the kept picture .*014640000-1.jpg .*; make its folder writable"):
        folder.remove("gate", 1e9, 1)
    folder.write(kept_name("gate", 1e9, 2), b"1")
    assert folder.remove_before(2e9) == 1


def test_no_folder_is_an_empty_one(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path / "kept")
    assert (folder.size(), folder.remove_before(2e9), folder.remove_oldest(1), folder.remove("a", 1.0, 1)) == (0,) * 4
    assert not folder.path.exists()


def test_it_lies_next_to_the_gallery_s_own_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "known.db").touch()
    (tmp_path / "here.db").symlink_to(tmp_path / "disk" / "known.db")
    assert folder_of_gallery(tmp_path / "here.db") == tmp_path / "disk" / "known.db.pictures"
    assert link_to(tmp_path / "a b" / "k#.db.pictures", tmp_path / "runs" / "live") == "../../a%20b/k%23.db.pictures/"


def test_what_a_killed_process_left_unfinished_goes_with_its_sighting(tmp_path: Path) -> None:
    folder = KeptFolder(tmp_path / "kept")
    for track in (3, 31):
        folder.write(f"gate/2001-09-09/.014640000-{track}.4089-4089.tmp.mp4", b"half")
    assert folder.remove("gate", 1e9, 3) == 1
    assert files(folder.path) == ["gate/2001-09-09/.014640000-31.4089-4089.tmp.mp4"]
