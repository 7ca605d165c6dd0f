"""Edits of the gallery that a run writes to, and what the run remembers of the vehicles that they concern."""

import time
from typing import Any

from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.requests import Request
from vreid.runtime.recent_positions import REMEMBERED_S, RecentPositions
from vreid.runtime.topology import Span


def edit(gallery: Gallery, recent: RecentPositions, request: Request, who: str) -> dict[str, Any]:
    """Do what `who` requests; returns the result. Raises Refused as the request does."""
    with gallery.acting_as(who):
        done = request.apply(gallery)
    if done.vehicles:
        _follow(gallery, recent, done.vehicles)
    return done.result


def _follow(gallery: Gallery, recent: RecentPositions, vehicles: tuple[int, ...]) -> None:
    """Where these vehicles were lately is by the gallery's sightings, some of which belong to another of them now."""
    lately = Filter(since=time.time() - REMEMBERED_S)
    with gallery.reading() as store:
        left = store.names(vehicles).keys()
        seen = [(vehicle, one) for vehicle in left for one in store.sightings(vehicle, lately)]

    def owner(span: Span, before: int) -> int | None:
        for vehicle, one in seen:
            began = one.at - (one.last_time - one.first_time)
            if one.camera == span.camera and began <= span.last and span.first <= one.at:
                return vehicle
        return before if before in left else None

    recent.deal(vehicles, owner)
