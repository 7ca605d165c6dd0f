"""The pages in a browser: nothing foreign, no error, no serious finding of axe, no page wider than a telephone, and the keys."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="fastapi is not installed; pip install vreid[serve]")
import numpy as np
from browser import PATIENCE_MS, chromium, playwright, watched
from made_site import API, CAMERAS, MadeSite, Served, served_here

from vreid.runtime.records import Frame
from vreid.runtime.session import CameraSettings, Regions, Site
from vreid.runtime.topology import CameraPair, Layout
from vreid.runtime.watches import Watch
from vreid.serve.live import GONE_S, LiveView

PAGES = {
    "live": "/",
    "camera": "/live/gate",
    "sightings": "/sightings",
    "vehicles": "/vehicles",
    "vehicle": "/vehicles/1",
    "find": "/find?sighting=1",
    "name": "/vehicles/1/name",
    "merge with": "/merge?vehicle=1",
    "merge": "/merge?vehicle=1&vehicle=2",
    "split": "/vehicles/1/split",
    "doubtful": "/doubtful",
    "watch": "/watch",
    "health": "/health",
    "settings": "/settings",
    "audit": "/audit",
    "enrol": "/enrol",
    "api": "/docs",
    "missing": "/vehicles/999",
}
PHONE = {"width": 390, "height": 844}


def site_of(folder: Path) -> Site:
    """The made site as its file would say it, with a watch list and a topology."""
    cameras = [
        CameraSettings(source=f"{name}=synth://city?camera={number}", regions=Regions(zones={"entry": ((0, 0), (1, 0), (1, 1))}))
        for number, name in enumerate(("gate", "bridge", "north yard"), 1)
    ]  # fmt: skip
    pair = (CameraPair(cameras=("gate", "bridge"), least_s=4, most_s=60), CameraPair(cameras=("bridge", "north yard")))
    return Site(
        cameras=cameras, gallery=folder / "gallery.db", topology=Layout(pair=pair),
        watch=(Watch(name="the taxi", vehicle="taxi*"), Watch(kind="truck")),
    )  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def open_server(filled: MadeSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server over a site without tokens, for tests that only read."""
    site = filled.copy_to(tmp_path_factory.mktemp("pages") / "site")
    with served_here(site, site=lambda: site_of(site.folder)) as server:
        yield server


@pytest.fixture
def own(open_site: MadeSite) -> Iterator[Served]:
    """A server over a test's own site without tokens."""
    with served_here(open_site) as server:
        yield server


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_finding_of_axe(browser: playwright.Browser, open_server: Served, scheme: str) -> None:
    findings, titles = [], set()
    with watched(browser, open_server.url, color_scheme=scheme) as tab:
        for name, path in PAGES.items():
            page = tab.go(path)
            page.locator("h1").wait_for()
            findings += tab.findings()
            titles.add(page.title())
            assert page.locator("main h1").count() == 1, name
        assert len(titles) == len(PAGES), "each page says where one is"
        assert not findings, "\n".join(findings)
        allowed = [fault for fault in tab.faults if "404" in fault]
        assert len(allowed) == 1, "the page that is missing is the one that is not found"
        assert tab.faults == allowed, "\n".join(tab.faults)


def test_every_page_fits_a_telephone(browser: playwright.Browser, open_server: Served) -> None:
    with watched(browser, open_server.url, viewport=PHONE) as tab:
        wide = {}
        for name, path in PAGES.items():
            page = tab.go(path)
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > PHONE["width"]:
                wide[name] = width
        assert not wide


def test_every_page_is_read_and_a_form_sent_without_javascript(browser: playwright.Browser, own: Served) -> None:
    with watched(browser, own.url, java_script_enabled=False) as tab:
        for name, path in PAGES.items():
            page = tab.go(path)
            assert page.locator("main").inner_text().strip(), name
        tab.go("/")
        assert page.locator(".tile noscript img").count() == 3
        page = tab.go("/vehicles/4/name")
        page.get_by_label("Name").fill("the lorry")
        page.get_by_role("button", name="Save").click()
        assert "Named #4 'the lorry'" in page.locator(".notice").inner_text()
        page.locator(".notice").get_by_role("button", name="Undo").click()
        assert page.locator("h1").inner_text().strip().startswith("vehicle-0004")


