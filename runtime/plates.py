"""Licence plates, read by a program that is not ours: evidence beside looks, never needed."""

import importlib
from collections.abc import Callable
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
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"there is no plate reader '{name}' ({error}); write --plates module:function") from error
    if not callable(read):
        raise Refused(f"the plate reader '{name}' is no function; write --plates module:function")

    def plain(picture: Image) -> str | None:
        text = cast(str | None, read(picture))
        return plate_text(text) if text else None

    return plain


def plate_text(text: str) -> str | None:
    """As plates are compared: letters and digits alone, in capitals; None where nothing is left."""
    return "".join(sign for sign in text.upper() if sign.isalnum()) or None
