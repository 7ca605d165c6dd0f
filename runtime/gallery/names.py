"""What vehicles may be called.

A name is written in Unicode's NFC. No two vehicles have names that are equal but for case: the store compares their keys. The
C++ of runtime/native/gallery/names.cpp does the same; tests/data/names/names.json holds both to it.
"""

import unicodedata
from collections.abc import Callable
from fnmatch import fnmatchcase

from vreid.models.errors import Refused
from vreid.runtime.camera_names import nfc, valid_text

LAST_ID = 2**31 - 1
LONGEST = 200  # characters of a name
GIVEN = "vehicle-[0-9][0-9][0-9][0-9]*"  # a GLOB: whom nobody named, as schemas 1 and 2 guessed


def given(vehicle: int) -> str:
    """What a vehicle is called until somebody names it."""
    return f"vehicle-{vehicle:04d}"


def key_of(name: str) -> str:
    """`name` in NFC, case folded (Unicode, section 3.13, full folding), and in NFC again: equal for who is the same."""
    return nfc(nfc(name).casefold())


def printable(name: str) -> str:
    """`name` in NFC, when it has 1 to 200 characters, one to be seen and no control character. Raises Refused otherwise."""
    normal = nfc(name)
    seen = any(unicodedata.category(sign) not in ("Zs", "Cf") for sign in normal)
    if not seen or not valid_text(normal) or len(normal) > LONGEST:
        raise Refused(
            "a vehicle's name must be 1 to 200 printable characters in valid UTF-8, without control characters; choose another"
        )
    return normal


def readable(text: str, what: str) -> str:
    """`text` in NFC, for a camera or a view. Raises Refused, in a sentence that `what` begins, for what cannot be printed."""
    if not valid_text(text):
        raise Refused(f"{what} has control characters or is not valid UTF-8; write letters, digits and blanks")
    return nfc(text)


def checked(name: str, holder: Callable[[str], int | None], vehicle: int | None = None) -> str:
    """`name` in NFC, when it is printable and no vehicle but `vehicle` has it; `holder` gives who has a key.

    Raises Refused otherwise.
    """
    name = printable(name)
    if holder(key_of(name)) not in (None, vehicle):
        raise Refused(f"the gallery already has a vehicle named '{name}'; choose another name or remove that vehicle")
    return name


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