def test_tiles_show_pictures_and_let_go_when_nobody_sees_them(browser: playwright.Browser, open_server: Served) -> None:
    with watched(browser, open_server.url, viewport={"width": 800, "height": 500}) as tab:
        page = tab.go("/")
        tiles = page.locator("img[data-stream]")
        tab.until("document.querySelector('img[data-stream]').naturalWidth > 100")
        assert tiles.count() == 3
        page.evaluate("document.querySelector('main').style.paddingTop = '3000px'")
        tab.until("[...document.querySelectorAll('img[data-stream]')].every(one => one.dataset.mode === 'off')")
        assert all(str(tile.get_attribute("src")).startswith("data:") for tile in tiles.all())
        assert not tab.faults


def test_a_picture_that_a_run_left_behind_has_its_age_and_goes_while_one_looks(
    browser: playwright.Browser, own: Served
) -> None:
    def age(camera: str, seconds: float) -> None:
        path = own.site.folder / "run" / "picture" / f"{camera}.jpg"
        os.utime(path, (time.time() - seconds,) * 2)

    age("gate", 20), age("bridge", GONE_S + 1)
    with watched(browser, own.url) as tab:
        page = tab.go("/")
        states = [tile.inner_text() for tile in page.locator(".tile footer").all()]  # by name
        assert "no live picture" in states[0] and "last picture 2" in states[1] and "picture" not in states[2]
        assert page.locator(".tile img[data-stream]").count() == 2
        age("gate", GONE_S + 1)
        page.locator(".tile", has_text="gate").get_by_text("no live picture").wait_for()
        assert [tile.is_visible() for tile in page.locator(".tile img[data-stream]").all()] == [False, True]
        assert own.client().get(f"{API}/cameras/gate/picture").status_code == 404
        page = tab.go("/live/north yard")
        assert page.locator(".tile img").is_visible()
        age("north yard", GONE_S + 1)
        page.locator("h1").get_by_text("no live picture").wait_for()
        assert not page.locator(".tile img").is_visible()
        unexpected = [
            fault for fault in tab.faults if "404" not in fault
        ]  # a picture is gone just when it is looked for
        assert not unexpected, "\n".join(unexpected)


def test_a_hidden_tile_ends_its_stream_at_the_server(browser: playwright.Browser, open_site: MadeSite) -> None:
    live = LiveView()
    with served_here(open_site, live=live) as server, watched(browser, server.url) as tab:
        for camera in CAMERAS:
            live.show(Frame(camera, 0, 0.0, np.full((90, 160, 3), 90, np.uint8)), {})
        page = tab.go("/")
        tab.until("[...document.querySelectorAll('img[data-stream]')].every(one => one.naturalWidth === 160)")
        assert server.service is not None and server.service.viewers.count == len(CAMERAS)
        page.evaluate("document.querySelector('.tiles').hidden = true")
        deadline = time.monotonic() + PATIENCE_MS / 1000
        while server.service.viewers.count and time.monotonic() < deadline:
            page.wait_for_timeout(50)
        assert server.service.viewers.count == 0
        assert not tab.faults


def test_a_search_by_a_picture_finds_the_vehicle(browser: playwright.Browser, own: Served) -> None:
    crop = next(path for path in own.site.crops() if path.stem.endswith("-3"))
    with watched(browser, own.url) as tab:
        page = tab.go("/find")
        page.set_input_files("input[type=file]", str(crop))
        page.get_by_role("button", name="Find").click()
        result = page.locator("#results")
        result.wait_for()
        assert "The gallery knows this vehicle" in result.inner_text()
        first = result.locator("ol > li").first.inner_text()
        assert "taxi <12>" in first and "known" in first and "threshold" in first
        assert (
            "comes from: manifest, not from strangers that were seen here" in result.inner_text()
            and "false matches" in result.inner_text()
        )
        assert not tab.faults


def test_a_click_on_a_crop_searches_by_it_and_a_number_opens_a_result(browser: playwright.Browser, own: Served) -> None:
    with watched(browser, own.url) as tab:
        page = tab.go("/sightings")
        page.locator("a.crop").first.click()
        page.wait_for_url("**/find?sighting=*")
        best = page.locator("#results ol > li").first.locator(".name a").get_attribute("href")
        page.keyboard.press("1")
        page.wait_for_url(f"**{best}")
        assert not tab.faults


