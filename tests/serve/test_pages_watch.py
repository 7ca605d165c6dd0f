"""The watch list's page: sightings that fit an entry, and doubtful ones that may."""

import re
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install vreid[serve]")
import httpx
from made_site import API, CAMERAS, MadeSite, served_here

from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.watches import Watch


def shown(client: httpx.Client) -> dict[str, tuple[list[int], list[tuple[int, int]]]]:
    """The name of each entry -> its sightings; sighting and candidate of the links to doubtful ones."""
    parts = re.findall(r'<section aria-label="([^"]+)">(.*?)</section>', client.get("/watch").text, re.S)
    link = re.compile(r'href="/doubtful\?sighting=(\d+)&amp;candidate=(\d+)"')
    return {
        name: (
            [int(one) for one in re.findall(r'id="s(\d+)"', text)],
            [(int(one), int(rank)) for one, rank in link.findall(text)],
        )
        for name, text in parts
    }


def test_a_doubtful_sighting_that_may_be_of_a_watched_vehicle_is_shown(made_site: MadeSite) -> None:
    with served_here(made_site) as server, server.client("look") as client:
        doubts: list[dict[str, Any]] = client.get(f"{API}/doubtful").json()
    assert len(doubts) > 1
    first = doubts[0]
    seen, (own, other) = first["sighting"], first["candidates"]
    expected = [
        (one["sighting"]["id"], 2)
        for one in doubts
        if one["candidates"][1]["vehicle"] == other["vehicle"] != one["sighting"]["vehicle"]
    ]
    kind = "bus" if seen["kind"] != "bus" else "car"
    elsewhere = next(camera for camera in CAMERAS if camera != seen["camera"])
    watches = [
        Watch("by id", vehicle=f"id={other['vehicle']}"),
        Watch("by name", vehicle=f"{other['name'].upper()[:-1]}?"),
        Watch("of another type", vehicle=f"id={other['vehicle']}", kind=kind),
        Watch("elsewhere", vehicle=f"id={other['vehicle']}", cameras=(elsewhere,)),
        Watch("as it is", vehicle=f"id={own['vehicle']}"),
        Watch("all of a type", kind=seen["kind"]),
        Watch("of no vehicle", vehicle=f"id={10**20}"),
    ]
    site = Site(cameras=[CameraSettings(source=f"{camera}=synth://city?camera=1") for camera in CAMERAS], watch=watches)
    with (
        served_here(made_site, site=lambda: site) as server,
        server.client("look") as client,
        server.client("gate") as gate,
    ):
        found = shown(client)
        assert (seen["id"], 2) in expected and found["by id"][1] == found["by name"][1] == expected
        for name in ("of another type", "elsewhere", "as it is", "all of a type"):
            assert seen["id"] not in {one for one, _ in found[name][1]}, name
        assert found["of no vehicle"] == ([], [])
        assert seen["id"] in found["as it is"][0] and found["all of a type"][1] == []
        page = client.get(f"/doubtful?sighting={seen['id']}&candidate=2").text
        assert f'<a href="/vehicles/{other["vehicle"]}">' in page
        at_gate = {one["sighting"]["id"] for one in gate.get(f"{API}/doubtful").json()}
        assert {one for one, _ in shown(gate)["by id"][1]} == at_gate & {one for one, _ in expected}
