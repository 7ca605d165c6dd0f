"""What vehicles may be called, and who is meant by a name or an id.

A name is written in Unicode's NFC. No two vehicles have names that are equal but for case: the column `key` holds the name
folded. The C++ of runtime/native/gallery/names.cpp does the same; tests/data/names/names.json holds both to it.
"""

import json
import sqlite3
import unicodedata
from collections.abc import Callable, Collection

from vreid.models.errors import Refused
from vreid.runtime.camera_names import nfc, valid_text

Run = Callable[..., sqlite3.Cursor]  # a statement and its values
LAST_ID = 2**31 - 1
LONGEST = 200  # characters of a name


def given(vehicle: int) -> str:
    """What a vehicle is called until somebody names it."""
    return f"vehicle-{vehicle:04d}"


def key_of(name: str) -> str:
    """`name` in NFC, case folded (Unicode, section 3.13, full folding), and in NFC again: equal for who is the same."""
    return nfc(nfc(name).casefold())


def pattern_of(text: str) -> str:
    """A pattern with * and ? -> an SQL GLOB over `key` in which nothing else is special."""
    return key_of(text).replace("[", "[[]")


def of(run: Run, vehicles: Collection[int]) -> dict[int, str]:
    """The names of those of `vehicles` that there are."""
    return dict(
        run("SELECT id, name FROM vehicles WHERE id IN (SELECT value FROM json_each(?))", json.dumps([*vehicles]))
    )


def checked(run: Run, name: str, vehicle: int | None = None) -> str:
    """`name` in NFC, when it is valid and no vehicle but `vehicle` has it. Raises Refused otherwise."""
    name = printable(name)
    if _with_name(run, name) not in (None, vehicle):
        raise Refused(f"the gallery already has a vehicle named '{name}'; choose another name or remove that vehicle")
    return name


def printable(name: str) -> str:
    """`name` in NFC, when it has 1 to 200 characters, one to be seen and no control character. Raises Refused otherwise."""
    normal = nfc(name)
    seen = any(unicodedata.category(sign) not in ("Zs", "Cf") for sign in normal)
    if not seen or not valid_text(normal) or len(normal) > LONGEST:
        raise Refused(
            "a vehicle's name must be 1 to 200 printable characters in valid UTF-8, without control characters; choose another"
        )
    return normal


def free(run: Run, name: str) -> str:
    """`name`, or the first of name-2, name-3, ... that is free."""
    tried, number = name, 1
    while _with_name(run, tried) is not None:
        number += 1
        tried = f"{name}-{number}"
    return tried


def found(run: Run, text: str) -> int:
    """The id of the vehicle called `text`: a name in any case, an id, or id=ID. Raises Refused when none or two are meant."""
    bare = text.removeprefix("id=")
    called = int(bare) if bare.isascii() and bare.isdigit() and len(bare) <= 10 else None
    by_name = _with_name(run, text) if valid_text(text) else None
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
    row = run("SELECT id FROM vehicles WHERE key = ?", key_of(name)).fetchone()
    return None if row is None else int(row[0])
