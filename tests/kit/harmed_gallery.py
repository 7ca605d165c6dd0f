"""What a gallery must outlive, for its tests: vehicles with pictures, plain SQLite's view of it, and file systems of its own."""

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_gallery import features, sighted, sighting

from vreid.cli.main import main
from vreid.runtime.gallery import Gallery

TABLES = ("vehicles", "prototypes", "sightings")
Rows = dict[str, dict[int, tuple[Any, ...]]]


def seen(gallery: Gallery, count: int, seed: int = 0, at: float = 1e9) -> None:
    """`count` named vehicles of one prototype and one sighting with a picture each, a second apart."""
    rng = np.random.default_rng(seed)
    with gallery.transaction():
        for place, feature in enumerate(features(count, seed)):
            vehicle = gallery.add_vehicle(f"car {seed} {place}")
            picture = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
            sighted(gallery, vehicle, sighting(feature=feature, picture=picture, seen=at + place))


def rows_of(path: Path) -> Rows:
    """Every row that plain SQLite can read, one by one."""
    found: Rows = {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        for table in TABLES:
            found[table] = {}
            for id_ in range(1, 320):
                try:
                    row = connection.execute(f"SELECT * FROM {table} WHERE id = ?", (id_,)).fetchone()
                except sqlite3.DatabaseError:
                    continue
                if row is not None:
                    found[table][id_] = row
    return found


def said(capfd: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """A verb's exit code, and its result or the one sentence that refuses it."""
    code = main(["gallery", *map(str, words)])
    heard = capfd.readouterr()
    lines = (heard.err if code == 2 else heard.out).splitlines()
    assert "Traceback" not in "".join(lines)
    assert code != 2 or len(lines) == 1, lines
    return code, "\n".join(lines)


def mounted(*words: str) -> None:
    """Mount as `words` say, or skip the test where that may not be done."""
    if os.geteuid() != 0 or subprocess.run(["mount", *words], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system may be mounted here")
