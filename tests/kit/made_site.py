"""A made site of three cameras with a filled gallery, and servers over it: in this process, and in one of their own."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from made_gallery import written

from vreid.models.preprocess import Image
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import Gallery, open_gallery, read_gallery
from vreid.runtime.gallery.doubt_rows import Candidate
from vreid.runtime.gallery.doubts import add_doubt
from vreid.runtime.gallery_place import DatabaseAddress, made_path_of
from vreid.runtime.records import FinishedTrack, Floats
from vreid.serve.blurring import Blur
from vreid.serve.live import LiveView
from vreid.serve.rights import Role, TokenFile, tokens_of
from vreid.serve.running import Serving
from vreid.serve.service import Address, Service
from vreid.synth.city import Scene, Truth, city

API = "/api/v1"
IN_BOTH = pytest.mark.parametrize("made_site", ["file", "database"], indirect=True)  # over a gallery in each
ROOT_OF_KIT = Path(__file__).parent
MODEL = "vreid-s"
CAMERAS = ("gate", "bridge", "north yard")
ZONES = {"gate": ("entry",), "bridge": (), "north yard": ("bays", "exit")}
DAYS = (1_764_500_000.0, 1_764_586_400.0, 1_764_672_800.0)  # the scene passes on each of them; seconds since 1970
NAMED = {1: "white van", 2: "Müller's car", 3: "taxi <12>"}  # by the scene's vehicle
_KIND = {"sedan": 2, "hatchback": 2, "suv": 2, "pickup": 2, "bus": 5, "truck": 7, "lorry": 7, "van": 2}
_FPS, _SECONDS = 5.0, 40.0


@dataclass(frozen=True)
class Passing:
    """A vehicle of the scene before one camera: its best crop, when that was on the scene's clock, its frames, its feature."""

    vehicle: int
    camera: str
    track: int
    frames: tuple[int, int]
    crop: Image
    kind: int
    feature: Floats


def made_passings(embedder: Embedder) -> list[Passing]:
    """Every vehicle before every camera of the scene `city` of seed 7, by time."""
    scene = city(7, 12, _SECONDS, len(CAMERAS), _FPS)
    found = []
    for number, camera in enumerate(CAMERAS, 1):
        seen: dict[int, list[tuple[int, Truth]]] = {}
        for index in range(scene.frames):
            for row in scene.truth(number, index):
                if row.visibility > 0.9 and row.w > 40:
                    seen.setdefault(row.vehicle, []).append((index, row))
        for track, (vehicle, rows) in enumerate(seen.items(), 1):
            index, best = max(rows, key=lambda pair: pair[1].w * pair[1].h)
            crop = _cut(scene, number, index, best)
            kind = _KIND.get(scene.passages[vehicle - 1].vehicle.kind, 2)
            frames = rows[0][0], rows[-1][0]
            found.append(Passing(vehicle, camera, track, frames, crop, kind, embedder.embed([crop])[0]))
    return sorted(found, key=lambda one: (one.frames[1], one.camera))


def _cut(scene: Scene, camera: int, index: int, row: Truth) -> Image:
    top, left = int(row.y), int(row.x)
    crop = scene.frame(camera, index)[top : top + int(row.h), left : left + int(row.w)]
    return np.ascontiguousarray(crop)


def fill(gallery: Gallery, passings: list[Passing]) -> None:
    """The scene's sightings on three days: three vehicles have names, some sightings are doubtful, some have plates."""
    vehicles: dict[int, int] = {}
    with gallery.transaction():
        for day, begin in enumerate(DAYS):
            for one in passings:
                if one.vehicle not in vehicles:
                    name = NAMED.get(one.vehicle)
                    vehicles[one.vehicle] = gallery.add_vehicle(name, one.crop if name else None)
                vehicle = vehicles[one.vehicle]
                first, last = (frame / _FPS for frame in one.frames)
                gallery.add_prototype(vehicle, one.camera, one.feature, 0.8)
                seen = FinishedTrack(
                    one.camera, 100 * day + one.track, *one.frames, first, last, one.kind, one.feature, 3, 0.8, one.crop,
                    begin + last, f"DEMO {vehicle}" if one.vehicle == 1 else None, ZONES[one.camera],
                )  # fmt: skip
                sighting = gallery.add_sighting(vehicle, seen, 0.91, f"run-{day + 1}")
                others = [other for other in vehicles.values() if other != vehicle]
                if day == 2 and one.track == 1 and others:
                    way = (one.camera, one.camera)
                    may_be = [Candidate(vehicle, way, 0.71, 0.04), Candidate(others[0], way, 0.69, 0.06)]
                    add_doubt(gallery, sighting, vehicle, may_be, near=True)


@cache
def _passings() -> list[Passing]:
    """Those of the made scene, embedded once."""
    return made_passings(open_embedder(MODEL, 1))


