"""What vehicles may be called, and who is meant by a name or an id."""

import json
import sqlite3
from collections.abc import Callable, Collection

from vreid.models.errors import Refused

Run = Callable[..., sqlite3.Cursor]  # a statement and its values
LAST_ID = 2**31 - 1
GIVEN = "vehicle-[0-9][0-9][0-9][0-9]*"  # an SQL GLOB: what nobody has named


def given(vehicle: int) -> str:
    """What a vehicle is called until somebody names it."""
    return f"vehicle-{vehicle:04d}"


def of(run: Run, vehicles: Collection[int]) -> dict[int, str]:
    """The names of those of `vehicles` that there are."""
    return dict(
        run("SELECT id, name FROM vehicles WHERE id IN (SELECT value FROM json_each(?))", json.dumps([*vehicles]))
    )


def checked(run: Run, name: str) -> str:
    """`name`, when it is printable, of 1 to 200 characters, and free. Raises Refused otherwise."""
    if _with_name(run, printable(name)) is not None:
        raise Refused(f"the gallery already has a vehicle named '{name}'; choose another name or remove that vehicle")
    return name


def printable(name: str) -> str:
    """`name`, when it is printable and of 1 to 200 characters. Raises Refused otherwise."""
    if not name.strip() or not name.isprintable() or len(name) > 200:
        raise Refused("a vehicle's name must be 1 to 200 printable characters; choose another")
    return name


def free(run: Run, name: str) -> str:
    """`name`, or the first of name-2, name-3, ... that is free."""
    tried, number = name, 1
    while _with_name(run, tried) is not None:
        number += 1
        tried = f"{name}-{number}"
    return tried


def found(run: Run, text: str) -> int:
    """The id of the vehicle called `text`: a name, an id, or id=ID. Raises Refused when none or two are meant."""
    bare = text.removeprefix("id=")
    called = int(bare) if bare.isascii() and bare.isdigit() and len(bare) <= 10 else None
    by_name = _with_name(run, text) if text.isprintable() else None
    by_id = None
    if called is not None and 1 <= called <= LAST_ID:
        by_id = run("SELECT id FROM vehicles WHERE id = ?", called).fetchone()
    if by_id and by_name is not None and by_id[0] != by_name:
        raise Refused(f"'{text}' is one vehicle's name and another's id; write id={by_name} or id={text}")
    if by_name is not None:
        return by_name
    if by_id is None:
        raise Refused(f"there is no vehicle '{text}' in the gallery; 'vreid gallery list' shows them")
    return int(by_id[0])


def _with_name(run: Run, name: str) -> int | None:
    row = run("SELECT id FROM vehicles WHERE name = ?", name).fetchone()
    return None if row is None else int(row[0])
