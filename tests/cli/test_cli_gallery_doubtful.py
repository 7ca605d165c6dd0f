"""`vreid gallery doubtful|confirm|reject|calibrate`: what is listed, what is said, and what the thresholds then rest on."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from gallery_verbs import document, refused

from vreid import Gallery, Refused
from vreid.cli.main import main
from vreid.models.manifest import read_manifest
from vreid.runtime.gallery import open_gallery
from vreid.runtime.gallery.doubt_rows import Candidate
from vreid.runtime.gallery.doubts import add_doubt
from vreid.runtime.records import FinishedTrack

COUNT = 24


@pytest.fixture
def db(tmp_path: Path, tiny_model: Path) -> Path:
    """A taxi that so many sightings of the yard may be: half of them are known, half are new vehicles."""
    manifest, rng, path = read_manifest(tiny_model), np.random.default_rng(0), tmp_path / "known.db"
    dim = manifest.output.dim

    def seen(number: int) -> FinishedTrack:
        row = rng.normal(size=dim)
        feature = np.asarray(row / np.linalg.norm(row), np.float32)
        picture = np.full((30, 40, 3), 5 * number, np.uint8)
        return FinishedTrack("yard", number, 0, 9, 0.0, 1.0, 2, feature, 1, 0.5, picture, 1000.0 + number)

    with open_gallery(path, fingerprint=manifest.fingerprint, dim=dim, model=manifest.name, write=True) as gallery:
        taxi = gallery.add_vehicle("taxi", np.full((30, 40, 3), 99, np.uint8))
        for number in range(COUNT):
            track, known = seen(number), number < COUNT // 2
            vehicle = taxi if known else gallery.add_vehicle()
            gallery.add_prototype(vehicle, "yard", track.feature)
            sighting = gallery.add_sighting(vehicle, track, 0.7)
            rate = 0.03 if known else 0.08
            add_doubt(gallery, sighting, vehicle, [Candidate(taxi, ("gate", "yard"), 0.7, rate)], near=True)
    return path


def test_they_are_listed_with_their_pictures(db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "doubtful", "--gallery", db, "--last", 0)["doubtful"]
    assert [one["sighting"] for one in found] == list(range(1, COUNT + 1))
    assert (found[0]["name"], found[-1]["name"], found[-1]["candidates"][0]["vehicle"]) == ("taxi", "vehicle-0013", 1)
    folder = tmp_path / "pictures"
    assert main(["gallery", "doubtful", "--gallery", str(db), "--last", "2", "--pictures", str(folder)]) == 0
    printed = capsys.readouterr().out
    for part in (f"2 sightings of {db.name}"[:14], "vehicle-0013", "taxi", "0.700", "new"):
        assert part in printed
    files = {file.name: int(cv2.imread(str(file)).mean()) for file in folder.iterdir()}
    assert sorted(files) == [
        "sighting-000023-vehicle-0001.jpg", "sighting-000023.jpg", "sighting-000024-vehicle-0001.jpg", "sighting-000024.jpg",
    ]  # fmt: skip
    assert abs(files["sighting-000024.jpg"] - 5 * 23) <= 2


def test_answers_move_the_thresholds(
    db: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", db)
    assert "0 judged pairs are too few, 10 are the least" in refused(capsys, "calibrate", *where)
    assert "no sighting 99" in refused(capsys, "confirm", 99, *where)
    assert "is the only one of 'vehicle-0013'" in refused(capsys, "reject", COUNT, *where)
    said = document(capsys, "confirm", 1, *where)
    assert (said["vehicle"], said["name"]) == (1, "taxi")
    assert document(capsys, "reject", 2, *where)["name"] == "vehicle-0014"
    assert document(capsys, "undo", *where)["verb"] == "reject"
    for sighting in range(2, COUNT + 1):
        done = document(capsys, "confirm", sighting, "--vehicle", "taxi", *where)
        assert done["vehicle"] == 1
    done = document(capsys, "calibrate", *where, "--false-match-rate", 0.02)
    nothing = dict.fromkeys(("confirmed", "rejected"), 0)  # no strangers were seen: nothing to compare with
    gain = {"rate": 0.02, **nothing, **{f"{key}_{way}": 0 for key in nothing for way in ("raw", "without")}}
    assert done == {"change": 78, "pairs": COUNT, "same": COUNT, "bias_gain": gain}
    known = document(capsys, "threshold", *where, "--model", tiny_model)
    assert (known["bias_taken_off"], known["bias_gain"]) == (True, gain)
    assert main(["gallery", "calibrate", *map(str, where)]) == 0
    assert "Whether taking off the cameras' bias helps here is not known: 0 confirmed" in capsys.readouterr().out
    found = known["judged"]
    assert (found["pairs"], found["same"], found["enough"]) == (COUNT, COUNT, True)
    assert found["ways"][0]["cameras"] == ["gate", "yard"] and 1 < found["ways"][0]["times"] <= 4
    page = tmp_path / "page.html"
    assert main(["gallery", "threshold", *map(str, where), "--model", str(tiny_model), "--html", str(page)]) == 0
    sentence = f"People have judged {COUNT} pairs near the threshold, {COUNT} of them the same vehicle"
    assert sentence in capsys.readouterr().out and sentence in page.read_text()
    document(capsys, "threshold", *where, "--reset")
    assert document(capsys, "threshold", *where, "--model", tiny_model)["judged"]["pairs"] == 0
    assert document(capsys, "calibrate", *where)["pairs"] == COUNT  # what was said stays
    assert document(capsys, "check", *where)["found"] == []


def test_python_does_the_same(db: Path, tiny_model: Path) -> None:
    with Gallery(db, str(tiny_model)) as gallery:
        first, *others = gallery.doubtful()
        assert (first.sighting, first.vehicle) == (1, 1)
        assert gallery.reject(first.sighting) == 14
        assert gallery.confirm(COUNT, "taxi") == 1
        with pytest.raises(Refused, match="too few"):
            gallery.calibrate()
        for doubt in others[:-1]:
            gallery.confirm(doubt.sighting)
        gallery.calibrate()
        assert gallery.doubtful() == []
