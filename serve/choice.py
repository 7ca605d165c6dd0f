"""The filters of lists: as the API takes them in the query, and as people type them on pages."""

from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import Depends, Query

from vreid.runtime.gallery.records import Filter
from vreid.serve.cursor import PATTERN, cursor_of

Texts = Annotated[list[Annotated[str, Query(min_length=1, max_length=200)]], Query(max_length=50)]
Moment = Annotated[
    float | None, Query(ge=0, lt=1e10, allow_inf_nan=False, description="Seconds since 1970.", examples=[1764500000])
]
ChangeCursor = Annotated[
    str | None, Query(pattern=r"^[0-9]{1,15}$", description="`next` of the part before.", examples=["50"])
]
VehicleCursor = Annotated[
    str | None,
    Query(
        pattern=PATTERN, description="`next` of the part before, in the same sort.",
        examples=[cursor_of("named-first", (1, 1764500035.2, 41))],
    ),
]  # fmt: skip
SightingCursor = Annotated[
    str | None,
    Query(
        pattern=r"^[0-9]{1,10}(\.[0-9]{1,20})?~[0-9]{1,15}$", description="`next` of the part before.",
        examples=["1764500035.2~41"],
    ),
]  # fmt: skip
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Sort = Literal["named-first", "id", "name", "created", "last-seen", "sightings"]


@dataclass(frozen=True)
class Wanted:
    """Of several of one field any, of several fields all; `*` and `?` stand for anything in names and plates."""

    camera: Texts = ()  # type: ignore[assignment]
    kind: Texts = ()  # type: ignore[assignment]
    name: Texts = ()  # type: ignore[assignment]
    plate: Texts = ()  # type: ignore[assignment]
    zone: Texts = ()  # type: ignore[assignment]
    since: Moment = None
    until: Moment = None

    def filter(self, vehicle: int | None = None) -> Filter:
        """As the gallery takes it."""
        return Filter(
            ids=() if vehicle is None else (vehicle,),
            cameras=tuple(self.camera), kinds=tuple(self.kind), names=tuple(self.name), plates=tuple(self.plate),
            zones=tuple(self.zone), since=self.since, until=self.until,
        )  # fmt: skip


Choice = Annotated[Wanted, Depends()]


def pattern_of(text: str) -> tuple[str, ...]:
    """What somebody types -> the patterns of a filter: a part of the name is enough."""
    text = text.strip()
    return () if not text else (text,) if "*" in text or "?" in text else (f"*{text}*",)
