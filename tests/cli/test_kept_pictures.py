"""`--keep` from the command line to the file: videos and live cameras, the report's links, and who forgets what."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.preprocess import Image
from vreid.runtime.gallery import edit_gallery, maintenance
from vreid.runtime.run import run_session, run_site
from vreid.runtime.session import CameraSettings, Keep, Session, Site

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)
Rows = list[dict[str, Any]]


class Links(HTMLParser):
    """The addresses of a page's links to files."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attributes if name == "href" and value and not value.startswith("#")]


@pytest.fixture
def videos(tmp_path: Path, film: Any) -> Path:
    film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 4, 70)])
    return tmp_path


@pytest.fixture
def words(videos: Path, tiny_model: Path) -> list[str]:
    return [
        "run",
        f"old gate={videos / 'one.avi'}",
        "--model",
        str(tiny_model),
        "--enrol-unknown",
        "--out",
        str(videos / "out"),
    ]


def rows(folder: Path) -> Rows:
    return [json.loads(line) for line in (folder / "sightings.jsonl").read_text().splitlines()]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def shown(path: Path) -> list[Image]:
    """The picture, or those of a clip."""
    if path.suffix == ".jpg":
        return [np.asarray(cv2.imread(str(path)), np.uint8)]
    with av.open(str(path)) as clip:
        return [one.to_ndarray(format="bgr24") for one in clip.decode(video=0)]


