"""Who a vehicle is at the centre of a fleet, in the API and on its page, for whoever may see the sighting that says so."""

from made_site import API, Served

from vreid.runtime.gallery import edit_gallery
from vreid.runtime.gallery.identities import CentreIdentity


def test_a_vehicle_has_the_name_that_the_centre_gave_its_newest_sighting(served: Served) -> None:
    with served.client("admin") as admin:
        assert {one["centre"] for one in admin.get(f"{API}/vehicles").json()["items"]} == {None}
        vehicle = next(one["id"] for one in admin.get(f"{API}/vehicles").json()["items"] if len(one["cameras"]) > 1)
        before = admin.get(f"{API}/vehicles/{vehicle}").json()
        seen = before["sightings"]  # the newest first
        at_gate = next(one["id"] for one in seen if one["camera"] == "gate")
        elsewhere = next(one["id"] for one in seen if one["camera"] != "gate")
        with edit_gallery(served.site.gallery) as gallery, gallery.transaction() as store:
            store.outbox(make=True)
            known = store.identities()
            assert known is not None
            known.keep([CentreIdentity(at_gate, "north", 1, 13, "<b>van", 1)], 5.0)
            known.keep([CentreIdentity(elsewhere, "south", 1, 12, "taxi", 2)], 5.0)
        newest = {"region": "north", "vehicle": 13, "name": "<b>van"}
        other = {"region": "south", "vehicle": 12, "name": "taxi"}
        first = newest if at_gate > elsewhere else other
        after = admin.get(f"{API}/vehicles/{vehicle}").json()
        assert after["vehicle"]["centre"] == {**first, "different": 2}
        said = {one["id"]: one["centre"] for one in after["sightings"] if one["centre"]}
        assert said == {at_gate: {**newest, "different": 1}, elsewhere: {**other, "different": 1}}
        assert admin.get(f"{API}/sightings/{at_gate}").json()["centre"] == said[at_gate]
        assert admin.get(f"{API}/vehicles/{vehicle}").json()["vehicle"]["name"] == before["vehicle"]["name"]
        page = admin.get(f"/vehicles/{vehicle}").text
        assert "At the centre: " in page and f"#{first['vehicle']}" in page and "2 different vehicles" in page
        assert "<b>van" not in page
        other_page = next(one["id"] for one in admin.get(f"{API}/vehicles").json()["items"] if one["id"] != vehicle)
        assert "At the centre" not in admin.get(f"/vehicles/{other_page}").text
    with served.client("gate") as gate:
        assert gate.get(f"{API}/vehicles/{vehicle}").json()["vehicle"]["centre"] == {**newest, "different": 1}
        assert "south" not in gate.get(f"/vehicles/{vehicle}").text