def test_a_vehicle_is_named_by_keys_and_that_is_taken_back(browser: playwright.Browser, own: Served) -> None:
    with watched(browser, own.url) as tab:
        page = tab.go("/vehicles/4")
        page.keyboard.press("r")
        page.wait_for_url("**/vehicles/4/name")
        page.get_by_label("Name").fill("Ümit's lorry")
        page.keyboard.press("Enter")
        page.locator(".notice").wait_for()
        assert "Ümit's lorry" in page.locator("h1").inner_text()
        page.keyboard.press("u")
        page.locator(".notice", has_text="Took back the rename").wait_for()
        assert page.locator("h1").inner_text().strip().startswith("vehicle-0004")
        assert not tab.faults


def test_a_name_that_is_typed_replaces_the_old_one_and_escape_leaves_it(
    browser: playwright.Browser, own: Served
) -> None:
    with watched(browser, own.url) as tab:
        page = tab.go("/vehicles/3")
        page.keyboard.press("r")
        page.wait_for_url("**/vehicles/3/name")
        page.keyboard.type("van r")
        page.keyboard.press("Escape")
        page.wait_for_url("**/vehicles/3")
        assert "taxi <12>" in page.locator("h1").inner_text()
        page.keyboard.press("r")
        page.wait_for_url("**/vehicles/3/name")
        page.keyboard.type("van r")
        page.keyboard.press("Enter")
        page.locator(".notice", has_text="Named #3 'van r', before 'taxi <12>'").wait_for()
        assert not tab.faults


def test_two_vehicles_are_merged_with_proof_and_that_is_taken_back(browser: playwright.Browser, own: Served) -> None:
    with watched(browser, own.url) as tab:
        page = tab.go("/merge?vehicle=4&vehicle=5")
        assert "The best score between them is" in page.locator("main").inner_text()
        assert page.locator("section.half").count() == 2
        assert page.locator("section.half img").count() >= 4, "pictures of both, by camera"
        page.keyboard.press("s")
        page.wait_for_url("**/merge?vehicle=5&vehicle=4")
        page.keyboard.press("m")
        page.wait_for_url("**/vehicles/5?done=*")
        assert "Merged #4" in page.locator(".notice").inner_text()
        gone = own.client().get("/vehicles/4")
        assert (gone.status_code, gone.headers["location"]) == (303, "/vehicles/5")
        page.keyboard.press("u")
        page.locator(".notice", has_text="Took back the merge").wait_for()
        assert own.client().get("/vehicles/4").status_code == 200
        assert not tab.faults


def test_sightings_are_split_off_and_that_is_taken_back(browser: playwright.Browser, own: Served) -> None:
    def count(page: playwright.Page) -> int:
        return int(page.locator(".figures b").first.inner_text())

    with watched(browser, own.url) as tab:
        page = tab.go("/vehicles/1")
        before = count(page)
        page.keyboard.press("s")
        page.wait_for_url("**/split")
        page.locator("label.choice").first.click()
        page.keyboard.press("x")
        page.locator(".notice").wait_for()
        assert "Split 1 sighting off #1" in page.locator(".notice").inner_text()
        assert count(page) == before - 1
        page.keyboard.press("u")
        page.locator(".notice", has_text="Took back the split").wait_for()
        assert count(page) == before
        assert not tab.faults


def test_doubtful_sightings_are_judged_one_after_another(browser: playwright.Browser, own: Served) -> None:
    with watched(browser, own.url) as tab:
        page = tab.go("/doubtful")
        waiting = int(page.locator("h1 small").inner_text().split()[0])
        assert waiting == 3
        assert "near the threshold and" in (shown := page.locator("main").inner_text())
        assert "passes too, with a score of 0.690; an answer counts for the thresholds." in shown
        page.keyboard.press("n")
        page.wait_for_url("**candidate=2")
        assert "Candidate 2 of 2" in page.locator("main").inner_text()
        page.keyboard.press("y")
        page.locator(".notice", has_text="Said that sighting").wait_for()
        assert page.locator("h1 small").inner_text() == "2 wait"
        page.keyboard.press("w")
        page.locator(".notice", has_text="is not of").wait_for()
        assert page.locator("h1 small").inner_text() == "1 waits"
        assert (
            "answered for 2 doubtful sightings so far: 2 pairs were near the threshold"
            in page.locator("main").inner_text()
        )
        page.keyboard.press("u")
        page.locator(".notice", has_text="Took back the reject").wait_for()
        assert page.locator("h1 small").inner_text() == "2 wait"
        assert not tab.faults


