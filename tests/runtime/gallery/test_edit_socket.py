"""Edits through the process that writes to a gallery: what it answers, and to whom."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vreid.models.errors import GalleryLocked, Refused
from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery
from vreid.runtime.gallery.edit_socket import EditServer, edited, socket_of
from vreid.runtime.gallery.requests import Merge, Remove, Rename, Request, Split, Undo, read_request


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with open_gallery(tmp_path / "known.db", fingerprint="aaaaaaaa", dim=4, model="small", write=True) as gallery:
        for number, name in enumerate(("taxi", "van")):
            gallery.add_prototype(gallery.add_vehicle(name), "gate", np.eye(4, dtype=np.float32)[number])
        yield gallery


def answered_by(gallery: Gallery) -> EditServer:
    def answer(request: Request, who: str) -> dict[str, Any]:
        with gallery.acting_as(who):
            return request.apply(gallery).result

    return EditServer(gallery, answer)


def test_the_writer_does_what_another_asks_and_the_audit_names_who(gallery: Gallery) -> None:
    with answered_by(gallery):
        assert edited(gallery.path, Rename(vehicle="taxi", name="cab"), "ann") == {"change": 3, "id": 1, "name": "cab"}
        done = edited(gallery.path, Merge(vehicles=("cab", "van")), "bob")
        assert gallery.name_of(1) == "cab" and done["merged"] == [2]
        edited(gallery.path, Undo(), "ann")
        edited(gallery.path, Remove(vehicle="van"), "ann")
    said = [(change.who, change.verb) for change in gallery.changes() if change.verb not in ("enrol", "add")]
    assert {("ann", "undo"), ("ann", "remove")} <= set(said)
    assert [one.name for one in gallery.vehicles()] == ["cab"] and gallery.who not in ("ann", "bob")


def test_a_refusal_comes_back_as_the_same_sentence(gallery: Gallery) -> None:
    with answered_by(gallery):
        with pytest.raises(Refused, match="van") as through:
            edited(gallery.path, Rename(vehicle="taxi", name="van"))
        with pytest.raises(Refused) as here:
            Rename(vehicle="taxi", name="van").apply(gallery)
        assert str(through.value) == str(here.value)
        with pytest.raises(Refused, match="say which sightings"):
            edited(gallery.path, Split(vehicle="taxi"))


def test_without_a_writer_it_is_done_here_and_with_one_that_does_not_listen_it_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "known.db"
    with open_gallery(path, fingerprint="aaaaaaaa", dim=4, model="small", write=True) as gallery:
        gallery.add_vehicle("taxi")
        with pytest.raises(GalleryLocked):
            edited(path, Rename(vehicle="taxi", name="cab"))
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(socket_of(path)))  # of a writer that was killed
    assert edited(path, Rename(vehicle="taxi", name="cab"), "ann")["name"] == "cab"
    with edit_gallery(path) as gallery, answered_by(gallery):
        assert edited(path, Rename(vehicle="cab", name="taxi"))["name"] == "taxi"
    assert not socket_of(path).exists()


def test_a_long_folder_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    with open_gallery(folder / "known.db", fingerprint="aaaaaaaa", dim=4, model="small", write=True) as gallery:
        gallery.add_vehicle("taxi")
        with answered_by(gallery):
            assert edited(gallery.path, Rename(vehicle="taxi", name="cab"))["id"] == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"\n",
        b"[]\n",
        b"{}\n",
        b'{"who": "a", "edit": {"verb": "drop"}}\n',
        b"\xff\n",
        b"half",
        b"x" * (5 << 20) + b"\n",
    ],
)
def test_what_is_no_request_changes_nothing_and_the_next_one_is_answered(gallery: Gallery, sent: bytes) -> None:
    with answered_by(gallery):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(socket_of(gallery.path)))
            try:
                line.sendall(sent)
                line.shutdown(socket.SHUT_WR)
                answer = line.makefile().readline()
            except OSError:
                answer = ""  # it hangs up on what is too long
        assert not answer or "refused" in json.loads(answer)
        assert edited(gallery.path, Rename(vehicle="taxi", name="cab"))["name"] == "cab"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_may_not_edit(gallery: Gallery) -> None:
    with answered_by(gallery):
        place = socket_of(gallery.path)
        place.chmod(0o666)
        place.parent.chmod(0o755)
        code = (
            "import os, socket; os.setuid(65534); line = socket.socket(socket.AF_UNIX);"
            f"line.connect({place.name!r}); print(line.makefile().readline())"
        )
        words = [sys.executable, "-c", code]  # from its folder, since those above it are closed to others
        done = subprocess.run(words, cwd=place.parent, capture_output=True, text=True, check=False)
    assert "only that user may change it" in done.stdout


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyError("vehicles")])
def test_an_edit_that_fails_is_answered_and_so_is_the_next_one(gallery: Gallery, failure: Exception) -> None:
    def answer(request: Request, who: str) -> dict[str, Any]:
        if isinstance(request, Undo):
            raise failure
        return request.apply(gallery).result

    with EditServer(gallery, answer):
        with pytest.raises(Refused, match="the edit failed"):
            edited(gallery.path, Undo())
        assert edited(gallery.path, Rename(vehicle="taxi", name="cab"))["name"] == "cab"


def test_a_document_of_a_request_is_read_and_another_is_refused() -> None:
    assert read_request({"verb": "undo", "change": 3}) == Undo(change=3)
    for other in ({"verb": "undo", "chang": 3}, {"verb": "purge", "before": "soon"}, "undo", None):
        with pytest.raises(Refused, match="not an edit"):
            read_request(other)


def test_who_is_slow_or_silent_holds_up_nobody(gallery: Gallery) -> None:
    with answered_by(gallery), ExitStack() as open_:
        for sent in [b""] * 20 + [b"{"] * 20:
            connection = open_.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(socket_of(gallery.path)))
            connection.sendall(sent)
        assert edited(gallery.path, Rename(vehicle="taxi", name="cab"))["name"] == "cab"


def test_an_edit_is_not_done_for_whom_has_hung_up_before_its_turn(gallery: Gallery) -> None:
    began, go_on, done = threading.Event(), threading.Event(), list[str]()

    def answer(request: Request, who: str) -> dict[str, Any]:
        began.set()
        assert go_on.wait(60)
        done.append(who)
        return {}

    with EditServer(gallery, answer), ThreadPoolExecutor(2) as people:
        first = people.submit(edited, gallery.path, Undo(), "ann")
        assert began.wait(60)
        with socket.socket(socket.AF_UNIX) as left:
            left.connect(str(socket_of(gallery.path)))
            left.sendall(b'{"who": "bob", "edit": {"verb": "undo"}}\n')
        go_on.set()
        assert first.result() == {} and edited(gallery.path, Undo(), "eve") == {}
    assert done == ["ann", "eve"]


def test_forty_at_once_are_all_answered(gallery: Gallery) -> None:
    with answered_by(gallery), ThreadPoolExecutor(40) as people:
        done = people.map(lambda turn: edited(gallery.path, Rename(vehicle="id=1", name=f"name {turn}")), range(40))
        assert sorted(one["name"] for one in done) == sorted(f"name {turn}" for turn in range(40))


@pytest.mark.parametrize("who", ["run:live", "two\nlines", "\x00"])
def test_an_edit_is_written_down_as_a_persons(gallery: Gallery, who: str) -> None:
    with answered_by(gallery), pytest.raises(Refused, match=r"who edits|name of a run"):
        edited(gallery.path, Rename(vehicle="taxi", name="cab"), who)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_lies_at_the_address_and_is_no_socket_is_not_removed(gallery: Gallery, make: Any) -> None:
    make(socket_of(gallery.path))
    with pytest.raises(Refused, match="move it away"):
        answered_by(gallery)
    assert socket_of(gallery.path).exists()
