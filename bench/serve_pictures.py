"""Pictures of the server's pages over a live run of the synthetic scene: each page light, dark and on a telephone.

    python bench/serve_pictures.py --out docs/images/serve [--seconds 90]

Three live cameras are run and served in this process, with a topology and a watch list; after some passes of the scene vehicles
are named and two are merged by the API, and a browser takes each page. Needs chromium, Playwright and Pillow.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from vreid import Client
from vreid.runtime.session import CameraSettings, Regions, Site
from vreid.runtime.topology import CameraPair, Layout
from vreid.runtime.watches import Watch
from vreid.serve.running import Serving, serve_run
from vreid.serve.service import Address

CHROMIUM = "/usr/bin/chromium"
SCENE = "seed=7&cameras=3&seconds=40&vehicles=12&fps=5&live=1"
CAMERAS = ("gate", "bridge", "north yard")
OUTPUT = "mqtt://127.0.0.1/site"  # a watch list needs one; nobody has to listen there
ZONE = ((0.1, 0.45), (0.9, 0.45), (0.9, 1.0), (0.1, 1.0))
WIDE, NARROW = {"width": 1160, "height": 800}, {"width": 390, "height": 844}
MODES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": WIDE},
    "dark": {"color_scheme": "dark", "viewport": WIDE},
    "narrow": {"color_scheme": "light", "viewport": NARROW},
}
COLOURS = 256  # of a picture's palette
SETTLES_MS = 1500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=90, help="of the run before pictures are taken")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vreid-pictures-") as folder:
        stop, url = threading.Event(), Spoken()
        serving = Serving(Address(port=0), None, stop, url.say)
        run = threading.Thread(target=serve_run, args=(site_in(Path(folder)), serving))
        run.start()
        try:
            server = url.wait()
            time.sleep(args.seconds)
            take(server, args.out)
        finally:
            stop.set()
            run.join()


class Spoken:
    """Where the server says that it serves."""

    def __init__(self) -> None:
        self._there, self._url = threading.Event(), ""

    def say(self, sentence: str) -> None:
        print(sentence)
        if " at http" in sentence:
            self._url = sentence.rpartition(" at ")[2].rstrip("/")
            self._there.set()

    def wait(self) -> str:
        if not self._there.wait(120):
            raise SystemExit("the server did not begin in 120 s")
        return self._url


def site_in(folder: Path) -> Site:
    """Three live cameras of the scene."""
    cameras = [
        CameraSettings(source=f"{name}=synth://city?camera={number}&{SCENE}", regions=Regions(zones={"lane": ZONE}))
        for number, name in enumerate(CAMERAS, 1)
    ]
    ways = Layout(
        pair=(
            CameraPair(cameras=("gate", "bridge"), least_s=1, most_s=60),
            CameraPair(cameras=("bridge", "north yard"), least_s=1, most_s=60),
        )
    )
    return Site(
        cameras=cameras, gallery=folder / "city.db", out=folder / "run", enrol_unknown=True, topology=ways,
        watch=(Watch(name="the taxi", vehicle="taxi*"),), to=(OUTPUT,),
    )  # fmt: skip


def take(server: str, out: Path) -> None:
    """Name some vehicles, and take every page in every mode."""
    client = Client(server)
    vehicles = list(client.vehicles("sightings", limit=20))
    for vehicle, name in zip(vehicles, ("taxi 12", "white van", "post lorry"), strict=False):
        client.rename(vehicle["id"], name)
    first, second = vehicles[0]["id"], vehicles[1]["id"]
    seen = next(client.sightings(limit=1, vehicle=first))["id"]
    pages = {
        "live": "/", "sightings": "/sightings", "vehicles": "/vehicles", "vehicle": f"/vehicles/{first}",
        "find": f"/find?sighting={seen}", "name": f"/vehicles/{first}/name", "merge": f"/merge?vehicle={first}&vehicle={second}",
        "split": f"/vehicles/{first}/split", "doubtful": "/doubtful", "watch": "/watch", "health": "/health",
        "settings": "/settings", "audit": "/audit",
    }  # fmt: skip
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for mode, settings in MODES.items():
            in_mode(
                browser, server, settings, {name: (path, out / f"{name}-{mode}.png") for name, path in pages.items()}
            )
        browser.close()


def in_mode(browser: Browser, server: str, settings: dict[str, Any], pages: dict[str, tuple[str, Path]]) -> None:
    """The pages in one mode."""
    context = browser.new_context(**settings)
    page: Page = context.new_page()
    for path, file in pages.values():
        page.goto(server + path, wait_until="domcontentloaded")
        page.wait_for_timeout(SETTLES_MS)
        page.screenshot(path=str(file))
        with Image.open(file) as picture:
            small = picture.convert("RGB").quantize(COLOURS, kmeans=2, dither=Image.Dither.NONE)
        small.save(file, optimize=True)
        print(f"{file}: {file.stat().st_size} bytes")
    context.close()


if __name__ == "__main__":
    main()
