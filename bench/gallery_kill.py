"""`kill -9` at random moments of all that changes a gallery: what was acknowledged is there, and nothing else changed.

    python bench/gallery_kill.py --kills 200 --work DIR [--seed 0]

A child works on a gallery whose hnsw index keeps a file, by operations that are drawn from the seed and their number. It says
"begin N kind" before each and "done N kind" after the call has returned; it is killed at a moment drawn uniformly over the time
that its target takes. A twin of the gallery, which nobody kills, gets the same operations here. After a kill every row of the
gallery is the twin's, before or after the one operation that was under way; `gallery check` finds nothing; the index file
finds what a comparison of everything finds; the next writer is let in. Making, upgrading and repairing a gallery are killed
too, and so is the opening of a gallery that was just killed. Rows of the audit get the operation's number for their time, so
that the twin's are the same. A kill is no loss of power: that needs the fsyncs that SQLite does at synchronous=FULL.
"""

import argparse
import hashlib
import itertools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import closing, nullcontext
from datetime import date
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.galleries import audit, edits, index_file, reindexing, retention, transfer, writing
from vreid.runtime.galleries.checking import checked
from vreid.runtime.galleries.filter import Filter
from vreid.runtime.galleries.repairing import repaired
from vreid.runtime.galleries.undo import undo
from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery, read_gallery
from vreid.runtime.records import Floats, Sighting

DIM, INDEX = 16, "hnsw"
TABLES = ("meta", "vehicles", "prototypes", "sightings", "audit", "sqlite_sequence")
VIEWS = ("gate", "yard", "dock")
CLOCK = SimpleNamespace(now=0.0)
Random = np.random.Generator


def opened(path: Path, index: str = INDEX) -> Gallery:
    return open_gallery(path, fingerprint="aaaaaaaa", dim=DIM, model="small", write=True, index=index)


def feature(rng: Random) -> Floats:
    row = rng.normal(size=DIM).astype(np.float32)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def sighting(rng: Random) -> Sighting:
    picture = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
    at = float(rng.choice([1e9, 4e9]) + rng.integers(1000))  # long ago, or later than any vehicle was written down
    return Sighting(VIEWS[rng.integers(3)], 1, 0, 9, 0.0, 1.0, 2, feature(rng), 3, 0.5, picture, at, None)


def some(gallery: Gallery, rng: Random, count: int) -> list[int]:
    """Vehicles of the gallery, each once."""
    every = [row[0] for row in gallery.run("SELECT id FROM vehicles ORDER BY id")]
    return [int(one) for one in rng.choice(every, count, replace=False)]


# The operations: what a verb or a run does, by the functions that it calls


def enrol(gallery: Gallery, rng: Random, number: int, most: int = 6) -> None:
    with gallery.transaction():
        for place in range(int(rng.integers(1, most))):
            seen = [sighting(rng) for _ in range(3)]
            vehicle = gallery.add_vehicle(f"car {number} {place}" if rng.random() < 0.5 else None, seen[0].picture)
            for one in seen:
                gallery.add_prototype(vehicle, one.camera, one.feature, one.quality)
                gallery.add_sighting(vehicle, one, 0.5)


def see(gallery: Gallery, rng: Random, number: int) -> None:
    (vehicle,), seen = some(gallery, rng, 1), sighting(rng)
    with gallery.transaction():
        gallery.search(seen.feature[None], 5)
        gallery.add_prototype(vehicle, seen.camera, seen.feature, seen.quality)
        gallery.add_sighting(vehicle, seen, 0.5, "live")


def remove(gallery: Gallery, rng: Random, number: int) -> None:
    gallery.remove(*some(gallery, rng, 1))
    retention.wipe(gallery)
    reindexing.drop_indexes(gallery.path)


def purge(gallery: Gallery, rng: Random, number: int) -> None:
    before = float(rng.choice([1e9, 4e9]) + rng.integers(250))
    retention.purge(gallery, before, vehicles=bool(rng.random() < 0.3))
    retention.compact(gallery)
    reindexing.drop_indexes(gallery.path)


def merge(gallery: Gallery, rng: Random, number: int) -> None:
    kept, *others = some(gallery, rng, 3)
    edits.merge(gallery, kept, others)


