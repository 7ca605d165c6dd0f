"""An edit with a key is done once, whatever is killed when; and what else may be asked of a gallery's writer."""

import json
import random
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from made_gallery import features, noise, opened, sighted, sighting

from vreid.models.errors import GalleryLocked, KeyReused, NameTaken, NotFound, Refused
from vreid.models.picture import thumbnail_of
from vreid.runtime.gallery import Gallery, edit_gallery, kept_answers, read_gallery
from vreid.runtime.gallery.clean import CleanRule
from vreid.runtime.gallery.edit_socket import EditServer, edited
from vreid.runtime.gallery.kept_answers import KEPT_S, forget_answers, keep_answer, kept_answer
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.requests import (
    Calibrate,
    Clean,
    Confirm,
    Enrol,
    Merge,
    Once,
    Purge,
    Reject,
    Remove,
    Rename,
    Request,
    Retain,
    Undo,
)
from vreid.runtime.gallery.store import Store


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "known.db"
    with opened(path) as gallery:
        for number, name in enumerate(("taxi", "van")):
            sighted(gallery, gallery.add_vehicle(name), sighting(number, seen=100.0))
    yield path


def b64(content: bytes) -> str:
    return b64encode(content).decode("ascii")


def new_vehicle(seed: int = 3, **fields: Any) -> Enrol:
    return Enrol(**{"features": b64(features(2, seed).tobytes()), **fields})


def answered_by(gallery: Gallery) -> EditServer:
    def answer(request: Request, who: str) -> dict[str, Any]:
        with gallery.acting_as(who):
            return request.apply(gallery).result

    return EditServer(gallery, answer)


@pytest.mark.parametrize("through", [False, True], ids=["here", "by the writer"])
def test_a_refusal_is_of_its_class(known: Path, through: bool) -> None:
    cases = [
        (NotFound, Rename(vehicle="nobody", name="x")), (NotFound, Remove(vehicle="id=77")), (NotFound, Confirm(sighting=99)),
        (NotFound, Undo(change=99)), (NotFound, Reject(sighting=99)), (NameTaken, Rename(vehicle="taxi", name="VAN")),
        (Refused, Merge(vehicles=("taxi",))), (NameTaken, new_vehicle(name="Taxi")),
    ]  # fmt: skip
    with edit_gallery(known) as gallery:
        server = answered_by(gallery) if through else None
        if server is None:
            gallery.close()
        for kind, request in cases:
            with pytest.raises(Refused) as refused:
                edited(known, request)
            assert type(refused.value) is kind, request
        if server is not None:
            server.__exit__()


@pytest.mark.parametrize("through", [False, True], ids=["here", "by the writer"])
def test_the_same_key_gives_the_same_answer_and_no_second_edit(known: Path, through: bool) -> None:
    with edit_gallery(known) as gallery:
        server = answered_by(gallery) if through else None
        if server is None:
            gallery.close()
        first = edited(known, new_vehicle(kind="bus"), "ann", "key 1")
        assert edited(known, new_vehicle(kind="bus"), "bob", "key 1") == first
        assert first == {"change": 3, "id": 3, "name": "vehicle-0003", "prototypes": 2}
        with pytest.raises(KeyReused, match="'key 1'"):
            edited(known, new_vehicle(kind="car"), "ann", "key 1")
        with pytest.raises(KeyReused):
            edited(known, Remove(vehicle="taxi"), "ann", "key 1")
        assert edited(known, new_vehicle(kind="bus"), "ann", "key 2")["id"] == 4
        gone = edited(known, Remove(vehicle="taxi"), "ann", "key 3")
        assert gone == {"change": 5, "id": 1, "name": "taxi"}
        assert edited(known, Remove(vehicle="taxi"), "ann", "key 3") == {**gone, "name": None}
        with pytest.raises(NotFound):  # a refusal is no answer that is kept
            edited(known, Rename(vehicle="cab", name="x"), "ann", "key 4")
        edited(known, Rename(vehicle="van", name="cab"), "ann", "key 5")
        assert edited(known, Rename(vehicle="cab", name="x"), "ann", "key 4")["id"] == 2
        for key in ("", "x" * 201, "a\nb"):
            with pytest.raises(Refused, match="the key of an edit"):
                edited(known, new_vehicle(), "ann", key)
        if server is not None:
            server.__exit__()
    with read_gallery(known) as gallery:
        assert [one.name for one in gallery.vehicles()] == ["x", "vehicle-0003", "vehicle-0004"]
        assert [change.verb for change in gallery.changes()] == ["enrol"] * 4 + ["remove", "rename", "rename"]