def test_a_filter_is_applied_at_once_and_kept_in_the_address(browser: playwright.Browser, open_server: Served) -> None:
    with watched(browser, open_server.url) as tab:
        page = tab.go("/sightings")
        every = page.locator(".item").count()
        page.get_by_label("Camera").select_option("gate")
        page.wait_for_url("**camera=gate**")
        assert 0 < page.locator(".item").count() < every
        assert set(page.locator("#results .item p:nth-of-type(2) > a:first-of-type").all_inner_texts()) == {"gate"}
        page.reload()
        assert page.get_by_label("Camera").input_value() == "gate"
        assert not tab.faults


def test_sightings_follow_the_name_that_is_typed(browser: playwright.Browser, open_server: Served) -> None:
    sent: list[str] = []
    with watched(browser, open_server.url) as tab:
        page = tab.go("/sightings")
        page.on("request", lambda request: sent.append(request.url) if "/sightings?" in request.url else None)
        page.keyboard.press("/")
        page.keyboard.type("white")
        page.wait_for_url("**name=white**")
        page.wait_for_function("document.querySelectorAll('#results .item').length === 2")
        page.keyboard.press("Enter")
        page.wait_for_load_state("networkidle")
        assert [url.count("name=white&") for url in sent] == [1, 1]
        assert not tab.faults


def test_the_keys_of_a_page_are_listed_and_can_be_switched_off(
    browser: playwright.Browser, open_server: Served
) -> None:
    with watched(browser, open_server.url) as tab:
        page = tab.go("/vehicles/1")
        page.keyboard.press("?")
        assert "Merge with another" in page.locator("#keys").inner_text()
        page.get_by_label("Keys are on").uncheck()
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        assert page.url.endswith("/vehicles/1")
        page.reload()
        assert not page.locator("kbd.hint").first.is_visible()
        assert not tab.faults


def test_who_may_look_signs_in_to_the_page_they_wanted_and_sees_no_edits(
    browser: playwright.Browser, looked_at: Served
) -> None:
    with watched(browser, looked_at.url) as tab:
        page = tab.go("/vehicles/1")
        page.get_by_label("Token").fill(looked_at.site.given["look"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/vehicles/1")
        assert page.get_by_role("link", name="Find more like it").count() == 1
        for text in ("Name", "Merge with another", "Not this car: split"):
            assert page.get_by_role("link", name=text, exact=False).filter(has_text=text).count() == 0 or text == "Name"
        assert (
            page.locator('a[href$="/name"], a[href^="/merge"], a[href$="/split"], form[action*="remove"]').count() == 0
        )
        assert not tab.faults


def test_a_form_that_cannot_be_done_says_why(browser: playwright.Browser, own: Served) -> None:
    with watched(browser, own.url) as tab:
        page = tab.go("/vehicles/4/name")
        page.get_by_label("Name").fill("white van")
        page.get_by_role("button", name="Save").click()
        assert "already has a vehicle named 'white van'" in page.get_by_role("alert").inner_text()
        page.get_by_role("link", name="Back").click()
        page.wait_for_url("**/vehicles/4/name")


def click_twice(page: playwright.Page) -> None:
    page.evaluate(
        "const button = document.querySelector('form[action=\"/merge\"] button'); button.click(); button.click()"
    )


def test_a_button_that_is_pressed_twice_sends_its_form_once(browser: playwright.Browser, own: Served) -> None:
    sent: list[str] = []
    record: Callable[[playwright.Request], None] = lambda request: sent.append(request.method)  # noqa: E731
    with watched(browser, own.url) as tab:
        page = tab.go("/merge?vehicle=6&vehicle=7")
        page.on("request", lambda request: record(request) if request.method == "POST" else None)
        click_twice(page)
        page.wait_for_url("**/vehicles/6?done=*")
        assert sent == ["POST"]