@pytest.mark.parametrize("keep", ["crop", "frame", "clip"])
def test_each_sighting_of_a_video_has_its_file(videos: Path, words: list[str], keep: str) -> None:
    words += ["--gallery", str(videos / "known.db"), "--keep", keep, "--began", "2026-11-22T08:00+00:00"]
    assert main(words) == 0
    found, kept = rows(videos / "out"), videos / "known.db.pictures"
    assert len(found) == 2
    assert {row["kept"] for row in found} == files(kept)
    assert all(row["kept"].startswith("old gate/2026-11-22/0800") for row in found)
    for row in found:
        pictures = shown(kept / row["kept"])
        assert (pictures[0].shape == (120, 160, 3)) == (keep != "crop")
        assert 10 <= len(pictures) <= 42 if keep == "clip" else len(pictures) == 1
        channel = 2 if row["box"][1] < 45 else 1  # the red one drives above the green one
        painted = pictures[len(pictures) // 2].astype(int)
        assert (painted[..., channel] - painted[..., 3 - channel] > 120).sum() > 400
    report = json.loads((videos / "out" / "report.json").read_text())["kept"]
    assert report[keep] == 2
    assert report["bytes"] == sum(path.stat().st_size for path in kept.rglob("*") if path.is_file())
    assert (report["dropped"], report["failed"], report["removed"]) == (0, 0, 0)
    links = Links(videos / "out" / "report.html").found
    assert sorted(((videos / "out" / unquote(link)).resolve()) for link in links) == sorted(
        kept / row["kept"] for row in found
    )


def test_without_a_gallery_they_lie_in_the_run_s_folder(videos: Path, words: list[str]) -> None:
    assert main([*words, "--keep", "crop"]) == 0
    assert {row["kept"] for row in rows(videos / "out")} == files(videos / "out" / "kept")
    report = json.loads((videos / "out" / "report.json").read_text())["kept"]
    assert (report["folder"], report["url"]) == (str(videos / "out" / "kept"), "kept/")
    links = Links(videos / "out" / "report.html").found
    assert sorted(unquote(link) for link in links) == sorted(f"kept/{row['kept']}" for row in rows(videos / "out"))


def test_nothing_is_kept_unless_it_is_wanted(videos: Path, words: list[str]) -> None:
    assert main([*words, "--gallery", str(videos / "known.db")]) == 0
    assert [row["kept"] for row in rows(videos / "out")] == [None, None]
    assert Links(videos / "out" / "report.html").found == []
    assert not (videos / "known.db.pictures").exists()
    assert not (videos / "out" / "kept").exists()


def test_pictures_in_a_folder_are_sources_too(videos: Path, words: list[str]) -> None:
    (videos / "frames").mkdir()
    capture = cv2.VideoCapture(str(videos / "one.avi"))
    for number in range(50):
        cv2.imwrite(str(videos / "frames" / f"{number:03d}.png"), capture.read()[1])
    words[1] = f"gate={videos / 'frames'}/"
    assert main([*words, "--keep", "clip"]) == 0
    for row in rows(videos / "out"):
        assert len(shown(videos / "out" / "kept" / row["kept"])) >= 10


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [(["--keep-most", "much"], "'much' is not a size; write it like 500MB"), (["--keep-for", "ever"], "'ever'")],
)
def test_a_wrong_bound_is_refused_before_anything_is_written(
    videos: Path, words: list[str], flags: list[str], sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--keep", "crop", *flags]) == 2
    assert sentence in capfd.readouterr().err
    assert not (videos / "out").exists()


def test_a_run_that_is_refused_leaves_no_file(videos: Path, words: list[str]) -> None:
    (videos / "out" / "report.html").mkdir(parents=True)
    assert main([*words, "--gallery", str(videos / "known.db"), "--keep", "crop"]) == 2
    assert not (videos / "known.db").exists()
    assert files(videos / "known.db.pictures") == set()


def test_each_camera_of_a_site_keeps_what_it_says(videos: Path, tiny_model: Path) -> None:
    for name in ("a", "b", "c", "d"):
        shutil.copy(videos / "one.avi", videos / f"{name}.avi")
    cameras = "".join(
        f'[camera.{name}]\nuri = "{name}.avi"\n{keep}\n'
        for name, keep in (("a", ""), ("b", 'keep = "frame"'), ("c", 'keep = "clip"'), ("d", 'keep = "none"'))
    )
    (videos / "site.toml").write_text(
        f'model = "{tiny_model}"\n[gallery]\nfile = "known.db"\nenrol_unknown = true\n[outputs]\nfolder = "out"\n'
        f'keep_for = "30d"\nkeep_most = "1GB"\n[defaults]\nkeep = "crop"\n{cameras}'
    )
    assert main(["run", str(videos / "site.toml")]) == 0
    found = rows(videos / "out")
    assert files(videos / "known.db.pictures") == {row["kept"] for row in found if row["camera"] != "d"}
    assert [row["kept"] for row in found if row["camera"] == "d"] == [None, None]
    report = json.loads((videos / "out" / "report.json").read_text())["kept"]
    assert [report[what] for what in ("crop", "frame", "clip")] == [2, 2, 2]


def live_site(videos: Path, model: Path, source: str, keep: Keep, **changes: Any) -> Site:
    camera = CameraSettings(source=f"gate={source}", keep=keep)
    fields: dict[str, Any] = {"gallery": videos / "known.db", "out": videos / "out", "enrol_unknown": True, **changes}
    return Site(cameras=(camera,), model=model, **fields)


@pytest.mark.parametrize("keep", ["crop", "frame", "clip"])
def test_a_live_camera_s_are_there_while_it_runs(
    videos: Path, tiny_model: Path, device: Callable[[Path], str], keep: Keep
) -> None:
    stop, seen = threading.Event(), set()
    kept = videos / "known.db.pictures"

    def look(frames: int) -> None:
        seen.update(name for name in files(kept) if "/." not in name)  # without those that are being written
        if (len(seen) >= 3 and frames % 10 == 0) or frames > 3000:
            stop.set()

    summary = run_site(live_site(videos, tiny_model, device(videos / "one.avi"), keep), stop, look)
    found = rows(videos / "out")
    names = {row["kept"] for row in found if row["kept"]}
    assert len(names) >= 3
    assert names == files(kept)
    assert seen <= names
    assert all(shown(kept / name) for name in names)
    assert summary["kept"][keep] == len(names)


def test_who_forgets_a_vehicle_forgets_its_files(videos: Path, words: list[str]) -> None:
    gallery, kept = str(videos / "known.db"), videos / "known.db.pictures"
    for began in ("2026-11-22T08:00+00:00", "2026-11-23T08:00+00:00"):
        assert main([*words, "--gallery", gallery, "--keep", "clip", "--began", began]) == 0
    owners = {row["kept"]: row["vehicle"] for row in rows(videos / "out")}
    with edit_gallery(gallery) as opened:
        whole = files(kept)
        assert len(whole) == 4
        (one, two) = sorted({vehicle.id for vehicle in opened.vehicles()})
        assert main(["gallery", "remove", f"id={one}", "--gallery", gallery]) == 2  # another one writes
        assert files(kept) == whole
    assert main(["gallery", "remove", f"id={one}", "--gallery", gallery]) == 0
    left = files(kept)
    assert len(left) == 2
    assert {owners[name] for name in left if name in owners} == {two}
    assert all(shown(kept / name) for name in left)


def test_they_follow_their_sighting_to_another_vehicle(
    videos: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    gallery, kept = str(videos / "known.db"), videos / "known.db.pictures"
    assert main([*words, "--gallery", gallery, "--keep", "frame"]) == 0
    whole = files(kept)
    capfd.readouterr()
    for row in rows(videos / "out"):
        assert main(["gallery", "show", str(row["vehicle"]), "--gallery", gallery, "--json"]) == 0
        [shown_there] = json.loads(capfd.readouterr().out)["sightings"]
        assert shown_there["kept"] == str(kept / row["kept"])
    assert main(["gallery", "merge", "1", "2", "--gallery", gallery]) == 0
    assert files(kept) == whole
    assert main(["gallery", "undo", "--gallery", gallery]) == 0
    assert main(["gallery", "remove", "1", "--gallery", gallery]) == 0
    assert len(files(kept)) == 1
    capfd.readouterr()
    (kept / files(kept).pop()).unlink()
    assert main(["gallery", "show", "2", "--gallery", gallery, "--json"]) == 0
    assert [row["kept"] for row in json.loads(capfd.readouterr().out)["sightings"]] == [None]
    assert main(["gallery", "remove", "2", "--gallery", gallery]) == 0
    assert files(kept) == set()


def test_a_purge_takes_what_is_older_of_unknown_vehicles_too(
    videos: Path, words: list[str], film: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    gallery, kept = str(videos / "known.db"), videos / "known.db.pictures"
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    words += ["--gallery", gallery, "--keep", "crop", "--began"]
    assert main([*words, "2026-01-22T08:00+00:00"]) == 0
    film(videos / "two.avi", [(BLUE, 0, 20)])
    other = [word.replace("one.avi", "two.avi") for word in words if word != "--enrol-unknown"]
    assert main([*other, "2026-01-23T08:00+00:00", "--threshold", "1"]) == 0
    assert [row["vehicle"] for row in rows(videos / "out")] == [None]
    assert main([*words, now]) == 0
    new = {row["kept"] for row in rows(videos / "out")}
    assert len(files(kept)) == 5
    capfd.readouterr()
    assert main(["gallery", "purge", "--older-than", "1d", "--gallery", gallery]) == 0
    assert "and 3 kept pictures" in capfd.readouterr().out
    assert files(kept) == new


def test_a_run_keeps_them_no_longer_than_the_gallery_its_sightings(videos: Path, words: list[str]) -> None:
    gallery, kept = str(videos / "known.db"), videos / "known.db.pictures"
    words += ["--gallery", gallery, "--keep", "crop"]
    assert main([*words, "--began", "2026-01-22T08:00+00:00"]) == 0
    old = files(kept)
    assert main(["gallery", "retain", "30d", "--gallery", gallery]) == 0
    assert files(kept) == old
    assert main(words) == 0
    assert files(kept) == {row["kept"] for row in rows(videos / "out")[-2:]}
    with edit_gallery(gallery) as opened:
        maintenance.purge_due(opened, time.time() + 31 * 86400)
    assert files(kept) == set()


def test_kept_for_less_long_than_sightings(videos: Path, words: list[str]) -> None:
    gallery, kept = str(videos / "known.db"), videos / "known.db.pictures"
    words += ["--gallery", gallery, "--keep", "crop"]
    assert main([*words, "--began", "2026-11-01T08:00+00:00"]) == 0
    assert main([*words, "--keep-for", "1h"]) == 0
    assert files(kept) == {row["kept"] for row in rows(videos / "out")[-2:]}


def test_the_interface_of_python_keeps_nothing(videos: Path, tiny_model: Path) -> None:
    session = Session(sources=[str(videos / "one.avi")], model=tiny_model, enrol_unknown=True, keep="crop")
    before = files(videos)
    assert run_session(session, threading.Event())["kept"] is None
    assert files(videos) == before