def test_a_result_names_the_row_of_the_audit_or_none_where_nothing_was_changed(known: Path) -> None:
    with edit_gallery(known) as gallery:
        sighted(gallery, 1, sighting(5, seen=200.0))

        def done(request: Request) -> tuple[int | None, list[str]]:
            """The row that the result names, and the verbs of that row and of those behind it."""
            before = len(gallery.changes())
            change = request.apply(gallery).result["change"]
            new = gallery.changes()[before:]
            assert [row.id for row in new if row.id == change] == ([] if change is None else [change])
            return change, [row.verb for row in new]

        assert done(new_vehicle())[1] == ["enrol"]
        sighted(gallery, 3, sighting(6, seen=300.0))
        renamed, verbs = done(Rename(vehicle="taxi", name="cab"))
        assert verbs == ["rename"]
        assert done(Rename(vehicle="cab", name="cab")) == (None, [])
        rejected, verbs = done(Reject(sighting=3))
        assert verbs == ["split", "reject"]
        taken, verbs = done(Undo(change=rejected))
        assert verbs == ["undo", "undo"]
        assert {row.id: row.undone for row in gallery.changes()}[rejected] == taken
        assert done(Undo(change=renamed))[1] == ["undo"]
        assert done(Retain(seconds=1e6))[1] == ["retain"]
        assert done(Purge(before=1.0)) == (None, [])
        assert done(Purge(before=150.0))[1] == ["purge"]
        assert done(Clean(rule=CleanRule(once=True, only=Filter(cameras=("nowhere",))))) == (None, [])
        assert done(Clean(rule=CleanRule(only=Filter(ids=(3,)))))[1] == ["clean"]
        assert done(Remove(vehicle="van"))[1] == ["remove"]


def test_no_answer_keeps_a_name_of_what_was_removed(gallery: Gallery) -> None:
    for name in ("taxi", "van", "bus"):
        sighted(gallery, gallery.add_vehicle(name), sighting(len(name), seen=100.0))
    edits: list[tuple[str, Any]] = [
        ("1", Rename(vehicle="taxi", name="grey cab")), ("2", Rename(vehicle="van", name="grey van")),
        ("3", Rename(vehicle="bus", name="old bus")), ("4", Merge(vehicles=("grey cab", "grey van"))),
    ]  # fmt: skip
    for key, edit in edits:
        Once(key=key, edit=edit).apply(gallery)
    with gallery.transaction() as store:
        store.set_setting("answer to 5", "damaged grey cab")
    removal = Once(key="6", edit=Remove(vehicle="grey cab"))
    assert removal.apply(gallery).result["name"] == "grey cab"
    Once(key="7", edit=Clean(rule=CleanRule(once=True))).apply(gallery)
    with gallery.reading() as store:
        kept = store.settings("answer to ")
    assert sorted(kept) == [f"answer to {number}" for number in (1, 2, 3, 4, 6, 7)]
    assert "grey" not in str(kept) and "old bus" in str(kept)
    assert removal.apply(gallery).result == {"change": 8, "id": 1, "name": None}
    assert Once(key="3", edit=edits[2][1]).apply(gallery).result["name"] == "old bus"


