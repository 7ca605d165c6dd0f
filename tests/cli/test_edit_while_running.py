"""People name, merge, split, take back and remove vehicles while a live run writes to their gallery."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_run import run_during, until

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.edit_socket import edited
from vreid.runtime.gallery.requests import Merge, Remove, Rename, Undo

RED, BLUE = (0, 0, 255), (255, 0, 0)


def gallery_verb(*words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, JSON and stderr of `vreid gallery` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "vreid.cli.main", "gallery", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, json.loads(done.stdout or "{}"), done.stderr


def test_a_vehicle_is_named_merged_and_removed_while_cameras_run(
    tmp_path: Path, tiny_model: Path, film: Any, device: Callable[[Path], str], capfd: pytest.CaptureFixture[str]
) -> None:
    tops = (5, 35, 65, 90)  # the detector learns what comes back to the same place
    for name, colour in (("red", RED), ("blue", BLUE)):
        film(tmp_path / f"{name}.avi", [(colour, 50 * turn, tops[turn % 4]) for turn in range(40)], frames=2000)
    known, out = tmp_path / "known.db", tmp_path / "out"

    def rows() -> list[dict[str, Any]]:
        file = out / "sightings.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def steps() -> None:
        until(lambda: {row["camera"] for row in rows()} == {"left", "right"})
        red, blue = (next(row["vehicle"] for row in rows() if row["camera"] == name) for name in ("left", "right"))
        assert red != blue
        where = ("--gallery", str(known))
        code, done, _ = gallery_verb("rename", f"id={red}", "taxi", *where)
        assert (code, done["id"], done["name"]) == (0, red, "taxi")
        seen = len(rows())
        until(lambda: any(row["name"] == "taxi" for row in rows()[seen:]))  # the run knows the new name
        with pytest.raises(Refused, match="TAXI"):
            edited(known, Rename(vehicle=f"id={blue}", name="TAXI"))
        assert edited(known, Merge(vehicles=("taxi", f"id={blue}")))["merged"] == [blue]
        seen = len(rows())
        until(lambda: any(row["camera"] == "right" and row["vehicle"] == red for row in rows()[seen:]))
        assert edited(known, Undo())["verb"] == "merge"
        assert edited(known, Remove(vehicle=f"id={blue}"))["id"] == blue
        seen = len(rows())
        until(lambda: any(row["camera"] == "right" for row in rows()[seen + 1 :]))
        assert blue not in {row["vehicle"] for row in rows()[seen + 1 :]}

    sources = [f"left={device(tmp_path / 'red.avi')}", f"right={device(tmp_path / 'blue.avi')}"]
    flags = ["--model", str(tiny_model), "--detector", "motion", "--gallery", str(known), "--enrol-unknown"]
    run_during(steps, ["run", *sources, *flags, "--out", str(out)])
    capfd.readouterr()
    with read_gallery(known) as gallery:
        people = {change.verb: change.who for change in gallery.changes() if not change.who.startswith("run:")}
    assert set(people) >= {"rename", "merge", "undo", "remove"} and not (tmp_path / "known.db-edit").exists()
