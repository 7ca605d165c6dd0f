"""A gallery whose file is removed or replaced while it is served: the old one is not shown, and the new one not written."""

import logging

import pytest
from made_site import API, Served

from vreid.runtime.gallery import read_gallery
from vreid.runtime.gallery.maintenance import backed_up


@pytest.mark.parametrize("removed", [False, True])
def test_a_gallery_that_is_replaced_is_neither_read_nor_written(served: Served, removed: bool) -> None:
    gallery, kept, copy = (served.site.folder / name for name in ("gallery.db", "kept.db", "copy.db"))
    backed_up(gallery, copy)
    with read_gallery(gallery) as reader:
        dim, before = reader.about.dim, reader.vehicles(thumbnails=False)
    requests = [
        ("GET", f"{API}/vehicles", None),
        ("POST", f"{API}/search/feature", {"feature": [1.0] * dim}),
        ("PATCH", f"{API}/vehicles/1", {"name": before[0].name}),
        ("GET", "/settings", None),
        ("GET", "/readyz", None),
    ]
    with served.client("admin") as client:

        def statuses() -> list[int]:
            return [client.request(verb, path, json=body).status_code for verb, path, body in requests]

        assert statuses() == [200] * 5
        gallery.rename(kept)
        if not removed:
            copy.rename(gallery)
        requests[2] = "PATCH", f"{API}/vehicles/1", {"name": "another"}
        assert statuses() == [503] * 5
        assert "removed, moved or replaced" in client.get(f"{API}/vehicles").json()["detail"]
        with read_gallery(copy if removed else gallery) as reader:
            assert reader.vehicles(thumbnails=False) == before
        kept.replace(gallery)
        assert statuses() == [503] * 5, "its log may be gone"


def test_events_of_a_gallery_that_is_removed_end(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    with served.client("look") as client, client.stream("GET", f"{API}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("retry")
        served.site.gallery.unlink()
        assert "event: sighting" not in list(lines)
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []
