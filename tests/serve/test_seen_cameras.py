"""What a token of one camera gets where a site has three: its zones, its watch list, its thresholds, its views of a vehicle."""

from contextlib import closing
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install vreid[serve]")
import httpx
import numpy as np
from made_site import API, CAMERAS, MODEL, ZONES, MadeSite, Served, served_here

from vreid.models.picture import decoded
from vreid.runtime.camera_bias import FEWEST_KEPT, CameraBias
from vreid.runtime.embedder import open_embedder
from vreid.runtime.gallery import edit_gallery
from vreid.runtime.gallery.doubt_rows import Candidate
from vreid.runtime.gallery.doubts import add_doubt
from vreid.runtime.gallery.records import Filter
from vreid.runtime.judged_pairs import JudgedPair
from vreid.runtime.kept.folder import folder_of_gallery, kept_name
from vreid.runtime.records import Frame
from vreid.runtime.session import CameraSettings, Regions, Site
from vreid.runtime.site_evidence import Evidence
from vreid.runtime.stranger_scores import StrangerScores
from vreid.runtime.topology import Span
from vreid.runtime.travel_times import TravelTimes
from vreid.runtime.watches import Watch
from vreid.serve.cameras import seen_cameras
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.live import LiveView
from vreid.serve.rights import Person
from vreid.serve.searching import open_searcher

SQUARE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
HIDDEN = ("bridge", "north yard", "bays", "exit")


def settings(camera: str) -> CameraSettings:
    """Of a camera of the made site."""
    regions = Regions(zones={zone: SQUARE for zone in ZONES[camera]})
    return CameraSettings(source=f"{camera}=synth://city?camera=1", regions=regions)


SITE = Site(
    cameras=[settings(camera) for camera in CAMERAS],
    watch=[
        Watch("cars here", kind="car", cameras=("gate", "bridge")),
        Watch("cars there", kind="car", cameras=("bridge",)),
        Watch("taxis", vehicle="taxi*"),
    ],
)


def learn(site: MadeSite, pair: tuple[str, str], pairs: int) -> None:
    """Let the site have seen so many strangers between two cameras, with their bias, their travel times, and judged pairs."""
    scores, bias, times = StrangerScores(), CameraBias(), TravelTimes()
    for place in range(pairs):
        scores.add(0.5 + place % 10 / 20, 2)
        times.add(Span(pair[0], 0, 0.0, 2.0), Span(pair[1], place, 10.0, 12.0), True)
    judged = [JudgedPair(pair, 0.5, 0.05, True)] * 40
    with edit_gallery(site.gallery) as gallery:
        for camera, feature in zip(pair, np.eye(2, gallery.about.dim, dtype=np.float32), strict=True):
            for _ in range(FEWEST_KEPT):
                bias.add(camera, feature)
        gallery.keep_site_threshold(Evidence({pair: scores}, bias, times=times, judged=judged).as_text())


def test_pages_of_a_site_name_no_hidden_camera_and_nothing_of_one(made_site: MadeSite) -> None:
    learn(made_site, ("bridge", "gate"), 200)
    with (
        served_here(made_site, site=lambda: SITE) as server,
        server.client("gate") as gate,
        server.client("look") as look,
    ):
        for path in ("/", "/sightings", "/vehicles", "/doubtful", "/watch", "/settings", "/health", "/find"):
            texts = [client.get(path).raise_for_status().text for client in (gate, look)]
            assert not [name for name in HIDDEN if name in texts[0]], path
        watched, everything = (client.get("/watch").text for client in (gate, look))
        assert "cars here" in watched and "taxis" in watched and "cars there" not in watched
        assert "cars there" in everything and "cameras: gate, bridge" in everything and "cameras: gate<" in watched
        assert "entry" in gate.get("/sightings").text and "bays" in look.get("/sightings").text
        limited, everything = (client.get("/settings").text for client in (gate, look))
        for learnt in ("bridge and gate", "is taken off them", "From bridge to gate", "have judged 40 pairs"):
            assert learnt in everything and learnt not in limited


def test_a_second_network_camera_of_a_host_has_the_name_that_its_run_gives_it() -> None:
    site = Site(cameras=[CameraSettings(source=f"rtsp://10.0.0.7/{number}") for number in (1, 2)])
    names = [camera.name for camera in seen_cameras(site, Person("anna", "look"))]
    assert len({*names}) == 2
    assert [one.name for one in seen_cameras(site, Person("anna", "look", (names[1],)))] == names[1:]


def test_api_and_pages_have_the_same_cameras(open_site: MadeSite) -> None:
    live = LiveView()
    live.show(Frame("new one", 0, 0.0, np.zeros((90, 160, 3), np.uint8)), {})
    with served_here(open_site, live=live) as server, server.client() as client:
        assert client.get(f"{API}/cameras").json() == sorted([*CAMERAS, "new one"])
        assert client.get(f"{API}/cameras/new one/picture").status_code == 200
        for path in ("/", "/live/new one", "/health", "/sightings"):
            assert "new one" in client.get(path).raise_for_status().text, path


def test_a_doubt_shows_the_threshold_of_its_cameras_also_where_one_is_hidden(made_site: MadeSite) -> None:
    learn(made_site, ("bridge", "gate"), 200)
    with edit_gallery(made_site.gallery) as gallery:
        (seen, *_) = (one for one in gallery.latest_sightings(limit=1000) if one.camera == "gate")
        add_doubt(gallery, seen.id, seen.vehicle, [Candidate(seen.vehicle, ("bridge", "gate"), 0.7, 0.05)], near=True)
    with served_here(made_site) as server, server.client("gate") as gate, server.client("look") as look:
        texts = [client.get(f"/doubtful?sighting={seen.id}").text for client in (look, gate)]
        assert all("resting on 200 pairs" in text for text in texts)
        assert "view from bridge" in texts[0] and "view from another camera" in texts[1] and "bridge" not in texts[1]
        assert "bridge" not in gate.get(f"{API}/doubtful").text


