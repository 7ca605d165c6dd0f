"""A gallery that may only be read is read, and what would write to it is refused in one sentence."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harmed_gallery import mounted, said, seen
from made_gallery import features, opened

from vreid.runtime.gallery import read_gallery


@pytest.fixture(params=["file", "folder"])
def closed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A gallery whose file, or whole file system, may only be read, by root too."""
    place = tmp_path / "closed"
    place.mkdir()
    path = place / "g.db"
    with opened(path) as gallery:
        seen(gallery, 5)
    what = path if request.param == "file" else place
    mounted("--bind", str(what), str(what))
    try:
        mounted("-o", "remount,ro,bind", str(what))
        yield path
    finally:
        subprocess.run(["umount", "-l", str(what)], check=True)


def test_a_gallery_that_may_only_be_read_is_read_and_never_written(
    closed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = closed.read_bytes()
    for words in (["list"], ["stats"], ["show", "car 0 1"], ["audit"], ["check"], ["export", tmp_path / "all.jsonl"]):
        assert said(capfd, *words, "--gallery", closed)[0] == 0
    for words in (
        ["rename", "car 0 1", "x"], ["remove", "car 0 1"], ["purge", "--older-than", "1d"], ["merge", "1", "2"],
        ["retain", "30d"], ["reindex", "--prototypes"], ["import", tmp_path / "all.jsonl", "--again"],
    ):  # fmt: skip
        code, sentence = said(capfd, *words, "--gallery", closed)
        assert code == 2 and "g.db" in sentence and ("may write" in sentence or "permissions" in sentence), sentence
    assert closed.read_bytes() == before
    # SQLite makes an empty log beside a file that may only be read, where the folder may be written, and leaves it
    assert {one.name for one in closed.parent.iterdir()} <= {"g.db", "g.db-wal", "g.db-shm"}
    with read_gallery(closed, "hnsw") as reader:
        assert reader.search(features(3), 1)[2][0].vehicle == 3
