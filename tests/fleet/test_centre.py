"""A centre on a real NATS server and a real PostgreSQL: the messages of boxes become one identity for each vehicle."""

from pathlib import Path

import pytest
from made_centre import VEHICLES, centre_file, edges, given, pairwise, resolving, settled
from made_gallery import sql
from made_outputs import until
from real_nats import NatsServer, stored_in
from real_postgres import Server

from vreid.fleet.messages import IdentityMessage
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("centre")


def test_eight_boxes_that_see_the_same_vehicles_get_one_identity_for_each(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    with resolving(centre_file(tmp_path, server, place)) as centre:
        truth = edges(tmp_path, server, 8)
        assert settled(place, len(truth))
        assert until(lambda: centre.status()["north"].counts.identities >= len(truth))
        counts = centre.status()["north"].counts
    found = given(place)
    assert sql(place, "SELECT count(*) FROM vehicles") == [(VEHICLES,)]
    assert found.keys() == truth.keys() and pairwise(found, truth) == (1.0, 1.0)
    assert (counts.new, counts.known) == (VEHICLES, 7 * VEHICLES)
    answers = [each for each in stored_in(server.url) if each.subject.startswith("v1.identity.")]
    said = [(each.subject, IdentityMessage.model_validate_json(each.body)) for each in answers]
    assert {(subject.rpartition("box%20")[2], one.sighting): one.vehicle for subject, one in said} == {
        (box.removeprefix("box "), sighting): vehicle for (box, sighting), vehicle in found.items()
    }
