"""Licence plates: what reads them off a crop, and how their texts are compared."""

import importlib
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import cast

from vreid.models.errors import Refused
from vreid.models.preprocess import Image

PlateReader = Callable[[Image], str | None]


def no_plate(picture: Image) -> str | None:
    """The reader of a run that has none."""
    return None


def plate_reader(name: str) -> PlateReader:
    """`module:function` that takes a crop (H, W, 3) uint8 BGR, the best of a track, and returns the plate's text or None.

    Texts are compared without spaces, dashes and case. Raises Refused for a module or a function that is not there.
    """
    module, _, function = name.partition(":")
    try:
        read = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise Refused(f"there is no plate reader '{name}' ({error}); write --plates module:function") from error
    if not callable(read):
        raise Refused(f"the plate reader '{name}' is not a function; write --plates module:function")

    def plain(picture: Image) -> str | None:
        text = cast(str | None, read(picture))
        return plate_text(text) if text else None

    return plain


def plate_text(text: str) -> str | None:
    """As plates are compared: letters and digits only, in capitals; None where nothing is left."""
    return _letters(text) or None


def plate_fits(plate: str | None, pattern: str) -> bool:
    """Whether a plate that was read is one of a pattern with * and ?, compared as plates are."""
    return plate is not None and fnmatchcase(_letters(plate), _letters(pattern, "*?"))


def _letters(text: str, others: str = "") -> str:
    return "".join(sign for sign in text.upper() if sign.isalnum() or sign in others)
