"""Cells of the wrong type, text that is not UTF-8 and damaged changes: refused in a sentence, found and repaired."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_gallery import features, opened, sighted, sighting, sql

from vreid.cli.main import main
from vreid.models.errors import GalleryDamaged, Refused
from vreid.runtime.gallery import edit_gallery, edits, read_gallery
from vreid.runtime.gallery.maintenance import repaired
from vreid.runtime.gallery.sqlite import check
from vreid.runtime.gallery.sqlite.rows import CELL_RULES


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two cars and a third that was merged into the first, and the second renamed."""
    with opened(tmp_path / "g.db") as gallery:
        for number, feature in enumerate(features(3)):
            vehicle = gallery.add_vehicle(f"car {number}", kind="car")
            sighted(gallery, vehicle, sighting(number, feature=feature, seen=5.0, plate="B 1"))
        edits.merge(gallery, 1, [3])
        gallery.rename(2, "taxi")
    return tmp_path / "g.db"


def wrong_for(kind: str) -> list[str]:
    """Cells that a column of this kind does not take."""
    values = {"text": ["x'ff'", "cast(x'ff41' as text)"], "blob": ["'text'"]}
    return values.get(kind, ["'text'", "x'ff'"])


CELLS = [
    (table, column, wrong)
    for table, columns in CELL_RULES.items()
    for column, (kind, _) in columns.items()
    for wrong in wrong_for(kind)
]


@pytest.mark.parametrize(("table", "column", "wrong"), CELLS)
def test_a_cell_of_another_type_is_refused_found_and_repaired(
    path: Path, table: str, column: str, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sql(path, f"UPDATE {table} SET {column} = {wrong} WHERE id = (SELECT max(id) FROM {table})", foreign_keys=False)
    for words in (["list"], ["show", "id=2"], ["audit"], ["stats"], ["list", "--html", str(path.with_name("p.html"))]):
        assert main(["gallery", *words, "--gallery", str(path), "--json"]) in (0, 2)
    edited = shutil.copyfile(path, path.with_name("edited.db"))  # an edit may rewrite the damaged row
    with edit_gallery(edited) as gallery:
        for call in (
            lambda: gallery.search(features(1), 2),
            lambda: edits.merge(gallery, 1, [2]),
            lambda: edits.undo(gallery),
        ):
            tolerated(call)
    capsys.readouterr()
    found = check.check_gallery(path)
    assert len(found) >= 1 and table in found[0].text and column in found[0].text
    assert repaired(path)
    assert check.check_gallery(path) == []
    with read_gallery(path) as gallery:
        for vehicle in gallery.vehicles():
            gallery.details(vehicle.id)
        gallery.search(features(1), 2)
        gallery.changes()


@pytest.mark.parametrize("wrong", ["'text'", "x'ff'", "NULL"])
def test_a_last_id_that_is_not_a_number_is_refused_found_and_repaired(path: Path, wrong: str) -> None:
    sql(path, f"UPDATE sqlite_sequence SET seq = {wrong} WHERE name = 'vehicles'", foreign_keys=False)
    with edit_gallery(path) as gallery, pytest.raises(GalleryDamaged, match="last id of vehicles"):
        gallery.add_vehicle()
    assert [finding.kind for finding in check.check_gallery(path)] == ["sequence"]
    assert repaired(path)
    with edit_gallery(path) as gallery:
        assert gallery.add_vehicle() > 2


def tolerated(call: Callable[[], object]) -> None:
    """It succeeds, or refuses in a sentence."""
    try:
        call()
    except Refused:
        return


MERGE = {"vehicles": [1, 3], "names": ["car 0", "car 2"], "sightings": 1}


@pytest.mark.parametrize(
    "detail",
    ["x", "[]", "null", "5", "[" * 5000, '{"a":' * 100_000 + "1" + "}" * 100_000, '{"vehicles": 5}', '{"vehicles": ["x"]}',
     '{"vehicles": [NaN]}', '{"a": NaN}', "9" * 5000],
)  # fmt: skip
def test_a_change_that_cannot_be_read_is_refused_found_and_repaired(path: Path, detail: str) -> None:
    sql(path, "UPDATE audit SET detail = ? WHERE verb = 'merge'", detail)
    with edit_gallery(path) as gallery:
        for call in (gallery.changes, lambda: gallery.details(1), lambda: edits.undo(gallery)):
            with pytest.raises(GalleryDamaged, match=r"g\.db"):
                call()
    assert [finding.kind for finding in check.check_gallery(path)] == ["audit"]
    assert repaired(path)
    assert check.check_gallery(path) == []
    with edit_gallery(path) as gallery:
        gallery.details(1)
        edits.undo(gallery)


def undo_of(path: Path) -> Any:
    ((text,),) = sql(path, "SELECT detail FROM audit WHERE verb = 'merge'")
    return json.loads(text)["undo"]


@pytest.mark.parametrize(
    ("part", "value"),
    [(None, {}), ("vehicles", [[1]]), ("vehicles", []), ("vehicles", "x"), ("vehicles", None), ("prototypes", [[1]]),
     ("prototypes", [[1, 1, "gate", "!!!", 1.0, 1]]), ("prototypes", [[1, 1, "gate", "AAAA", 1.0, 1]]), ("after", "x"),
     ("after", [10**30]), ("after", ["x"]), ("sightings", {}), ("sightings", []), ("sightings", {"3": ["x"]})],
)  # fmt: skip
def test_undo_data_of_another_shape_is_refused_found_and_dropped(path: Path, part: str | None, value: object) -> None:
    undo = value if part is None else {**undo_of(path), part: value}
    sql(path, "UPDATE audit SET detail = ? WHERE verb = 'merge'", json.dumps({**MERGE, "undo": undo}))
    ((change,),) = sql(path, "SELECT id FROM audit WHERE verb = 'merge'")
    with edit_gallery(path) as gallery, pytest.raises(GalleryDamaged, match=rf"change {change} of .*g\.db"):
        edits.undo(gallery, change)
    assert [finding.kind for finding in check.check_gallery(path)] == ["undo"]
    assert repaired(path)
    assert check.check_gallery(path) == []


def test_what_merge_split_and_rename_keep_is_sound(path: Path) -> None:
    with edit_gallery(path) as gallery:
        edits.split(gallery, 1, [gallery.sightings(1)[0].id])
    assert check.check_gallery(path) == []
    with edit_gallery(path) as gallery:
        assert [edits.undo(gallery).verb for _ in range(3)] == ["split", "rename", "merge"]
