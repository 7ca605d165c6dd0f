"""`vreid gallery`: the whole path over a tiny real network, and its refusals."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from gallery_verbs import document, refused
from made_gallery import opened, sighting

from vreid.cli.main import main
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.clean import CleanRule, cleaned
from vreid.runtime.gallery.doubt_rows import Candidate
from vreid.runtime.gallery.doubts import add_doubt
from vreid.runtime.gallery.maintenance import retain

COLOURS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}


@pytest.fixture
def model(tiny_model: Path) -> Path:
    """A network whose feature is the mean colour, at unit length."""
    return tiny_model


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """One folder a vehicle, two pictures each."""
    for name, colour in COLOURS.items():
        folder = tmp_path / "fleet" / name
        folder.mkdir(parents=True)
        for number in (1, 2):
            cv2.imwrite(str(folder / f"{number}.jpg"), np.full((30, 40, 3), colour, np.uint8))
    return tmp_path / "fleet"


def test_a_vehicles_life(tmp_path: Path, model: Path, fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "known.db"
    where = ("--gallery", db)
    done = document(capsys, "enrol", fleet, *where, "--model", model, "--force")
    assert [(v["name"], v["pictures"], v["prototypes"]) for v in done["vehicles"]] == [
        ("blue", 2, 1), ("green", 2, 1), ("red", 2, 1)
    ]  # fmt: skip
    one = fleet / "red" / "1.jpg"
    document(capsys, "enrol", one, fleet / "blue" / "2.jpg", *where, "--model", model, "--name", "two-tone", "--force")
    document(capsys, "rename", "red", "taxi", *where)
    document(capsys, "remove", "green", *where)
    found = document(capsys, "search", one, *where, "--model", model, "--k", 3)
    (query,) = found["queries"]
    assert [(hit["name"], hit["known"]) for hit in query["matches"]] == [
        ("taxi", True), ("two-tone", True), ("blue", False)
    ]  # fmt: skip
    listed = document(capsys, "list", *where)
    assert [v["name"] for v in listed["vehicles"]] == ["blue", "taxi", "two-tone"]
    assert document(capsys, "stats", *where)["prototypes"] == 4
    for verb in ("list", "stats"):
        assert main(["gallery", verb, "--gallery", str(db)]) == 0
        printed = capsys.readouterr()
        assert str(db) in printed.out and printed.err == ""  # a table is a result


def test_a_kind_is_kept_and_loose_pictures_are_announced(
    tmp_path: Path, model: Path, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = ("--gallery", str(tmp_path / "known.db"), "--model", str(model), "--force")
    assert main(["gallery", "enrol", str(fleet / "red"), *to, "--kind", "bus"]) == 0
    assert "2 loose pictures are enrolled as 2 vehicles, one each; --name" in capsys.readouterr().err
    assert main(["gallery", "enrol", str(fleet), *to]) == 0
    assert main(["gallery", "enrol", str(fleet / "red" / "1.jpg"), *to, "--name", "one"]) == 0
    assert "loose pictures" not in capsys.readouterr().err
    listed = document(capsys, "list", "--gallery", tmp_path / "known.db", "--kind", "bus")
    assert [one["name"] for one in listed["vehicles"]] == ["1", "2"]


def test_a_score_of_nobody_is_null_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with opened(tmp_path / "g.db") as gallery:
        gallery.add_sighting(gallery.add_vehicle("taxi"), sighting(), -np.inf)
    (seen,) = document(capsys, "show", "taxi", "--gallery", tmp_path / "g.db")["sightings"]
    assert seen["score"] is None


def test_one_bad_picture_and_nothing_is_written(
    tmp_path: Path, model: Path, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, bad = tmp_path / "known.db", fleet / "red" / "2.jpg"
    bad.write_bytes(bad.read_bytes()[:-40])
    assert f"{bad} is cut short" in refused(capsys, "enrol", fleet, "--gallery", db, "--model", model)
    assert not db.exists()
    document(capsys, "enrol", fleet / "blue", "--gallery", db, "--model", model, "--name", "blue", "--force")
    bad.unlink()
    printed = refused(capsys, "enrol", fleet, "--gallery", db, "--model", model, "--force")
    assert "already has a vehicle named 'blue'" in printed
    with read_gallery(db) as gallery:
        assert gallery.stats().vehicles == 1


def test_requests_that_are_wrong(tmp_path: Path, model: Path, fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "known.db"
    to = ("--gallery", db, "--model", model)
    assert "nothing to enrol" in refused(capsys, "enrol", *to)
    assert "there is no" in refused(capsys, "enrol", tmp_path / "nowhere", *to)
    assert "leave --name out" in refused(capsys, "enrol", fleet, *to, "--name", "x")
    assert "two vehicles would be named '1'" in refused(capsys, "enrol", fleet / "red/1.jpg", fleet / "blue/1.jpg", *to)
    (fleet / "empty").mkdir()
    assert "holds no pictures" in refused(capsys, "enrol", fleet, *to)
    for verb in (("list",), ("stats",), ("rename", "a", "b"), ("remove", "a")):
        assert "there is no gallery" in refused(capsys, *verb, "--gallery", db)
    assert not db.exists()


def test_no_output_replaces_the_gallery(
    tmp_path: Path, model: Path, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, link, hard = tmp_path / "g.db", tmp_path / "link.html", tmp_path / "hard.html"
    document(capsys, "enrol", fleet, "--gallery", db, "--model", model, "--force")
    before = db.read_bytes()
    link.symlink_to(db)
    hard.hardlink_to(db)
    for out in (db, link, hard, tmp_path / "g.db-wal", tmp_path / "g.db.lock"):
        assert "would replace" in refused(capsys, "list", "--gallery", db, "--html", out)
        assert "would replace" in refused(capsys, "export", out, "--gallery", db)
        assert "is a file" in refused(capsys, "show", "red", "--gallery", db, "--pictures", db)
    assert db.read_bytes() == before
    document(capsys, "list", "--gallery", db, "--html", tmp_path / "page.html")


def test_filters_that_nothing_can_pass_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "g.db"
    with opened(db) as gallery:
        taxi = gallery.add_vehicle("taxi")
        for camera in ("yard", "gate"):
            gallery.add_sighting(taxi, sighting(camera=camera), 0.5)
    wrong = ("--camera", "gatee", "--kind", "lorry")
    for verb in (("list",), ("show", "taxi"), ("clean",), ("export", tmp_path / "out.jsonl")):
        assert main(["gallery", *map(str, verb), "--gallery", str(db), *wrong]) == 0
        said = " ".join(capsys.readouterr().err.split())
        assert "no sighting of a camera 'gatee'; its cameras are gate, yard" in said
        assert "no vehicle is of the kind 'lorry'; the kinds are car, truck, bus, motorcycle, vehicle" in said
    for right in (("--camera", "gate"), ("--kind", "bus"), ("--camera", "gate", "--kind", "car")):
        assert main(["gallery", "list", "--gallery", str(db), *right]) == 0
        assert capsys.readouterr().err == ""


def test_a_clean_up_without_a_rule_names_the_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(tmp_path / "g.db").close()
    said = refused(capsys, "clean", "--gallery", tmp_path / "g.db")
    assert "--once, --quality-below, --camera" in said and "--yes" not in said


def test_what_was_changed_is_shown_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "g.db"
    with opened(db) as gallery:
        one, other = gallery.add_vehicle("taxi"), gallery.add_vehicle("bus")
        seen = [gallery.add_sighting(one, sighting(look, seen=1000.0 + look), 0.5) for look in (0, 1)]
        add_doubt(gallery, seen[1], one, [Candidate(other, ("gate", "yard"), 0.5, None)], near=True)
        retain(gallery, None)
        cleaned(gallery, CleanRule(once=True))
    for verb in (("audit",), ("show", "taxi")):
        assert main(["gallery", *verb, "--gallery", str(db)]) == 0
        text = " ".join(capsys.readouterr().out.split())
        assert not re.search(r"\bNone\b|\bTrue\b|\bFalse\b|[{}\[\]']", text)
        assert "near yes" in text and "candidates (vehicle 2, cameras (gate, yard), score 0.5, rate none)" in text
    assert main(["gallery", "audit", "--gallery", str(db)]) == 0
    assert "seconds none" in " ".join(capsys.readouterr().out.split())
