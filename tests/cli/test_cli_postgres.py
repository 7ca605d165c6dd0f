"""A gallery in PostgreSQL by the command line, a site's file and Python: as one in a file, and what is for files is refused."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from gallery_verbs import document, refused
from made_gallery import features, opened, written
from real_postgres import PASSWORD, Server

import vreid
from vreid.cli.main import main
from vreid.runtime.gallery.index.table import index_file
from vreid.runtime.gallery.requests import Rename
from vreid.runtime.gallery_place import DatabaseAddress
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.rights import TokenFile

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("cli")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """One folder a vehicle."""
    for name, colour in (("red", RED), ("green", GREEN), ("blue", BLUE)):
        (tmp_path / "fleet" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "fleet" / name / "1.png"), np.full((30, 40, 3), colour, np.uint8))
    return tmp_path / "fleet"


def test_the_verbs_do_what_they_do_with_a_file(
    place: DatabaseAddress, tmp_path: Path, pictures: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", written(place))
    done = document(capsys, "enrol", pictures, *where, "--model", tiny_model, "--force")
    assert [one["name"] for one in done["vehicles"]] == ["blue", "green", "red"] and done["gallery"] == place.name
    document(capsys, "rename", "red", "taxi", *where)
    document(capsys, "merge", "taxi", "blue", *where)
    assert document(capsys, "undo", *where)["verb"] == "merge"
    document(capsys, "remove", "green", *where)
    [query] = document(capsys, "search", pictures / "red" / "1.png", *where, "--model", tiny_model, "--k", 1)["queries"]
    assert [one["name"] for one in query["matches"]] == ["taxi"]
    assert [one["name"] for one in document(capsys, "list", *where, "--sort", "name")["vehicles"]] == ["blue", "taxi"]
    assert document(capsys, "stats", *where)["prototypes"] == 2
    assert [one["verb"] for one in document(capsys, "show", "taxi", *where)["changes"]][-1] == "undo"
    document(capsys, "retain", "30d", *where)
    assert document(capsys, "purge", *where)["sightings"] == 0
    assert len(document(capsys, "audit", *where)["changes"]) == 8
    for folder in ("table", "page"):
        assert (
            main(["gallery", "list", *where, *(["--html", str(tmp_path / "x.html")] if folder == "page" else [])]) == 0
        )
        assert PASSWORD not in capsys.readouterr().out
    assert PASSWORD not in (tmp_path / "x.html").read_text()


def test_vehicles_move_between_a_file_and_a_database(
    place: DatabaseAddress, postgres: Server, tmp_path: Path, pictures: Path, tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    document(capsys, "enrol", pictures, "--gallery", written(place), "--model", tiny_model, "--force")
    document(capsys, "export", tmp_path / "a.jsonl", "--gallery", written(place))
    document(capsys, "import", tmp_path / "a.jsonl", "--gallery", tmp_path / "known.db")
    document(capsys, "export", tmp_path / "b.jsonl", "--gallery", tmp_path / "known.db")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    other = written(postgres.new_place("other"))
    assert document(capsys, "import", tmp_path / "b.jsonl", "--gallery", other)["vehicles"] == 3
    assert "imported already" in refused(capsys, "import", tmp_path / "b.jsonl", "--gallery", other)


def test_what_is_for_files_is_refused(
    place: DatabaseAddress, tmp_path: Path, pictures: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--gallery", written(place))
    assert "there is no gallery postgresql://" in refused(capsys, "list", *where)
    document(capsys, "enrol", pictures, *where, "--model", tiny_model, "--force")
    for words in (("check",), ("check", "--repair")):
        assert "'vreid gallery check' is for a gallery in a file, and postgresql://" in refused(capsys, *words, *where)
    assert "is made by pg_dump" in refused(capsys, "backup", tmp_path / "copy.db", *where)
    assert not (tmp_path / "copy.db").exists()
    assert "is a file or postgresql://" in refused(capsys, "list", "--gallery", "mysql://db/x")


def test_a_run_enrols_into_a_database_by_a_sites_file(
    place: DatabaseAddress,
    tmp_path: Path,
    film: Any,
    tiny_model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)])
    film(tmp_path / "two.avi", [(GREEN, 0, 20)])
    monkeypatch.setenv("PG_PASSWORD", PASSWORD)
    address = place.uri.partition("://")[2].partition("@")[2]
    file = f"postgresql://postgres:${{PG_PASSWORD}}@{address}&gallery={place.gallery}"
    (tmp_path / "site.toml").write_text(
        f'model = "{tiny_model}"\n[gallery]\nfile = "{file}"\nenrol_unknown = true\n[outputs]\nfolder = "out"\n'
        '[defaults]\nkeep = "crop"\n[camera.one]\nuri = "one.avi"\n[camera.two]\nuri = "two.avi"\n'
    )
    site = str(tmp_path / "site.toml")
    assert main(["site", "check", site]) == 0  # which makes no gallery
    for known in (0, 2):
        capfd.readouterr()
        assert main(["run", site, "--json"]) == 0
        report = json.loads(capfd.readouterr().out)
        assert (report["vehicles"], report["known"]) == (2, known)
        assert PASSWORD not in json.dumps(report)
    assert main(["site", "check", site]) == 0
    assert PASSWORD not in "".join(path.read_text(errors="replace") for path in (tmp_path / "out").rglob("*.*"))
    kept = [*place.path.with_name(f"{place.path.name}.pictures").rglob("*.jpg")]
    with vreid.Gallery(written(place), tiny_model, mode="r") as gallery:
        assert len(kept) == sum(vehicle.sightings for vehicle in gallery.vehicles()) > 0


def test_python_opens_it_by_its_address(place: DatabaseAddress, tiny_model: Path) -> None:
    red = np.full((30, 40, 3), RED, np.uint8)
    with vreid.Gallery(written(place), tiny_model, index="hnsw") as gallery:
        gallery.enrol("taxi", red)
        [hit] = gallery.search(red)
        assert (hit.name, hit.known) == ("taxi", True)
        with pytest.raises(vreid.Refused, match="already has a vehicle named"):
            gallery.enrol("TAXI", red)
    assert index_file(place.path, "hnsw").parent.is_dir()


def test_a_token_for_the_server_lies_on_this_machine(
    place: DatabaseAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    opened(place).close()
    assert main(["serve", "token", "--gallery", written(place), "--name", "ann"]) == 0
    assert [one.name for one in TokenFile(place.path.with_name(f"{place.path.name}.tokens")).tokens()] == ["ann"]
    assert PASSWORD not in capsys.readouterr().err


def test_the_server_reads_and_edits_it_while_a_run_writes(place: DatabaseAddress) -> None:
    with opened(place) as run:
        run.enrol("taxi", features(2))
        access = GalleryAccess(place)
        try:
            with access.reading() as reader:
                assert [one.name for one in reader.vehicles()] == ["taxi"]
                for _ in range(2):  # with one key it is done once
                    assert access.edit(Rename(vehicle="taxi", name="cab"), "ann", "key-1")["name"] == "cab"
                assert reader.find("cab") == 1 and [one.who for one in reader.changes()][1:] == ["ann"]
            assert access.searching.search(features(1), 1)[0][0].name == "cab"
        finally:
            access.close()
        run.rename(1, "bus")
        assert access.place == place
