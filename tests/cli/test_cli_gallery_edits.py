"""`vreid gallery`: correcting, keeping, checking and moving a gallery that pictures were enrolled into, by its own verbs."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from gallery_verbs import document, refused
from made_gallery import sql

from vreid.cli.main import main
from vreid.models.manifest import read_manifest, write_manifest
from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.records import FinishedTrack

COLOURS = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}


@pytest.fixture
def db(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """red, green and blue enrolled; red and green seen by two cameras, a minute and a day ago."""
    import time

    path, folder = tmp_path / "known.db", tmp_path / "fleet"
    folder.mkdir()
    for name, colour in COLOURS.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.full((30, 40, 3), colour, np.uint8))
    document(capsys, "enrol", folder, "--gallery", path, "--model", tiny_model, "--force")
    with edit_gallery(path) as gallery:
        for name in ("red", "green"):
            picture = np.full((30, 40, 3), COLOURS[name], np.uint8)
            feature = np.array(COLOURS[name], np.float32) / 255
            for camera, ago, plate in (("gate", 60, "B-AB 12"), ("yard", 86400, None)):
                seen = FinishedTrack(camera, 1, 0, 9, 0.0, 1.0, 2, feature, 1, 0.5, picture, time.time() - ago, plate)
                gallery.add_prototype(gallery.find(name), camera, feature, 0.5)
                gallery.add_sighting(gallery.find(name), seen, 0.95, "live")
    return path


def names(capsys: pytest.CaptureFixture[str], db: Path, *words: object) -> list[str]:
    return [vehicle["name"] for vehicle in document(capsys, "list", "--gallery", db, *words)["vehicles"]]


def test_merge_split_rename_and_undo(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--gallery", db)
    before = names(capsys, db)
    merged = document(capsys, "merge", "red", "green", *where)
    assert (merged["name"], merged["sightings"]) == ("red", 2)
    assert names(capsys, db) == ["blue", "red"]
    split = document(capsys, "split", "red", "--camera", "yard", "--name", "van", *where)
    assert (split["name"], split["sightings"]) == ("van", 2)
    shown = document(capsys, "show", "van", *where)
    assert [seen["camera"] for seen in shown["sightings"]] == ["yard", "yard"]
    document(capsys, "rename", "van", "truck", *where)
    assert f"undo {split['change']} first" in refused(capsys, "undo", str(merged["change"]), *where)
    assert [document(capsys, "undo", *where)["verb"] for _ in range(3)] == ["rename", "split", "merge"]
    assert names(capsys, db) == before
    audit = document(capsys, "audit", *where)["changes"]
    assert [row["verb"] for row in audit] == [*["enrol"] * 3, "merge", "split", "rename", *["undo"] * 3]
    assert [bool(row["undone"]) for row in audit] == [False] * 3 + [True] * 3 + [False] * 3
    assert all("undo" not in row["detail"] for row in audit)
    assert len(document(capsys, "audit", "--last", 2, *where)["changes"]) == 2
    ids = [seen["id"] for seen in document(capsys, "show", "red", *where)["sightings"]]
    again = document(capsys, "split", "red", "--sightings", ids[0], *where)
    assert again["sightings"] == 1
    for words, sentence in (
        (("merge", "red"), "two vehicles or more"),
        (("merge", "red", "id=1", "red"), "each named once"),
        (("split", "red"), "say which sightings"),
        (("split", "red", "--camera", "moon"), "no sighting of 'red' is chosen"),
        (("split", "red", "--sightings", "999"), "has no sighting 999"),
        (("undo", "1"), "change 1 (enrol) is final"),
    ):
        assert sentence in refused(capsys, *words, *where)


def test_filters_choose_vehicles(
    db: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert names(capsys, db) == ["blue", "green", "red"]
    assert names(capsys, db, "--camera", "gate") == ["green", "red"]
    assert names(capsys, db, "--camera", "gate", "--camera", "yard", "--name", "R*") == ["red"]
    assert names(capsys, db, "--since", "2h") == ["green", "red"]
    assert names(capsys, db, "--until", "2h", "--camera", "gate") == []
    assert names(capsys, db, "--plate", "bab*") == ["green", "red"]
    assert names(capsys, db, "--kind", "car") == ["green", "red"]
    assert names(capsys, db, "--kind", "bus") == []
    found = document(
        capsys, "search", tmp_path / "fleet" / "blue.png", "--gallery", db, "--model", tiny_model, "--camera", "yard"
    )
    assert sorted(hit["name"] for hit in found["queries"][0]["matches"]) == ["green", "red"]
    assert "is not a time" in refused(capsys, "list", "--gallery", db, "--since", "yesterday")
    page = tmp_path / "page.html"
    assert document(capsys, "list", "--gallery", db, "--html", page, "--name", "red")["html"] == str(page)
    assert page.read_text(encoding="utf-8").count("<article") == 1
    saved = tmp_path / "pictures"
    assert document(capsys, "show", "red", "--gallery", db, "--pictures", saved, "--since", "2h")["pictures"] == 2
    assert sorted(file.name for file in saved.iterdir()) == ["enrolled.jpg", "sighting-000001-gate.jpg"]


def test_lists_come_in_parts_and_pages(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = names(capsys, db)
    assert names(capsys, db, "--sort", "name") == sorted(everybody, key=str.casefold)
    first = document(capsys, "list", "--gallery", db, "--sort", "name", "--limit", "2")
    assert (len(first["vehicles"]), first["total"]) == (2, len(everybody))
    second = names(capsys, db, "--sort", "name", "--limit", "2", "--page", "2")
    assert [vehicle["name"] for vehicle in first["vehicles"]] + second == sorted(everybody, key=str.casefold)[:4]
    assert "counts from 1" in refused(capsys, "list", "--gallery", db, "--limit", "0")
    assert "give --limit too" in refused(capsys, "list", "--gallery", db, "--page", "2")
    assert main(["gallery", "list", "--gallery", str(db), "--limit", "2"]) == 0
    assert f"{len(everybody)} vehicles, 1 to 2 of them" in capsys.readouterr().out
    monkeypatch.setattr("vreid.cli.gallery_album._ON_A_PAGE", 2)
    document(capsys, "list", "--gallery", db, "--html", tmp_path / "all.html")
    pages = [tmp_path / "all.html", tmp_path / "all-2.html"]
    texts = [page.read_text(encoding="utf-8") for page in pages]
    assert sum(text.count("<article") for text in texts) == len(everybody) == 3
    for number, text in enumerate(texts):
        assert f'href="{pages[1 - number].name}"' in text and f'<b aria-current="page">{number + 1}</b>' in text


def test_retention_is_set_shown_and_carried_out(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--gallery", db)
    assert "--older-than 30d" in refused(capsys, "purge", *where)
    assert document(capsys, "retain", "12h", *where) == {"retention": 43200.0}
    stats = document(capsys, "stats", *where)
    assert (stats["retention"], stats["sightings"], stats["indexes"]) == (43200.0, 4, {})
    assert stats["oldest"] < stats["newest"]
    assert document(capsys, "purge", *where) == {"sightings": 2, "vehicles": 0, "pictures": 0, "kept": 0, "change": 5}
    assert document(capsys, "stats", *where)["sightings"] == 2
    assert document(capsys, "purge", "--older-than", "1s", *where)["sightings"] == 2
    assert names(capsys, db) == ["blue", "green", "red"]
    assert document(capsys, "retain", "off", *where) == {"retention": None}
    assert "is not a span of time" in refused(capsys, "retain", "a while", *where)
    document(capsys, "remove", "red", *where)
    assert "can no longer" not in json.dumps(document(capsys, "audit", *where))
    assert b'"red"' not in db.read_bytes()


def test_check_says_what_is_wrong_and_mends_it(db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--gallery", db)
    assert document(capsys, "check", *where)["found"] == []
    sql(db, "UPDATE prototypes SET feature = x'00' WHERE id = 1", foreign_keys=False)
    (finding,) = document(capsys, "check", *where, code=1)["left"]
    assert finding["kind"] == "prototype"
    assert main(["gallery", "check", *map(str, where)]) == 1
    assert "feature of the wrong length" in capsys.readouterr().out
    assert document(capsys, "check", "--repair", *where)["left"] == []
    assert document(capsys, "check", *where)["found"] == []


def test_a_gallery_moves_to_another_file(
    db: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other = tmp_path / "some.jsonl.gz", tmp_path / "other.db"
    assert document(capsys, "export", file, "--gallery", db, "--camera", "gate")["vehicles"] == 2
    assert document(capsys, "import", file, "--gallery", other)["sightings"] == 4
    image = tmp_path / "fleet" / "red.png"
    local, remote = (
        document(capsys, "search", image, "--gallery", path, "--model", tiny_model)["queries"][0]["matches"]
        for path in (db, other)
    )
    assert [(hit["name"], hit["score"]) for hit in remote] == [
        (hit["name"], hit["score"]) for hit in local if hit["name"] != "blue"
    ]
    assert "imported already" in refused(capsys, "import", file, "--gallery", other)
    assert document(capsys, "import", file, "--gallery", db)["renamed"] == [["green", "green-2"], ["red", "red-2"]]
    file.write_bytes(file.read_bytes()[:-20])
    assert "cut short" in refused(capsys, "import", file, "--gallery", tmp_path / "third.db")
    assert not (tmp_path / "third.db").exists()


def test_a_gallery_is_embedded_again_for_another_model(
    db: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_model, out = tiny_model.with_name("new.json"), tmp_path / "new.db"
    manifest = read_manifest(tiny_model)
    write_manifest(manifest.model_copy(update={"fingerprint": "colour-2", "name": "newer"}), new_model)
    with edit_gallery(db) as gallery:
        gallery.add_vehicle("never seen")
    search = ("search", tmp_path / "fleet" / "red.png", "--gallery")
    refusal = refused(capsys, *search, db, "--model", new_model)
    assert f"vreid gallery reindex --gallery {db} --model MANIFEST.json --out NEW.db" in refusal
    assert "reindex --gallery" in refused(capsys, *search, db, "--model", "vreid-s")
    done = document(capsys, "reindex", "--gallery", db, "--model", new_model, "--out", out)
    assert (done["vehicles"], done["without"]) == (3, 1)
    hit = document(capsys, *search, out, "--model", new_model)["queries"][0]["matches"][0]
    assert hit["name"] == "red"
    assert hit["score"] > 0.99
    with read_gallery(db) as old, read_gallery(out) as new:
        assert [(v.id, v.name, v.sightings) for v in new.vehicles()] == [
            (v.id, v.name, v.sightings) for v in old.vehicles()
        ]
    assert "go together" in refused(capsys, "reindex", "--gallery", db, "--model", new_model)
    assert "is there already" in refused(capsys, "reindex", "--gallery", db, "--model", new_model, "--out", out)
    for words in (["reindex", "--model", new_model, "--out"], ["backup"]):
        said = refused(capsys, words[0], "--gallery", db, *words[1:], "postgresql://localhost/known")
        assert "name a file, and take it there by vreid gallery export" in said
    again = document(capsys, "reindex", "--gallery", db, "--prototypes")
    assert (again["vehicles"], again["prototypes"]) == (2, 4)


@pytest.mark.parametrize(
    "words",
    [
        ("list",), ("show", "red"), ("stats",), ("audit",), ("merge", "red", "green"), ("split", "red", "--camera", "gate"),
        ("rename", "red", "taxi"), ("remove", "red"), ("purge", "--older-than", "2h"), ("retain", "2w"), ("check",),
        ("reindex",), ("undo",), ("export", "FILE"),
    ],
)  # fmt: skip
def test_every_verb_prints_its_result_on_stdout_only(
    db: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    with edit_gallery(db) as gallery:
        gallery.rename(1, "azure")
    words = tuple(str(tmp_path / "x.jsonl") if word == "FILE" else word for word in words)
    assert main(["gallery", *words, "--gallery", str(db)]) == 0
    said = capsys.readouterr()
    assert said.out != ""
    assert said.err == ""
    assert "there is no gallery" in refused(capsys, *words, "--gallery", tmp_path / "nowhere.db")