def test_answers_stay_for_a_day_and_so_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_answers, "MOST", 5)
    now = time.time()
    with store.transaction():
        store.set_setting("other", "kept")
        for number in range(8):
            monkeypatch.setattr(time, "time", lambda number=number: now + number)
            keep_answer(store, f"key {number}", "asked", {"number": number})
    assert [kept_answer(store, f"key {number}", "asked") for number in (2, 3, 7)] == [
        None,
        {"number": 3},
        {"number": 7},
    ]
    monkeypatch.setattr(time, "time", lambda: now + KEPT_S + 5.5)
    assert [kept_answer(store, f"key {number}", "asked") for number in (5, 6)] == [None, {"number": 6}]
    with store.transaction():
        forget_answers(store)
    monkeypatch.setattr(time, "time", lambda: now)
    assert [kept_answer(store, f"key {number}", "asked") for number in (5, 6)] == [None, {"number": 6}]
    assert store.setting("other") == "kept"


WRITER = """
import os, signal, sys
from vreid.runtime.gallery import edit_gallery
from vreid.runtime.gallery.edit_socket import EditServer

with edit_gallery(sys.argv[1]) as gallery:
    def answer(request, who):
        with gallery.acting_as(who):
            result = request.apply(gallery).result
        if sys.argv[2] == "commit":  # after it, and before the answer
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    with EditServer(gallery, answer):
        print("ready", flush=True)
        sys.stdin.read()
"""


def writer(path: Path, dies: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(path), dies]
    started = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None and started.stdout.readline() == "ready\n"
    return started


def test_an_edit_whose_answer_was_lost_is_done_once(known: Path) -> None:
    with writer(known, "commit") as process:
        with pytest.raises(GalleryLocked, match="did not answer"):
            edited(known, new_vehicle(), "ann", "key 1")
        assert process.wait(60) == -signal.SIGKILL
    assert edited(known, new_vehicle(), "ann", "key 1")["id"] == 3
    with writer(known, "never") as process:
        assert edited(known, new_vehicle(), "ann", "key 1")["id"] == 3
        process.kill()
    with read_gallery(known) as gallery:
        assert len(gallery.vehicles()) == 3


CLIENT = """
import sys
from vreid.models.errors import GalleryLocked
from vreid.runtime.gallery.edit_socket import edited
from vreid.runtime.gallery.requests import Enrol
from pathlib import Path

number = int(sys.argv[2])
while True:
    try:
        done = edited(Path(sys.argv[1]), Enrol(features=sys.argv[3]), "ann", f"key {number}")
    except GalleryLocked:
        continue
    print(number, done["id"], flush=True)
    number += 1
"""


@pytest.mark.parametrize("rounds", [4, pytest.param(50, marks=pytest.mark.slow)])
def test_what_was_acknowledged_is_there_once_whoever_is_killed(known: Path, rounds: int) -> None:
    """The writer and who asks it are killed in turn, at random moments; whoever comes next goes on with the last key."""
    chance, row, said, number = random.Random(0), b64(features(1, 9).tobytes()), dict[int, int](), 0
    for turn in range(rounds):
        with writer(known, "never") as process:
            words = [sys.executable, "-c", CLIENT, str(known), str(number), row]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
                assert client.stdout is not None
                lines = [client.stdout.readline()]  # it is amid its edits
                time.sleep(chance.random() / 5)
                first, last = (process, client) if turn % 2 else (client, process)
                first.kill()
                time.sleep(chance.random() / 5)
                last.kill()
                lines += client.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):  # the last one may have been cut
                key, vehicle = map(int, line.split())
                assert said.setdefault(key, vehicle) == vehicle
        number = max(said)  # again, and then one that nobody knows whether it was done
    assert edited(known, Enrol(features=row), "ann", f"key {number}")["id"] == said[number]
    with read_gallery(known) as gallery:
        made = [change.vehicle for change in gallery.changes(verbs=["enrol"]) if change.who == "ann"]
        there = {one.id for one in gallery.vehicles()}
    assert {*said.values()} <= there and len(set(said.values())) == len(said)
    assert len(made) - len(said) in (0, 1)  # the last may be done without an answer


