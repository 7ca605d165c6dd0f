"""The cursor of a list of vehicles: the place of the last one of a part as text, which callers pass on unread."""

import base64
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from vreid.models.errors import BadInput
from vreid.runtime.gallery.records import Place

PATTERN = r"^[A-Za-z0-9_-]{1,4000}$"
_Whole = Annotated[int, Field(gt=-(2**63), lt=2**63)]
_Moment = Annotated[float, Field(allow_inf_nan=False)]
_PLACES: dict[str, TypeAdapter[Any]] = {
    "id": TypeAdapter(tuple[_Whole]),
    "name": TypeAdapter(tuple[str]),
    "created": TypeAdapter(tuple[_Moment, _Whole]),
    "last-seen": TypeAdapter(tuple[_Moment, _Whole]),
    "named-first": TypeAdapter(tuple[_Whole, _Moment, _Whole]),
    "sightings": TypeAdapter(tuple[_Whole, _Whole]),
}


def cursor_of(sort: str, place: Place) -> str:
    """The cursor behind a place in a list that is sorted so."""
    text = f"{sort} ".encode() + _PLACES[sort].dump_json(place)
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def place_of(sort: str, cursor: str) -> Place:
    """The place that a cursor of this sort stands for. Raises BadInput for any other text."""
    try:
        own, _, place = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        if own == sort:
            found: Place = _PLACES[sort].validate_json(place, strict=True)
            return found
    except ValueError:  # not base64, not UTF-8, or not such a place
        pass
    raise BadInput(f"this cursor is not one of a list that is sorted by {sort}; pass on `next` of the part before")
