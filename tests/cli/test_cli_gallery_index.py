"""`vreid gallery index` makes what a gallery is searched through, in a file or in a database, and removes it."""

import json
from pathlib import Path

import pytest
from made_gallery import enrolled, opened, sql, written
from real_postgres import Server

from vreid.cli.main import main
from vreid.runtime.gallery.index import vehicle_index


def test_in_a_database(postgres: Server, capsys: pytest.CaptureFixture[str]) -> None:
    place = postgres.new_place("indexed")
    with opened(place) as gallery:
        enrolled(gallery, 30, 0)
    assert main(["gallery", "index", "--gallery", written(place), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == {"gallery": place.name, "index": "pgvector", "dropped": False, "prototypes": 30}
    there = "SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(?) AND indisvalid"
    assert sql(place, there, f"{place.gallery}.prototypes_near") == [(1,)]
    assert main(["gallery", "index", "--gallery", written(place), "--drop"]) == 0
    assert "is removed" in capsys.readouterr().out
    assert sql(place, there, f"{place.gallery}.prototypes_near") == [(0,)]


def test_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(vehicle_index, "LEAST_KEPT", 10)
    place = tmp_path / "g.db"
    with opened(place) as gallery:
        enrolled(gallery, 30, 0)
    verb = ["gallery", "index", "--gallery", str(place)]
    assert main([*verb, "--index", "hnsw"]) == 0
    assert place.with_name("g.db.hnsw.index").is_file()
    assert main([*verb, "--index", "hnsw", "--drop"]) == 0
    assert not place.with_name("g.db.hnsw.index").exists()
    assert main(verb) == 2
    assert "is for a gallery in PostgreSQL" in capsys.readouterr().err
