"""`kill -9` at random moments of all that changes a gallery: what was acknowledged is there, and nothing else changed.

    python bench/gallery_kill.py --kills 200 --work DIR [--seed 0]

A child works on a gallery whose hnsw index keeps a file, by operations that are drawn from the seed and their number. It says
"begin N kind" before each and "done N kind" after the call has returned; it is killed at a moment drawn uniformly over the time
that its target takes. A twin of the gallery, which nobody kills, gets the same operations here. After a kill every row of the
gallery is the twin's, before or after the one operation that was under way; `gallery check` finds nothing; the index file
finds what a comparison of everything finds; the next writer is let in. Making, upgrading and repairing a gallery are killed
too, and so is the opening of a gallery that was just killed. Rows of the audit get the operation's number for their time, so
that the twin's are the same. A kill is not a loss of power: that needs the fsyncs that SQLite does at synchronous=FULL.
"""

import argparse
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from gallery_operations import DIM, OPERATIONS, TARGETS, WHOLE, enrol, opened, operate, prepared, whole
from gallery_twin import Judge, broken, copied, older
from rows import RESULTS


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


def kill_whole(judge: Judge, kind: str, job: dict[str, Any], fraction: float, takes: dict[str, list[float]]) -> Killed:
    """Kill the making, upgrading or repairing of a gallery of its own."""
    place = judge.path.parent.parent / "apart"
    shutil.rmtree(place, ignore_errors=True)
    for name in ("killed", "before", "expected"):
        (place / name).mkdir(parents=True)
    path, before, expected = (place / name / "g.db" for name in ("killed", "before", "expected"))
    judge.twin.wipe()
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
    parser.add_argument("--out", type=Path, default=RESULTS / "gallery_kill.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    prepared()
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
