"""States of cameras: online, offline, stalled, removed; reported once a change, and by a live run through a real broker."""

import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest

from vreid.runtime.camera_states import CameraStateReporter, CameraStates
from vreid.runtime.records import Notice
from vreid.runtime.status import CameraStatus

UP = CameraStatus(10, 0, 0, 0, 0, 0.1, live=True, alive=True)
AWAY = replace(UP, alive=False, age_s=9.0)


def said(states: CameraStates, now: float = 1.0, **cameras: CameraStatus) -> list[tuple[str, str]]:
    return [(notice.camera, str(notice.fields["state"])) for notice in states.changes(cameras, now)]


def test_each_change_is_said_once() -> None:
    states = CameraStates()
    assert said(states, gate=UP, yard=replace(AWAY, frames=0, age_s=float("inf"))) == [
        ("gate", "online"),
        ("yard", "offline"),
    ]
    assert said(states, gate=UP, yard=AWAY) == []
    assert said(states, gate=AWAY, yard=UP) == [("gate", "stalled"), ("yard", "online")]  # nobody connects anew
    assert said(states, gate=replace(AWAY, reconnects=1), yard=UP) == [("gate", "offline")]
    assert said(states, gate=replace(UP, reconnects=1), yard=UP) == [("gate", "online")]
    assert said(states, gate=replace(AWAY, reconnects=1), yard=UP) == [("gate", "stalled")]
    assert said(states, yard=UP) == [("gate", "removed")]
    assert said(states, yard=UP) == []
    assert said(states, gate=UP, yard=UP) == [("gate", "online")]


def test_a_fault_is_a_change_and_files_have_no_state() -> None:
    states = CameraStates()
    [notice] = states.changes({"gate": replace(UP, fault="black"), "film": replace(UP, live=False)}, 12.5)
    assert (notice.about, notice.camera, notice.at, notice.keep) == ("cameras", "gate", 12.5, True)
    assert notice.fields == {"state": "online", "fault": "black"}
    assert [one.fields["fault"] for one in states.changes({"gate": UP}, 13.0)] == [None]


def test_what_fails_in_the_thread_ends_the_run_and_is_raised() -> None:
    stop, seen = threading.Event(), list[Notice]()

    def look() -> Mapping[str, CameraStatus]:
        if seen:
            raise OSError(28, "No space left on device")
        return {"gate": UP}

    def watched() -> None:
        with CameraStateReporter(look, seen.append, stop, every=0.001):
            assert stop.wait(60)

    with pytest.raises(OSError, match="No space left"):
        watched()
    assert [notice.camera for notice in seen] == ["gate"]
    with pytest.raises(ValueError, match="of the run"), CameraStateReporter(look, seen.append, stop, every=0.001):
        raise ValueError("of the run")  # is not hidden
