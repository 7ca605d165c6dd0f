"""The gallery as an HTML page: every vehicle with its newest pictures."""

from collections.abc import Iterator

from vreid.report.page import Card, Picture, View, pieces
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.records import Filter, Vehicle
from vreid.runtime.gallery.times import moment_text

PICTURES = 6  # a vehicle


def album(gallery: Gallery, only: Filter) -> Iterator[str]:
    """The page, piece by piece, so that a large gallery needs little memory."""
    vehicles = gallery.vehicles(thumbnails=False, only=only)
    cards = (_card(vehicle, _pictures(gallery, vehicle.id, only)) for vehicle in vehicles)
    return pieces(
        "gallery.html.j2", count=len(vehicles), name=gallery.path.name, model=gallery.about.model, cards=cards
    )


def _pictures(gallery: Gallery, vehicle: int, only: Filter) -> list[Picture]:
    """The newest first; the picture of the enrolment last, where there is room."""
    with gallery.reading() as store:
        found = [(f"{one.camera}, {moment_text(one.at)}", one.jpeg) for one in store.pictures(vehicle, only, PICTURES)]
        row = store.vehicle(vehicle)
    if row is not None and row.thumbnail is not None:
        found.append(("enrolled", row.thumbnail))
    return [Picture(jpeg, shown, shown) for shown, jpeg in found[:PICTURES]]


def _card(vehicle: Vehicle, pictures: list[Picture]) -> Card:
    seen = f"{vehicle.sightings:,} sightings, the last {moment_text(vehicle.last_at)}"
    return Card(vehicle.id, [View(", ".join(vehicle.cameras) or "enrolled only", [seen], pictures)], vehicle.name)