def test_a_vehicle_is_enrolled_with_its_picture(known: Path) -> None:
    jpeg = thumbnail_of(noise(1)) or b""
    done = edited(known, new_vehicle(name="Bus 7", kind="bus", picture=b64(jpeg)))
    with read_gallery(known) as gallery:
        vehicle = gallery.vehicles()[-1]
        assert (vehicle.id, vehicle.name, vehicle.kind, vehicle.prototypes) == (done["id"], "Bus 7", "bus", 2)
        picture = cv2.imdecode(np.frombuffer(gallery.vehicle_picture(3) or b"", np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == noise(1).shape
        (found,) = gallery.search(features(2, 3)[:1], 1)
        assert (found[0].vehicle, round(found[0].score, 3)) == (3, 1.0)


large = cv2.imencode(".jpg", np.zeros((6000, 6000), np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 1])[1].tobytes()
WRONG = {
    "no base64": ({"features": "a-b_"}, "must be base64"),
    "none": ({"features": ""}, "1 to 256 rows of 8 float32"),
    "half a row": ({"features": b64(bytes(33))}, "1 to 256 rows of 8 float32"),
    "too many": ({"features": b64(np.ones((257, 8), "<f4").tobytes())}, "1 to 256 rows"),
    "zeros": ({"features": b64(bytes(32))}, "zero"),
    "not a number": ({"features": b64(np.full(8, np.nan, "<f4").tobytes())}, "NaN|finite|number"),
    "a name": ({"name": "a\nb"}, "a vehicle's name must be"),
    "no JPEG": ({"picture": b64(b"GIF89a")}, "is not a JPEG"),
    "a JPEG that is cut": ({"picture": b64((thumbnail_of(noise(2)) or b"")[:-40])}, "cut short"),
    "a large JPEG": ({"picture": b64(b"\xff\xd8" + bytes(100_000))}, "100,000 are the most"),
    "a JPEG of many pixels": ({"picture": b64(large[:99_000])}, "6000 x 6000 pixels"),
}


@pytest.mark.parametrize(("fields", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_enrolled_is_refused_with_nothing_written(known: Path, fields: Any, words: str) -> None:
    before = known.read_bytes()
    with pytest.raises(Refused, match=words):
        edited(known, new_vehicle(**fields), "ann", "key 1")
    assert known.read_bytes() == before


def test_retention_purge_and_calibration_by_the_writer(known: Path) -> None:
    with edit_gallery(known) as gallery, answered_by(gallery):
        assert edited(known, Retain(seconds=3600.0))["retention"] == 3600.0 and gallery.retention() == 3600.0
        with pytest.raises(Refused, match="at least 60 s"):
            edited(known, Retain(seconds=5.0))
        assert edited(known, Retain(seconds=None))["retention"] is None and gallery.retention() is None
        with pytest.raises(Refused, match="too few"):
            edited(known, Calibrate())
        assert edited(known, Purge(before=50.0))["sightings"] == 0
        done = edited(known, Purge(before=101.0, vehicles=True), "ann", "key 1")
        assert (done["sightings"], done["vehicles"]) == (2, 0)
        assert edited(known, Purge(before=101.0, vehicles=True), "ann", "key 1") == done
        assert [(one.verb, one.who) for one in gallery.changes(1)] == [("purge", "ann")]
    for before in (-1.0, 1e12, float("nan")):
        with pytest.raises(ValueError, match="before"):
            Purge(before=before)
    assert json.loads(Purge(before=5.0).model_dump_json()) == {"verb": "purge", "before": 5.0, "vehicles": False}
