"""What vehicles may be called, and who is meant by a name or an id."""

import sqlite3
from collections.abc import Callable

from vreid.models.errors import Refused

Run = Callable[..., sqlite3.Cursor]  # a statement and its values
LAST_ID = 2**31 - 1


def checked(run: Run, name: str) -> str:
    """`name`, when it is printable, of 1 to 200 characters, and free. Raises Refused otherwise."""
    if not name.strip() or not name.isprintable() or len(name) > 200:
        raise Refused("a vehicle's name must be 1 to 200 printable characters; choose another")
    if _with_name(run, name) is not None:
        raise Refused(f"the gallery already has a vehicle named '{name}'; choose another name or remove that vehicle")
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
