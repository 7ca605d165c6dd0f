"""Sightings of a day, filtered."""

from dataclasses import replace
from datetime import date, timedelta
from itertools import groupby
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from vreid.runtime.gallery.records import Filter
from vreid.serve import days
from vreid.serve.cameras import cameras_of, zones_of
from vreid.serve.choice import SightingCursor, pattern_of
from vreid.serve.documents import KINDS
from vreid.serve.forms import Viewer
from vreid.serve.persons import Served
from vreid.serve.reading import Reading
from vreid.serve.rendering import page

routes = APIRouter()
PART = 60  # sightings of one part
Word = Annotated[str, Query(max_length=200)]


@routes.get("/sightings")
def sightings_page(
    request: Request,
    service: Served,
    person: Viewer,
    day: Word = "",
    camera: Word = "",
    kind: Word = "",
    name: Word = "",
    zone: Word = "",
    plate: Word = "",
    since: Annotated[str, Query(alias="from", max_length=8)] = "",
    until: Annotated[str, Query(alias="to", max_length=8)] = "",
    cursor: SightingCursor = None,
) -> HTMLResponse:
    """The newest first; without a day that of the newest sighting that fits."""
    reading = Reading(service.access, person)
    only = Filter(
        cameras=(camera,) if camera else (), kinds=(kind,) if kind else (), names=pattern_of(name),
        zones=(zone,) if zone else (), plates=pattern_of(plate),
    )  # fmt: skip
    shown = days.read_day(day) if day else _newest_day(reading, only)
    begin, end = days.bounds(shown, since, until)
    part = reading.sightings(replace(only, since=begin, until=end), cursor, PART)
    fields = {
        "camera": camera, "kind": kind, "name": name, "zone": zone, "plate": plate, "from": since, "to": until,
    }  # fmt: skip
    kept = {key: value for key, value in fields.items() if value}

    def link(**more: str) -> str:
        return "/sightings?" + urlencode({**kept, **more})

    hours = [
        (hour, list(group)) for hour, group in groupby(part.items, lambda one: days.local(one.at).strftime("%H:00 %Z"))
    ]
    return page(
        request, "sightings.html.j2", hours=hours, day=shown, chosen={**fields, "day": shown.isoformat()},
        cameras=cameras_of(service, person), kinds=KINDS, zones=zones_of(service.site(), person), first=cursor is None,
        before=link(day=(shown - timedelta(1)).isoformat()), today=date.today(),
        after=link(day=(shown + timedelta(1)).isoformat()) if shown < date.today() else "",
        begin=link(day=shown.isoformat()), more=link(day=shown.isoformat(), cursor=part.next) if part.next else "",
        filtered=bool(kept),
    )  # fmt: skip


def _newest_day(reading: Reading, only: Filter) -> date:
    found = reading.sightings(only, None, 1).items
    return days.day_of(found[0].at) if found else date.today()
