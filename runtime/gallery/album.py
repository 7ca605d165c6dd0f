"""The gallery as a page to look at: every vehicle with its newest pictures, no script, nothing fetched."""

from base64 import b64encode
from collections.abc import Iterator
from html import escape

from vreid.report.palette import colour_of, hex_of
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.records import Filter, Vehicle
from vreid.runtime.gallery.times import moment_text
from vreid.runtime.sinks.style import head

PICTURES = 6  # a vehicle


def album(gallery: Gallery, only: Filter) -> Iterator[str]:
    """The page, piece by piece, so that a large gallery needs little memory."""
    vehicles = gallery.vehicles(thumbnails=False, only=only)
    title = f"{len(vehicles):,} vehicles of {escape(gallery.path.name)}"
    yield (
        f"{head(title)}<h1>{title}</h1>\n"
        f'<p class="soft">model {escape(gallery.about.model)}</p>\n<div class="cards small">\n'
    )
    for vehicle in vehicles:
        yield _card(vehicle, _pictures(gallery, vehicle.id, only))
    yield "</div>\n<footer>Made by vreid gallery list --html.</footer>\n</main>\n</body>\n</html>\n"


def _pictures(gallery: Gallery, vehicle: int, only: Filter) -> list[tuple[str, bytes]]:
    """(what it shows, JPEG), the newest first; the picture of the enrolment last, where there is room."""
    with gallery.reading() as store:
        found = [(f"{one.camera}, {moment_text(one.at)}", one.jpeg) for one in store.pictures(vehicle, only, PICTURES)]
        row = store.vehicle(vehicle)
    if row is not None and row.thumbnail is not None:
        found.append(("enrolled", row.thumbnail))
    return found[:PICTURES]


def _card(vehicle: Vehicle, pictures: list[tuple[str, bytes]]) -> str:
    drawn = "".join(
        f'<img loading="lazy" alt="{escape(alt)}" title="{escape(alt)}" '
        f'src="data:image/jpeg;base64,{b64encode(jpeg).decode("ascii")}">'
        for alt, jpeg in pictures
    )
    drawn = drawn or '<span class="none">no picture</span>'
    where = ", ".join(vehicle.cameras) or "enrolled only"
    return (
        f'<article class="card" id="v{vehicle.id}" style="--c:{hex_of(colour_of(vehicle.id))}"><header>'
        f"<b>#{vehicle.id}</b><span>{escape(vehicle.name)}</span></header>"
        f'<div class="views"><figure><figcaption><b>{escape(where)}</b>'
        f"<span>{vehicle.sightings:,} sightings, the last {moment_text(vehicle.last_at)}</span></figcaption>"
        f'<div class="shots">{drawn}</div></figure></div></article>\n'
    )
