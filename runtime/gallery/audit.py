"""Who changed what: one row a change, written in the transaction of the change, holding what undoing it needs."""

import getpass
import json
import time
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vreid.runtime.gallery.names import Run

UNDOABLE = ("merge", "split", "rename")
_KEPT = "undo"  # the key of a detail that holds rows as they were; it goes when a person or the retention asks


@dataclass(frozen=True)
class Change:
    """One row of the audit. `at` is in seconds since 1970; `undone` is the change that took it back, 0 if none did."""

    id: int
    at: float
    who: str
    verb: str
    vehicle: int | None
    detail: Mapping[str, Any]
    undone: int

    @property
    def told(self) -> dict[str, Any]:
        """The detail without the rows that only undoing needs."""
        return {key: value for key, value in self.detail.items() if key != _KEPT}

    @property
    def kept(self) -> Mapping[str, Any] | None:
        """What undoing needs; None when there was nothing, or when it had to be forgotten."""
        kept = self.detail.get(_KEPT)
        return kept if isinstance(kept, dict) else None


def login() -> str:
    """Who runs this process; "unknown" where the system has no name for the user, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # Python 3.13 made one of the first two of the third
        return "unknown"


def noted(run: Run, who: str, verb: str, vehicle: int | None, detail: Mapping[str, Any]) -> int:
    """Write one change down; bytes in `detail` become base64. Returns its id."""
    text = json.dumps(detail, default=lambda value: b64encode(value).decode("ascii"))
    statement = "INSERT INTO audit (at, who, verb, vehicle, detail) VALUES (?, ?, ?, ?, ?)"
    return int(run(statement, time.time(), who, verb, vehicle, text).lastrowid or 0)


def changes(run: Run, last: int | None = None, vehicle: int | None = None) -> list[Change]:
    """The newest `last` changes (None: all), the oldest first; of one vehicle, those that it was any part of."""
    touches = (
        "vehicle = :one OR EXISTS (SELECT 1 FROM json_each(detail, '$.vehicles') WHERE value = :one)"
        if vehicle is not None
        else ":one IS NULL"
    )
    rows = run(
        "SELECT id, at, who, verb, vehicle, detail, undone FROM audit"
        f" WHERE {touches.replace(':one', '?1')} ORDER BY id DESC LIMIT ?2",
        vehicle,
        -1 if last is None else last,
    ).fetchall()
    return [
        Change(id_, at, who, verb, of, json.loads(detail), undone)
        for id_, at, who, verb, of, detail, undone in reversed(rows)
    ]


def forget(run: Run, vehicle: int) -> None:
    """No row holds a name, picture or feature of `vehicle` any longer; that there was a change, and whose, stays."""
    for change in changes(run, vehicle=vehicle):
        bare = {"vehicles": change.detail.get("vehicles", []), "forgotten": True}
        run("UPDATE audit SET detail = ? WHERE id = ?", json.dumps(bare), change.id)


def trim(run: Run, before: float) -> None:
    """Changes older than `before` can no longer be undone; runs' enrolments of vehicles that are gone are dropped."""
    run(
        "UPDATE audit SET detail = json_remove(detail, '$.undo') WHERE at < ? AND json_extract(detail, '$.undo') NOTNULL",
        before,
    )
    run(
        "DELETE FROM audit WHERE at < ? AND verb = 'enrol' AND who LIKE 'run:%'"
        " AND vehicle NOT IN (SELECT id FROM vehicles)",
        before,
    )