def test_a_vehicle_has_the_features_of_the_cameras_that_may_be_seen(looked_at: Served) -> None:
    assert looked_at.service is not None
    with looked_at.client("gate") as gate, looked_at.client("look") as look:
        for vehicle in gate.get(f"{API}/vehicles").json()["items"]:
            features = looked_at.service.access.searching.prototypes(vehicle["id"])
            assert vehicle["prototypes"] == sum(one.view == "gate" for one in features)
            assert look.get(f"{API}/vehicles/{vehicle['id']}").json()["vehicle"]["prototypes"] == len(features)


def keep(site: MadeSite, client: httpx.Client, ending: str, content: bytes) -> str:
    """Keep something of the newest sighting; the path of the API that has it."""
    seen = client.get(f"{API}/sightings?limit=1").json()["items"][0]
    file = folder_of_gallery(site.gallery) / Path(kept_name(seen["camera"], seen["at"], seen["track"], ending))
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return f"{API}/sightings/{seen['id']}/kept"


def test_a_kept_picture_is_blurred_as_others_are(open_site: MadeSite) -> None:
    jpeg = open_site.crops()[0].read_bytes()
    with served_here(open_site) as server, server.client() as client:
        path = keep(open_site, client, ".jpg", jpeg)
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, "image/jpeg", jpeg)
    with served_here(open_site, blur=np.zeros_like) as server, server.client() as client:
        assert decoded(client.get(path).content, open_site.folder).max() <= 2


def test_a_clip_is_sent_in_parts_and_not_at_all_where_it_would_have_to_be_blurred(open_site: MadeSite) -> None:
    with served_here(open_site) as server, server.client() as client:
        path = keep(server.site, client, ".mp4", b"a clip of some seconds")
        assert client.get(path).content == b"a clip of some seconds"
        part = client.get(path, headers={"Range": "bytes=2-5"})
        assert (part.status_code, part.content, part.headers["content-type"]) == (206, b"clip", "video/mp4")
    with served_here(open_site, blur=np.zeros_like) as server, server.client() as client:
        answer = client.get(path)
        assert answer.status_code == 404 and "not shown where pictures are blurred" in answer.json()["detail"]


def test_a_search_compares_features_of_the_cameras_that_may_be_seen(looked_at: Served) -> None:
    assert looked_at.service is not None
    gallery = looked_at.service.access.searching
    every = [
        (vehicle.id, each) for vehicle in gallery.vehicles(thumbnails=False) for each in gallery.prototypes(vehicle.id)
    ]
    gate = [(vehicle, each.feature) for vehicle, each in every if each.view == "gate"]
    seen = {one.vehicle for one in gallery.latest_sightings(Filter(cameras=("gate",)), limit=1000)}
    with looked_at.client("gate") as client, looked_at.client("look") as look:
        for vehicle, hidden in [(vehicle, each.feature) for vehicle, each in every if each.view != "gate"]:
            best: dict[int, float] = {}
            for one, feature in gate:
                best[one] = max(best.get(one, -1.0), float(hidden @ feature))
            for k in (1, 3, 100):
                body = {"feature": hidden.tolist(), "k": k}
                found = client.post(f"{API}/search/feature", json=body).raise_for_status().json()
                assert {one["view"] for one in found["vehicles"]} == {"gate"}
                scores = {one["vehicle"]: one["score"] for one in found["vehicles"]}
                assert len(scores) == min(k, len(best)) and scores.keys() <= seen
                assert scores == pytest.approx({one: best[one] for one in scores}, abs=1e-5)
            assert max(scores, key=lambda one: scores[one]) == max(best, key=lambda one: best[one])
            everything = look.post(f"{API}/search/feature", json=body).json()["vehicles"]
            assert everything[0]["vehicle"] == vehicle and everything[0]["score"] == pytest.approx(1, abs=1e-3)
        other = {"feature": gate[0][1].tolist(), "camera": "bridge"}
        assert client.post(f"{API}/search/feature", json=other).status_code == 404
        assert look.post(f"{API}/search/feature", json=other).status_code == 200


def test_a_search_reads_on_where_hidden_views_of_others_are_nearer(open_site: MadeSite) -> None:
    access = GalleryAccess(open_site.gallery)
    with closing(access):
        dim = access.about.dim
        axis = np.eye(dim, dtype=np.float32)
        with edit_gallery(open_site.gallery) as gallery:
            near = [gallery.add_vehicle() for _ in range(40)]
            for place, vehicle in enumerate(near):
                gallery.add_prototype(vehicle, "bridge", axis[0] + 0.01 * axis[1 + place])
                gallery.add_prototype(vehicle, "gate", axis[60 + place] + 0.1 * axis[0])
            far = gallery.add_vehicle("far")
            gallery.add_prototype(far, "gate", 0.5 * axis[0] + axis[59])
        searcher = open_searcher(access, open_embedder(MODEL, 1), false_match_rate=0.05)
        (best,) = searcher.search(axis[0], k=1, views=("gate",)).vehicles
        assert (best.name, best.view) == ("far", "gate") and best.score == pytest.approx(0.447, abs=1e-3)
