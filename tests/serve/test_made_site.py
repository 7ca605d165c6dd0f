"""The made site is what the server's tests take it for, and a server over it answers from this process and from another one."""

from made_site import CAMERAS, MadeSite, Served, served_apart

from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.doubts import doubtful


def test_the_site_has_three_cameras_named_and_unnamed_vehicles_and_doubts(filled: MadeSite) -> None:
    with read_gallery(filled.gallery) as gallery:
        vehicles = gallery.vehicles(thumbnails=False)
        assert {camera for one in vehicles for camera in one.cameras} == set(CAMERAS)
        assert sum(one.name.startswith("vehicle-") for one in vehicles) >= 5
        assert {"white van", "Müller's car", "taxi <12>"} <= {one.name for one in vehicles}
        assert gallery.stats().sightings > 60
        assert len(doubtful(gallery)) == 3
    assert len(filled.crops()) > 20


def test_a_server_in_this_process_answers(looked_at: Served) -> None:
    with looked_at.client("look") as client:
        assert client.get("/api/v1/cameras").json() == sorted(CAMERAS)
        assert client.get("/api/v1/cameras/gate/picture").content.startswith(b"\xff\xd8")


def test_a_server_in_its_own_process_answers_and_ends(made_site: MadeSite) -> None:
    with served_apart(made_site) as server:
        with server.client("look") as client:
            assert client.get("/api/v1/cameras").json() == sorted(CAMERAS)
        assert server.process is not None
    assert server.process.returncode == 0