def split(gallery: Gallery, rng: Random, number: int) -> None:
    rows = gallery.run("SELECT vehicle FROM sightings GROUP BY vehicle HAVING count(*) > 1 ORDER BY vehicle").fetchall()
    (vehicle,) = rows[rng.integers(len(rows))]
    own = [row[0] for row in gallery.run("SELECT id FROM sightings WHERE vehicle = ? ORDER BY id", vehicle)]
    edits.split(gallery, vehicle, own[: max(1, len(own) // 2)])


def reindex(gallery: Gallery, rng: Random, number: int) -> None:
    reindexing.rebuild_all(gallery)
    search(gallery, rng, number)


def search(gallery: Gallery, rng: Random, number: int) -> None:
    """Drops the index file and writes it anew."""
    reindexing.drop_indexes(gallery.path)
    with read_gallery(gallery.path, INDEX) as reader:
        reader.search(feature(rng)[None], 5)


def move(gallery: Gallery, rng: Random, number: int) -> None:
    """An export of a few vehicles, imported again."""
    file = gallery.path.with_name("moved.jsonl.gz")
    file.unlink(missing_ok=True)
    with read_gallery(gallery.path) as reader:
        transfer.exported(reader, file, Filter(ids=tuple(some(gallery, rng, 3))))
    transfer.imported(gallery, file, again=True)


OPERATIONS: dict[str, Callable[[Gallery, Random, int], object]] = {
    "enrol": enrol, "see": see, "remove": remove, "purge": purge, "merge": merge, "split": split, "reindex": reindex,
    "search": search, "move": move, "undo": lambda gallery, rng, number: undo(gallery),
    "rename": lambda gallery, rng, number: gallery.rename(some(gallery, rng, 1)[0], f"van {number}"),
    "retain": lambda gallery, rng, number: retention.retain(gallery, float(rng.integers(60, 9999))),
}  # fmt: skip
WHOLE = ("create", "upgrade", "repair")  # of a gallery of their own
TARGETS = (*OPERATIONS, "purge", "reindex", "enrol", "open", "open", *WHOLE)


def operate(gallery: Gallery, kind: str, seed: int, number: int) -> str:
    """Carry operation `number` out; what it is of this gallery depends on nothing but the arguments."""
    CLOCK.now = float(number)
    try:
        OPERATIONS[kind](gallery, np.random.default_rng((seed, number)), number)
    except Refused:  # nothing to undo, for example
        return "refused"
    return "changed"


def whole(kind: str, path: Path) -> None:
    """Make, upgrade or repair the gallery at `path`."""
    if kind == "create":
        opened(path, "flat").close()
    elif kind == "upgrade":
        edit_gallery(path).close()
    else:
        repaired(path)


# The child


def child(job: dict[str, Any]) -> None:
    """Works until it is killed."""

    def say(*words: object) -> None:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())

    path, target, number, seed = Path(job["path"]), job["target"], job["number"], job["seed"]
    if target in WHOLE:
        say("begin", number, target)
        whole(target, path)
        say("done", number, target, 0)
        time.sleep(60)
    say("begin", number, "open")
    began = time.perf_counter()
    with opened(path) if job["held"] else nullcontext() as held:
        if held is not None:
            held.search(np.eye(DIM, dtype=np.float32), 3)
        say("done", number, "open", time.perf_counter() - began)
        rng = np.random.default_rng((seed, number, 1))
        for place in itertools.count():
            kind = target if place == job["after"] and target != "open" else str(rng.choice(list(OPERATIONS)))
            say("begin", number + place, kind)
            began = time.perf_counter()
            with opened(path) if held is None else nullcontext(held) as gallery:
                operate(gallery, kind, seed, number + place)
            say("done", number + place, kind, time.perf_counter() - began)


class Killed:
    """One child that was killed: its operations (number, kind) that were acknowledged, and the one under way."""

    def __init__(self, job: dict[str, Any], fraction: float, takes: dict[str, list[float]]) -> None:
        words = [sys.executable, __file__, "--child", json.dumps(job)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
        lines: list[str] = []
        with process, process.stdout as said:  # type: ignore[union-attr]
            for line in said:
                lines.append(line)
                if line.split()[0] == "begin" and line.split()[2] == job["target"]:
                    times = takes[job["target"]]
                    time.sleep(fraction * (median(times[-9:]) if times else 0.02))
                    break
            process.kill()
            lines += said  # what it said before it died
        self.died = process.returncode == -9
        rows = [line.split() for line in lines]
        done = [row for row in rows if row[0] == "done"]
        for _, _, kind, seconds in done:
            takes[kind].append(float(seconds))
        self.acknowledged = [(int(row[1]), row[2]) for row in done if row[2] in OPERATIONS]
        begun = [(int(row[1]), row[2]) for row in rows if row[0] == "begin"]
        self.under_way = begun[-1] if len(begun) > len(done) else None
        self.next = max([job["number"], *(number for number, _ in begun)]) + 1


# What must hold after a kill


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
        if found := checked(path):
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
        if kind == "repair" and checked(path):
            damaged.unlink(missing_ok=True)  # as the refusal says; it is the same file
            repaired(path)
        tables = TABLES[1:4] if kind == "repair" else TABLES[1:3]
        self.writer(path, kind) if path.exists() else opened(path).close()
        if checked(path) or state(path, tables) != state(expected, tables):
            self.fail("unexpected", f"{kind}: {[one.text for one in checked(path)]}")

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
        for index in ("sightings_at",):
            connection.execute(f"DROP INDEX {index}")
        for table, columns in (("vehicles", ["kind"]), ("sightings", ["seen", "kind", "plate", "quality", "feature"])):
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


def kill_whole(judge: Judge, kind: str, job: dict[str, Any], fraction: float, takes: dict[str, list[float]]) -> Killed:
    """Kill the making, upgrading or repairing of a gallery of its own."""
    place = judge.path.parent.parent / "apart"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("killed", "before", "expected"):
        (place / name).mkdir(parents=True)
    path, before, expected = (place / name / "g.db" for name in ("killed", "before", "expected"))
    judge.twin.run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if kind == "create":
        before.touch()
    else:
        {"upgrade": older, "repair": broken}[kind](before, judge.twin.path)
        shutil.copy2(before, path)
        shutil.copy2(before, expected)
    began = time.perf_counter()
    whole(kind, expected)
    takes[kind].append(time.perf_counter() - began)
    killed = Killed({**job, "path": str(path)}, fraction, takes)
    takes[kind] = [seconds for seconds in takes[kind] if seconds]
    judge.whole(kind, path, before, expected)
    return killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "gallery_kill.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    index_file.LEAST = 100  # so that a small gallery's index keeps a file
    for module in (audit, writing):
        vars(module)["time"] = SimpleNamespace(time=lambda: CLOCK.now)
    if flags.child:
        child(json.loads(flags.child))
        return 0
    if flags.work is None:
        parser.error("--work DIR says where the galleries may lie")
    began, rng, takes = time.perf_counter(), np.random.default_rng(flags.seed), defaultdict[str, list[float]](list)
    path, other = (flags.work.resolve() / name / "g.db" for name in ("killed", "twin"))
    for one in (path, other):
        shutil.rmtree(one.parent, ignore_errors=True)
        one.parent.mkdir(parents=True)
    with opened(path, "flat") as gallery:
        for number in range(-40, 0):
            enrol(gallery, np.random.default_rng((flags.seed, 99, number + 40)), number)
    shutil.copyfile(path, other)
    inside, kills, number = Counter[str](), Counter[str](), 0
    targets = [TARGETS[place % len(TARGETS)] for place in range(flags.kills)]
    rng.shuffle(targets)
    with opened(other, "flat") as twin:
        judge = Judge(path, twin, flags.seed)
        for place, target in enumerate(targets):
            held = bool(target == "open" or rng.random() < 0.5)
            job = {"path": str(path), "target": target, "number": number, "seed": flags.seed, "held": held}
            job["after"] = 0 if target == "open" else int(rng.integers(4))
            fraction = float(rng.random())
            if target in WHOLE:
                killed = kill_whole(judge, target, job, fraction, takes)
            else:
                killed = Killed(job, fraction, takes)
                judge.acknowledged(killed.acknowledged)
            number = killed.next
            kills[target] += 1
            inside[killed.under_way[1] if killed.under_way else "between two"] += 1
            if not killed.died:
                judge.fail("children that failed", f"{target} of operation {number}")
            if target not in WHOLE:
                # an opening that is to be killed finds the gallery as this kill left it: a copy is judged
                judge.judge(killed.under_way, copied(path) if "open" in targets[place + 1 : place + 2] else path)
            if judge.wrong:
                break
            if place % 20 == 19:
                print(f"{place + 1} kills, {sum(inside.values()) - inside['between two']} inside", flush=True)
    found = {
        "kills": sum(kills.values()), "aimed_at": dict(sorted(kills.items())), "inside": dict(sorted(inside.items())),
        "operations_acknowledged": len(judge.earlier) - 1,
        **{what: judge.counts[what] for what in ("lost", "unexpected", "findings", "searches differ", "writers refused")},
        "counts": dict(judge.counts), "left_beside": dict(judge.left), "wrong": judge.wrong,
        "sqlite": sqlite3.sqlite_version, "seed": flags.seed, "seconds": round(time.perf_counter() - began, 1),
        "date": date.today().isoformat(),
    }  # fmt: skip
    print(f"{'under way':<14}{'kills':>6}")
    for kind, count in sorted(inside.items(), key=lambda one: -one[1]):
        print(f"{kind:<14}{count:>6}")
    print(json.dumps({key: value for key, value in found.items() if key not in ("aimed_at", "inside")}, indent=2))
    flags.out.write_text(json.dumps(found, indent=2) + "\n")
    return 1 if judge.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
