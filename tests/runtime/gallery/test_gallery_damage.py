"""Flipped bytes in a gallery's pages and in the files of its indexes: one sentence each, and a repair keeps what was whole."""

import logging
import random
from pathlib import Path

import pytest
from harmed_gallery import TABLES, rows_of, said, seen
from made_gallery import features, opened

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.index import vehicle_index
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.sqlite.check import check_gallery
from vreid.runtime.gallery.transfer import exported


def flipped(data: bytes, start: int, stop: int, count: int, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(count):
        changed[rng.randrange(start, stop)] ^= rng.randrange(1, 256)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_in_pages_are_harmless_or_refused_and_mended(tmp_path: Path, seed: int) -> None:
    """Ten pages a seed: nothing but sentences, readers change no byte, and a repair keeps each row that was whole."""
    path, rng = tmp_path / "g.db", random.Random(seed)
    with opened(path) as gallery:
        seen(gallery, 60)
    whole, before = path.read_bytes(), rows_of(path)
    pages = range(2, len(whole) // 4096)  # of the first two, what the tables are and whose features: see the next test
    for page in rng.sample(pages, 10):
        for one in tmp_path.iterdir():
            one.unlink()
        harmed = flipped(whole, page * 4096, page * 4096 + 4096, rng.choice([1, 3, 40]), rng)
        path.write_bytes(harmed)
        there = rows_of(path)
        for read in (
            lambda gallery: gallery.vehicles(),
            lambda gallery: gallery.search(features(3), 5),
            lambda gallery: exported(gallery, tmp_path / "all.jsonl"),
        ):
            try:
                with read_gallery(path) as gallery:
                    read(gallery)  # type: ignore[no-untyped-call]
            except Refused as refusal:
                assert "\n" not in str(refusal) and "damaged" in str(refusal), refusal
        found = check_gallery(path)
        assert path.read_bytes() == harmed
        repaired(path)
        assert check_gallery(path) == []
        after = rows_of(path)
        for table in TABLES:
            sound = {id_: row for id_, row in there[table].items() if before[table].get(id_) == row}
            assert {id_: row for id_, row in after[table].items() if id_ in sound} == sound, (page, table, found)


@pytest.mark.parametrize("page", [0, 1])
def test_what_leads_to_everything_is_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], page: int
) -> None:
    path = tmp_path / "g.db"
    with opened(path) as gallery:
        seen(gallery, 20)
    data = path.read_bytes()
    harmed = flipped(data, page * 4096 + 100, page * 4096 + 4096, 200, random.Random(page))
    path.write_bytes(harmed)
    for words in (["list"], ["show", "car 0 1"], ["export", tmp_path / "all.jsonl"], ["rename", "1", "x"], ["undo"]):
        code, sentence = said(capfd, *words, "--gallery", path)
        assert code == 2 and "damaged" in sentence, sentence
    assert said(capfd, "check", "--gallery", path)[0] == 1
    code, sentence = said(capfd, "check", "--repair", "--gallery", path)
    assert code == 2 and "restore a copy" in sentence
    assert path.read_bytes() == harmed and [one.name for one in tmp_path.iterdir()] == ["g.db"]


def test_an_index_file_with_flipped_bytes_changes_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vehicle_index, "LEAST_KEPT", 100)
    path, rng = tmp_path / "g.db", random.Random(0)
    with opened(path) as gallery:
        seen(gallery, 150)
    queries = features(8, 9)
    with opened(path, write=False) as flat, opened(path, write=False, index="hnsw") as reader:
        true = [[hit.vehicle for hit in hits] for hits in flat.search(queries, 5)]
        reader.search(queries, 5)
    file = path.with_name("g.db.hnsw.index")
    whole = file.read_bytes()
    for number in range(20):
        cut = whole[: rng.randrange(len(whole))]
        file.write_bytes(cut if number % 4 == 0 else flipped(whole, 0, len(whole), rng.choice([1, 50]), rng))
        caplog.clear()
        with opened(path, write=False, index="hnsw") as reader:
            assert [[hit.vehicle for hit in hits] for hits in reader.search(queries, 5)] == true
        (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "built anew" in warning.getMessage()
        assert len(file.read_bytes()) == len(whole)  # repaired
