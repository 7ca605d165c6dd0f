"""The twin of a killed gallery, which nobody kills, and what must hold after a kill. See gallery_kill.py."""

import hashlib
import re
import shutil
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
from gallery_operations import INDEX, OPERATIONS, feature, opened, operate

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edit_gallery, read_gallery
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.sqlite.check import check_gallery

TABLES = ("meta", "vehicles", "prototypes", "sightings", "audit", "sqlite_sequence")


def state(path: Path, tables: tuple[str, ...] = (*TABLES, "changes")) -> dict[str, str]:
    """A digest of every row by table; of `changes`, whose order and marks are random, which prototypes it names."""
    found = {}
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            columns = "prototype" if table == "changes" else "*"
            rows = connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall()
            found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found


class Judge:
    """Compares the killed gallery with its twin, and counts."""

    def __init__(self, path: Path, twin: Gallery, seed: int) -> None:
        self.path, self.twin, self.seed = path, twin, seed
        self.counts: Counter[str] = Counter()
        self.left: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.earlier = [state(twin.path)]

    def acknowledged(self, operations: list[tuple[int, str]]) -> None:
        for number, kind in operations:
            self.counts[operate(self.twin, kind, self.seed, number)] += 1
            self.earlier.append(state(self.twin.path))

    def judge(self, under_way: tuple[int, str] | None, path: Path) -> None:
        """The killed gallery at `path`, in which `under_way` may have been kept, or not."""
        if found := check_gallery(path):
            self.fail("findings", found[0].text)
        now = state(path)
        if now != self.earlier[-1] and under_way is not None and under_way[1] in OPERATIONS:
            self.acknowledged([under_way])
            self.counts["kept though not acknowledged"] += now == self.earlier[-1]
        if now != self.earlier[-1]:
            differ = ", ".join(table for table, digest in now.items() if digest != self.earlier[-1][table])
            self.fail("lost" if now in self.earlier[:-1] else "unexpected", f"{differ} differ, under way: {under_way}")
        features = np.stack([feature(np.random.default_rng(one)) for one in range(8)])
        answers = []
        for index in (INDEX, "flat"):
            with read_gallery(path, index) as reader:
                hits = reader.search(features, 5)
            answers.append([[(hit.vehicle, hit.name, round(hit.score, 4)) for hit in row] for row in hits])
        if answers[0] != answers[1]:
            self.fail("searches differ", str(under_way))
        self.writer(path, under_way)

    def writer(self, path: Path, under_way: object) -> None:
        """The next writer is let in, and leaves what is listed."""
        try:
            edit_gallery(path).close()
        except Refused as refusal:
            self.fail("writers refused", f"{refusal}, after {under_way}")
        for one in path.parent.iterdir():
            self.left[re.sub(r"\d+|(?<=db-)\w{8}$", "N", one.name)] += 1

    def whole(self, kind: str, path: Path, before: Path, expected: Path) -> None:
        """A gallery that was being made, upgraded or repaired is as it was, or as `expected`."""
        damaged = path.with_name(path.name + ".damaged")
        if not path.exists() and kind != "create":
            return self.fail("lost", f"{path.name} is gone after a kill during {kind}")
        self.counts[f"{kind}: nothing done yet"] += path.exists() and path.read_bytes() == before.read_bytes()
        if kind == "repair" and check_gallery(path):
            damaged.unlink(missing_ok=True)  # as the refusal says; it is the same file
            repaired(path)
        tables = TABLES[1:4] if kind == "repair" else TABLES[1:3]
        self.writer(path, kind) if path.exists() else opened(path).close()
        if check_gallery(path) or state(path, tables) != state(expected, tables):
            self.fail("unexpected", f"{kind}: {[one.text for one in check_gallery(path)]}")

    def fail(self, what: str, text: str) -> None:
        self.counts[what] += 1
        self.wrong.append(f"{what}: {text}")


def copied(path: Path) -> Path:
    """A copy of the gallery that was left at `path`, with its write-ahead log and its index."""
    place = path.parent.with_name("copy")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for one in path.parent.glob(f"{path.name}*"):
        if not one.name.endswith("-shm"):
            shutil.copy2(one, place / one.name)
    return place / path.name


def older(path: Path, source: Path) -> None:
    """A gallery of schema 1 with the rows of `source`."""
    shutil.copyfile(source, path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for trigger in ("changes_bounded", "prototype_new", "prototype_old", "prototype_set"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for index in ("sightings_at", "vehicles_key"):
            connection.execute(f"DROP INDEX {index}")
        of_vehicles, of_sightings = (
            ["kind", "key", "named", "pictured"],
            ["seen", "kind", "plate", "quality", "feature"],
        )
        for table, columns in (("vehicles", of_vehicles), ("sightings", of_sightings)):
            for column in columns:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        for statement in (
            "DROP TABLE changes",
            "DROP TABLE audit",
            "DELETE FROM meta WHERE key IN ('identity', 'retention')",
        ):
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
        connection.execute("VACUUM")


def broken(path: Path, source: Path) -> None:
    """A copy of the gallery `source` with one page of nonsense among its sightings."""
    shutil.copyfile(source, path)
    with closing(sqlite3.connect(source)) as connection:
        (cell,) = connection.execute("SELECT feature FROM sightings ORDER BY id LIMIT 1 OFFSET 20").fetchone()
    at = path.read_bytes().index(cell) // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\x55" * 4096)
