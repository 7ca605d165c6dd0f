"""What a gallery knows besides looks: whose licence plates were read, and where vehicles were lately."""

from collections.abc import Iterable

from vreid.runtime.gallery.names import Run
from vreid.runtime.topology import Span


def with_plates(run: Run, plates: Iterable[str | None]) -> set[int]:
    """The vehicles on which one of these plates was ever read."""
    found: set[int] = set()
    for plate in set(plates) - {None}:
        found.update(row[0] for row in run("SELECT DISTINCT vehicle FROM sightings WHERE plate = ?", plate))
    return found


def with_other_plates(run: Run, plates: Iterable[str | None]) -> set[int]:
    """The vehicles on which plates were read, and none of these; nobody when `plates` has none."""
    wanted = set(plates) - {None}
    if not wanted:
        return set()
    every = {row[0] for row in run("SELECT DISTINCT vehicle FROM sightings WHERE plate IS NOT NULL")}
    return every - with_plates(run, wanted)


def lately(run: Run, since: float) -> list[tuple[int, Span]]:
    """(vehicle, where and when on the world's clock) of the sightings that ended after `since`, seconds since 1970.

    Their tracks are of other runs: numbers below 0, which no track of this run has.
    """
    query = (
        "SELECT vehicle, id, camera, seen - (last_time - first_time), seen FROM sightings WHERE seen >= ? ORDER BY id"
    )
    return [
        (vehicle, Span(camera, -sighting, first, last)) for vehicle, sighting, camera, first, last in run(query, since)
    ]