def fill_folder(folder: Path) -> None:
    """A site's folder: site.toml, gallery.db, and run/picture with a live picture of each camera."""
    passings, manifest = _passings(), open_embedder(MODEL, 1).manifest
    fingerprint, dim = manifest.fingerprint, manifest.output.dim
    with open_gallery(
        folder / "gallery.db", fingerprint=fingerprint, dim=dim, model=manifest.name, write=True
    ) as gallery:
        fill(gallery, passings)
    (folder / "crops").mkdir()
    for number, one in enumerate(passings):
        cv2.imwrite(str(folder / "crops" / f"{number:02}-{one.vehicle}.jpg"), one.crop)
    scene = city(7, 12, _SECONDS, len(CAMERAS), _FPS)
    pictures = folder / "run" / "picture"
    pictures.mkdir(parents=True)
    lines = ["[gallery]", 'file = "gallery.db"', "enrol_unknown = true", "[outputs]", 'folder = "run"']
    for number, camera in enumerate(CAMERAS, 1):
        cv2.imwrite(str(pictures / f"{camera}.jpg"), scene.frame(number, 60))
        os.utime(pictures / f"{camera}.jpg", (time.time() + 86400,) * 2)  # new throughout a session of tests
        lines += [f'[camera."{camera}"]', f'uri = "synth://city?camera={number}&seed=7&fps=5&seconds=40"']
    (folder / "site.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class MadeSite:
    """A folder that `fill_folder` made, for one test's own use, with tokens of every role once `with_tokens` was called."""

    folder: Path
    given: dict[str, str] = field(default_factory=dict)
    place: DatabaseAddress | None = None  # of a gallery in a database that has what the file has

    @property
    def gallery(self) -> Any:
        """The gallery's file, or the address of its database."""
        return self.place or self.folder / "gallery.db"

    @property
    def tokens(self) -> TokenFile:
        """The file of tokens."""
        return TokenFile(tokens_of(made_path_of(self.gallery)))

    def with_tokens(self) -> "MadeSite":
        """Make the tokens look, edit and admin, and `gate`, which may edit and sees the camera gate alone."""
        roles: tuple[Role, ...] = ("look", "edit", "admin")
        for role in roles:
            self.given[role] = self.tokens.add(role, role)
        self.given["gate"] = self.tokens.add("gate", "edit", ["gate"])
        return self

    def crops(self) -> list[Path]:
        """A JPEG of each vehicle before each camera; the name ends with the scene's vehicle."""
        return sorted((self.folder / "crops").iterdir())

    def copy_to(self, folder: Path) -> "MadeSite":
        """A site of its own."""
        shutil.copytree(self.folder, folder)
        return MadeSite(folder)

    def in_database(self, place: DatabaseAddress) -> "MadeSite":
        """The same site with its gallery in a database, filled as the file was."""
        embedder = open_embedder(MODEL, 1)
        manifest = embedder.manifest
        about = {"fingerprint": manifest.fingerprint, "dim": manifest.output.dim, "model": manifest.name}
        with open_gallery(place, **about, write=True) as gallery:  # type: ignore[arg-type]
            fill(gallery, _passings())
        (self.folder / "gallery.db").unlink()
        return replace(self, place=place)


@dataclass(frozen=True)
class Served:
    """A server over a made site."""

    site: MadeSite
    url: str  # without a slash at its end
    service: Service | None = None  # where it is in this process
    process: "subprocess.Popen[str] | None" = None  # where it is in another one

    def client(self, who: str | None = None, **settings: object) -> httpx.Client:
        """HTTP with the token of a role, or without one."""
        headers = {} if who is None else {"Authorization": f"Bearer {self.site.given[who]}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **settings)  # type: ignore[arg-type]


@contextmanager
def served_here(
    site: MadeSite,
    /,
    address: Address | None = None,
    blur: Blur | None = None,
    requests_a_minute: int = 10**6,
    live: LiveView | None = None,
    **more: Any,
) -> Iterator[Served]:
    """A real server on a free port in this process; `more` is of the Service."""
    stop = threading.Event()
    at = address or Address(port=0)
    serving = Serving(at, None, stop, lambda sentence: None, requests_a_minute=requests_a_minute, blur=blur)
    shown = live or site.folder / "run" / "picture"
    with serving.answering(site.gallery, MODEL, site.tokens, live=shown, **more) as (server, service):
        yield Served(site, server.url.rstrip("/"), service)


@contextmanager
def served_apart(site: MadeSite, *words: str, port: int = 0) -> Iterator[Served]:
    """`vreid serve --gallery` in a process of its own, which ends with the context, however it is ended inside."""
    command = [sys.executable, "-m", "vreid.cli.main", "serve", "run", "--gallery", written(site.gallery)]
    command += ["--model", MODEL, "--pictures", str(site.folder / "run"), "--port", str(port), *words]
    log = site.folder.with_name(f"{site.folder.name}.log")
    with log.open("w") as lines, subprocess.Popen(command, text=True, stderr=lines, stdout=lines) as process:
        try:
            yield Served(site, _url_of(process, log), process=process)
        finally:
            process.terminate()
            process.wait(60)


def _url_of(process: "subprocess.Popen[str]", log: Path) -> str:
    """Where it says that it serves."""
    while process.poll() is None:
        if found := re.search(r"at\s+(https?://\S+:\d+)/", log.read_text()):
            return found[1]
        time.sleep(0.02)
    raise AssertionError(f"the server ended: {log.read_text()}")


def content_of(site: MadeSite) -> dict[str, str]:
    """A digest of every file of a site; what is refused must not change any, nor leave one."""
    return {
        str(path.relative_to(site.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(site.folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    } | {"rows": rows_of(site)}


def rows_of(site: MadeSite) -> str:
    """All that the gallery holds, as one text."""
    with read_gallery(site.gallery) as gallery:
        return repr([gallery.stats(), gallery.vehicles(), gallery.changes()])
