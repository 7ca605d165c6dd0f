"""The pages of `vreid gallery list --html`: vehicles with their newest pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.cli.gallery_reading import moment_text
from vreid.models.files import refuse_same

if TYPE_CHECKING:
    from vreid.runtime.gallery import Gallery
    from vreid.runtime.gallery.records import Filter, Vehicle

_PICTURES = 6  # of a vehicle, on a page
_ON_A_PAGE = 500  # vehicles


def write_album(path: Path, gallery: "Gallery", vehicles: "Sequence[Vehicle]", only: "Filter") -> None:
    """The page of `album` at `path`, and of more than _ON_A_PAGE vehicles the others as PATH-2.html and so on."""
    from vreid.report.page import write_page
    from vreid.runtime.gallery.index.table import files_of

    starts = range(0, max(1, len(vehicles)), _ON_A_PAGE)
    paths = [path, *(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(2, len(starts) + 1))]
    for other in paths:
        refuse_same(other, *files_of(gallery.path))
    for number, start in enumerate(starts):
        links = [other.name for other in paths] if len(paths) > 1 else []
        part = vehicles[start : start + _ON_A_PAGE]
        write_page(paths[number], album(gallery, part, only, len(vehicles), number, links))


def album(
    gallery: "Gallery",
    vehicles: "Sequence[Vehicle]",
    only: "Filter",
    count: int,
    number: int = 0,
    links: Sequence[str] = (),
) -> Iterator[str]:
    """A page of these vehicles of `count` with their newest pictures, piece by piece, so that it needs little memory; `links`
    are the files of all pages, of which this is `number` (from 0)."""
    from vreid.report.page import Card, Picture, View, pieces

    def card(vehicle: "Vehicle") -> Card:
        """The newest pictures first; that of the enrolment last, where there is room."""
        with gallery.reading() as store:
            newest = store.pictures(vehicle.id, only, _PICTURES)
            found = [(f"{one.camera}, {moment_text(one.at)}", one.jpeg) for one in newest]
            row = store.vehicle(vehicle.id)
        if row is not None and row.thumbnail is not None:
            found.append(("enrolled", row.thumbnail))
        pictures = [Picture(jpeg, shown, shown) for shown, jpeg in found[:_PICTURES]]
        seen = f"{vehicle.sightings:,} sightings, the last {moment_text(vehicle.last_at)}"
        return Card(vehicle.id, [View(", ".join(vehicle.cameras) or "enrolled only", [seen], pictures)], vehicle.name)

    about = {"count": count, "name": gallery.path.name, "model": gallery.about.model}
    return pieces("gallery.html.j2", **about, cards=map(card, vehicles), links=links, number=number)
