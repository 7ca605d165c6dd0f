"""The audit of a gallery: who changed what by hand, and what undoing it needs."""

import time
from base64 import b64encode
from collections.abc import Collection, Mapping
from typing import Any

from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.postgres.rows import change_of, json_text
from vreid.runtime.gallery.records import Change

_CHANGE = "id, at, who, verb, vehicle, detail, undo, undone"


def add_change(database: Database, who: str, verb: str, vehicle: int | None, detail: Mapping[str, Any]) -> int:
    """See `Store.add_change`."""
    shown = {key: value for key, value in detail.items() if key != "undo"}
    undo = _text(detail["undo"]) if "undo" in detail else None
    row = database.row(
        "INSERT INTO audit (at, who, verb, vehicle, vehicles, detail, undo)"
        " VALUES (%s, %s, %s, %s, %s::bigint[], %s::json, %s::json) RETURNING id",
        time.time(), who, verb, vehicle, [*detail.get("vehicles", ())], _text(shown), undo,
    )  # fmt: skip
    return int(row[0])


def changes(
    database: Database, last: int | None, vehicle: int | None, verbs: Collection[str] | None, before: int | None
) -> list[Change]:
    """See `Store.changes`."""
    parts, values = ["true"], list[Any]()
    if vehicle is not None:
        parts.append("(vehicle = %s OR vehicles @> ARRAY[%s::bigint])")
        values += [vehicle, vehicle]
    if verbs is not None:
        parts.append("verb = ANY(%s::text[])")
        values.append([*verbs])
    if before is not None:
        parts.append("id < %s")
        values.append(before)
    rows = database.rows(
        f"SELECT {_CHANGE} FROM audit WHERE {' AND '.join(parts)}"
        " ORDER BY id DESC LIMIT %s",
        *values, last,
    )  # fmt: skip
    return [change_of(row) for row in reversed(rows)]


def changes_after(database: Database, change: int, limit: int) -> list[Change]:
    """See `Store.changes_after`."""
    rows = database.rows(f"SELECT {_CHANGE} FROM audit WHERE id > %s ORDER BY id LIMIT %s", change, limit)
    return [change_of(row) for row in rows]


def mark_undone(database: Database, change: int, by: int) -> None:
    """See `Store.mark_undone`."""
    database.run("UPDATE audit SET undone = %s, undo = NULL WHERE id = %s", by, change)


def drop_undo(database: Database, changes: Collection[int]) -> None:
    """See `Store.drop_undo`."""
    database.run("UPDATE audit SET undo = NULL WHERE id = ANY(%s::bigint[])", [*changes])


def forget_changes(database: Database, gone: Collection[int], verbs: Collection[str] | None) -> None:
    """See `Store.forget_changes`; `gone` are all of them, merged ones too."""
    where, values = "vehicle = ANY(%s::bigint[]) OR vehicles && %s::bigint[]", list[Any]([[*gone], [*gone]])
    if verbs is not None:
        where, values = "vehicle = ANY(%s::bigint[]) AND verb = ANY(%s::text[])", [[*gone], [*verbs]]
    bare = "json_build_object('vehicles', coalesce(detail -> 'vehicles', '[]'), 'forgotten', true)"
    database.run(f"UPDATE audit SET detail = {bare}, undo = NULL WHERE {where}", *values)


def trim_changes(database: Database, before: float) -> None:
    """See `Store.trim_changes`."""
    database.run("UPDATE audit SET undo = NULL WHERE at < %s AND undo IS NOT NULL", float(before))
    database.run(
        "DELETE FROM audit WHERE at < %s AND verb = 'enrol' AND starts_with(who, 'run:')"
        " AND NOT EXISTS (SELECT 1 FROM vehicles v WHERE v.id = audit.vehicle)",
        float(before),
    )
    database.run(
        "DELETE FROM audit WHERE verb = 'doubt' AND NOT EXISTS"
        " (SELECT 1 FROM sightings s WHERE s.id = coalesce((audit.detail ->> 'sighting')::bigint, 0))"
    )


def _text(detail: Any) -> str:
    return json_text(detail, lambda value: b64encode(value).decode("ascii"))
