"""kill -9 of a PostgreSQL server amid writes: what was acknowledged is there when it runs again, and nothing is there in part."""

import os
import threading
from collections.abc import Iterator

import pytest
from made_gallery import answers, compared, features, opened, sighting, sql
from real_postgres import Server, postgres_server

from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery

ROUNDS = 50 if os.environ.get("VREID_SLOW") == "1" else 3


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One of its own, which writes to the disk as servers do."""
    with postgres_server() as made:
        made.start()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_STATE_HOME", str(made.folder / "state"))
            yield made


def test_nothing_that_was_acknowledged_is_lost(server: Server) -> None:
    place = server.new_place("killed")
    acknowledged: list[int] = []
    opened(place).close()
    for number in range(ROUNDS):
        enough = threading.Event()
        count = len(acknowledged)

        def write(seed: int = number, most: int = count + 20, enough: threading.Event = enough) -> None:
            with opened(place) as gallery:
                try:
                    while True:
                        with gallery.transaction():
                            vehicle, _ = gallery.enrol(None, features(2, gallery.size()[0]))
                            gallery.add_sighting(vehicle, sighting(seen=1.7e9 + 86400 * seed), 0.5)
                        acknowledged.append(vehicle)
                        if len(acknowledged) >= most:
                            enough.set()
                except Refused:
                    enough.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert enough.wait(60)
        server.kill()
        writer.join()
        server.start()
    assert len(acknowledged) >= 20 * ROUNDS
    with read_gallery(place) as gallery:
        kept = [vehicle.id for vehicle in gallery.vehicles(thumbnails=False)]
        assert {*acknowledged} <= {*kept} and len(kept) <= len(acknowledged) + ROUNDS
        assert kept == list(range(1, len(kept) + 1))
        assert all((vehicle.prototypes, vehicle.sightings) == (2, 1) for vehicle in gallery.vehicles(thumbnails=False))
        assert answers(gallery) == compared(gallery)
    changes = [number for (number,) in sql(place, "SELECT id FROM changes ORDER BY id")]
    assert changes == list(range(1, 2 * len(kept) + 1))
