"""What vehicles may be called, and who is meant by a name or an id.

A name is written in Unicode's NFC. No two vehicles have names that are equal but for case: the store compares their keys. The
C++ of runtime/native/gallery/names.cpp does the same; tests/data/names/names.json holds both to it.
"""

import unicodedata
from collections.abc import Callable
from fnmatch import fnmatchcase

from vreid.models.errors import BadInput, NameTaken, NotFound, Refused, shown
from vreid.runtime.camera_names import nfc, valid_text
from vreid.runtime.gallery.records import VehicleRow
from vreid.runtime.gallery.store import Store

LAST_ID = 2**31 - 1
_LONGEST = 200  # characters of a name
GIVEN = "vehicle-[0-9][0-9][0-9][0-9]*"  # a GLOB: whom nobody named, as schemas 1 and 2 guessed


def given(vehicle: int) -> str:
    """What a vehicle is called until somebody names it."""
    return f"vehicle-{vehicle:04d}"


def key_of(name: str) -> str:
    """`name` in NFC, case folded (Unicode, section 3.13, full folding), and in NFC again: equal for who is the same."""
    return nfc(nfc(name).casefold())


def printable(name: str) -> str:
    """`name` in NFC, when it has 1 to 200 characters, one to be seen and no control character. Raises BadInput otherwise."""
    normal = nfc(name)
    seen = any(unicodedata.category(sign) not in ("Zs", "Cf") for sign in normal)
    if not seen or not valid_text(normal) or len(normal) > _LONGEST:
        raise BadInput(
            "a vehicle's name must be 1 to 200 printable characters in valid UTF-8, without control characters; choose another"
        )
    return normal


def readable(text: str, what: str) -> str:
    """`text` in NFC, for a camera or a view. Raises Refused, in a sentence that `what` begins, for what cannot be printed."""
    if not valid_text(text):
        raise Refused(f"{what} has control characters or is not valid UTF-8; write letters, digits and blanks")
    return nfc(text)


def valid_name(store: Store, name: str, vehicle: int | None = None) -> str:
    """`name` in NFC, when it is printable and no vehicle but `vehicle` has it. Raises NameTaken, or Refused, otherwise."""
    name = printable(name)
    if store.vehicle_with_key(key_of(name)) not in (None, vehicle):
        raise NameTaken(f"the gallery already has a vehicle named '{name}'; choose another name or remove that vehicle")
    return name


def new(store: Store, vehicle: int, name: str | None) -> str:
    """What a new vehicle is called: `name`, or what it is given. Raises Refused for a name that is taken or not valid."""
    return free(given(vehicle), store.vehicle_with_key) if name is None else valid_name(store, name)


def of(store: Store, vehicle: int) -> str:
    """The name of `vehicle`. Raises NotFound for an id that the gallery does not hold."""
    name = store.name_of(int(vehicle)) if 1 <= vehicle <= LAST_ID else None
    if name is None:
        raise _unknown(vehicle)
    return name


def existing(store: Store, vehicle: int) -> VehicleRow:
    """The row of `vehicle`. Raises NotFound for an id that the gallery does not hold."""
    row = store.vehicle(int(vehicle)) if 1 <= vehicle <= LAST_ID else None
    if row is None:
        raise _unknown(vehicle)
    return row


def id_of(text: str) -> int | None:
    """The id that a text of digits is; None for any other one, and for a number that no vehicle and no sighting can have."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
    return number if 1 <= number <= LAST_ID else None


def found(store: Store, text: str) -> int:
    """The id of the vehicle called `text`: a name in any case, an id, or id=ID.

    Raises NotFound when none is meant, and Refused for two."""
    bare = text.removeprefix("id=")
    id_ = id_of(bare)
    by_name = store.vehicle_with_key(key_of(text)) if valid_text(text) else None
    by_id = id_ if id_ is not None and store.name_of(id_) is not None else None
    if by_id is not None and bare != text:  # by id, whoever is called so
        return by_id
    if by_id is not None and by_name is not None and by_id != by_name:
        raise Refused(f"'{text}' is one vehicle's name and another's id; write id={by_name} or id={text}")
    vehicle = by_id if by_name is None else by_name
    if vehicle is None:
        raise NotFound(f"there is no vehicle '{shown(text)}' in the gallery; the list of vehicles has all")
    return vehicle


def free(name: str, taken: Callable[[str], object]) -> str:
    """`name` if its key is not `taken`, or the first of name-2, name-3, ... that is not."""
    return numbered(name, taken) if taken(key_of(name)) else name


def numbered(name: str, taken: Callable[[str], object]) -> str:
    """The first of name-2, name-3, ... whose key is not `taken`."""
    number = 2
    while taken(key_of(f"{name}-{number}")):
        number += 1
    return f"{name}-{number}"


def was_named(name: str) -> bool:
    """Whether somebody named a vehicle, as schemas 1 and 2 guessed."""
    return not fnmatchcase(name, GIVEN)


def was_pictured(name: str, created: float, thumbnail: object) -> float | None:
    """When a run took the picture, as schemas 1 and 2 let one guess; None for a picture that somebody gave, and for none."""
    return None if thumbnail is None or was_named(name) else created


def _unknown(vehicle: int) -> Refused:
    return NotFound(f"there is no vehicle {vehicle} in the gallery; the list of vehicles has all")
