"""The audit of a gallery: who changed what by hand, and what undoing it needs."""

import json
import time
from base64 import b64encode
from collections.abc import Collection, Mapping
from typing import Any

from vreid.runtime.gallery.records import Change
from vreid.runtime.gallery.sqlite.database import Database
from vreid.runtime.gallery.sqlite.rows import change_of

_CHANGE = "id, at, who, verb, vehicle, detail, undone"


def add_change(database: Database, who: str, verb: str, vehicle: int | None, detail: Mapping[str, Any]) -> int:
    """See `Store.add_change`."""
    text = json.dumps(detail, default=lambda value: b64encode(value).decode("ascii"))
    insert = "INSERT INTO audit (at, who, verb, vehicle, detail) VALUES (?, ?, ?, ?, ?)"
    return int(database.run(insert, time.time(), who, verb, vehicle, text).lastrowid or 0)


def changes(
    database: Database, last: int | None, vehicle: int | None, verbs: Collection[str] | None, before: int | None
) -> list[Change]:
    """See `Store.changes`."""
    touches = "?1 IS NULL"
    if vehicle is not None:
        touches = "vehicle = ?1 OR EXISTS (SELECT 1 FROM json_each(detail, '$.vehicles') WHERE value = ?1)"
    rows = database.rows(
        f"SELECT {_CHANGE} FROM audit WHERE ({touches})"
        " AND (?3 IS NULL OR verb IN (SELECT value FROM json_each(?3))) AND id < ?4 ORDER BY id DESC LIMIT ?2",
        vehicle,
        -1 if last is None else last,
        None if verbs is None else json.dumps([*verbs]),
        (1 << 63) - 1 if before is None else before,
    )
    return [change_of(database.path, row) for row in reversed([*rows])]


def changes_after(database: Database, change: int, limit: int) -> list[Change]:
    """See `Store.changes_after`."""
    rows = database.rows(f"SELECT {_CHANGE} FROM audit WHERE id > ? ORDER BY id LIMIT ?", change, limit)
    return [change_of(database.path, row) for row in rows]


def mark_undone(database: Database, change: int, by: int) -> None:
    """See `Store.mark_undone`."""
    database.run("UPDATE audit SET undone = ?, detail = json_remove(detail, '$.undo') WHERE id = ?", by, change)


def drop_undo(database: Database, changes: Collection[int]) -> None:
    """See `Store.drop_undo`."""
    among = "id IN (SELECT value FROM json_each(?))"
    database.run(f"UPDATE audit SET detail = json_remove(detail, '$.undo') WHERE {among}", json.dumps([*changes]))


def forget_changes(database: Database, gone: Collection[int], verbs: Collection[str] | None) -> None:
    """See `Store.forget_changes`; `gone` are all of them, merged ones too."""
    among, bare = "IN (SELECT value FROM json_each(?))", "coalesce(json_extract(detail, '$.vehicles'), '[]')"
    where = f"OR id IN (SELECT a.id FROM audit a, json_each(a.detail, '$.vehicles') v WHERE v.value {among})"
    database.run(
        f"UPDATE audit SET detail = json_object('vehicles', json({bare}), 'forgotten', json('true'))"
        f" WHERE vehicle {among} {where if verbs is None else f'AND verb {among}'}",
        *[json.dumps([*each]) for each in (gone, verbs or gone)],
    )


def trim_changes(database: Database, before: float) -> None:
    """See `Store.trim_changes`."""
    old = "at < ? AND json_extract(detail, '$.undo') NOTNULL"
    database.run(f"UPDATE audit SET detail = json_remove(detail, '$.undo') WHERE {old}", before)
    database.run(
        "DELETE FROM audit WHERE at < ? AND verb = 'enrol' AND who LIKE 'run:%'"
        " AND vehicle NOT IN (SELECT id FROM vehicles)",
        before,
    )
    database.run(
        "DELETE FROM audit WHERE verb = 'doubt' AND coalesce(json_extract(detail, '$.sighting'), 0)"
        " NOT IN (SELECT id FROM sightings)"
    )
