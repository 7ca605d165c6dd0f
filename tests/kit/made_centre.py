"""A centre for tests: its file, processes of it, boxes that see the same vehicles, and what its gallery then says."""

import hashlib
import json
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from made_box import number_of, outbox_of, settings
from made_gallery import noise, opened, sighting, sql, written
from made_outputs import until
from real_nats import NatsServer

from vreid.fleet.centre.log import Logged, Position
from vreid.fleet.centre.run import Centre, started
from vreid.fleet.centre.settings import read_centre
from vreid.fleet.centre.track import Unfit, message_in, sighting_in
from vreid.fleet.messages import BoxMessage
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import subject_of
from vreid.models.manifest import Cost, Input, Manifest, Match, Output, write_manifest
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery_place import DatabaseAddress
from vreid.runtime.records import FinishedTrack, Floats

DIM = 64
VEHICLES = 60
_EDGE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from made_centre import seen_by
print(json.dumps(seen_by(*sys.argv[2:4], int(sys.argv[4]))))
"""
Truth = dict[tuple[str, int], int]  # the vehicle of each (box, sighting)


def model_in(folder: Path, fingerprint: str = "aaaaaaaa") -> Path:
    """The manifest of a network that nobody runs."""
    folder.mkdir(exist_ok=True)
    engine = folder / "none.onnx"
    engine.write_bytes(b"nobody runs this")
    manifest = Manifest(
        name="small", engine=engine.name, sha256=hashlib.sha256(engine.read_bytes()).hexdigest(), backend="onnxruntime",
        precision="fp32", input=Input(height=8, width=8, batch=[1, 8, 32]), output=Output(dim=DIM),
        cost=Cost(params=0, macs=0, flops=0), accuracy=None, match=Match(threshold=0.7, false_match_rate=0.01, gallery=60),
        fingerprint=fingerprint, built_for=None, made_from=None,
    )  # fmt: skip
    path = folder / "small.json"
    write_manifest(manifest, path)
    return path


def centre_file(folder: Path, server: NatsServer, place: DatabaseAddress, top: str = "", region: str = "") -> Path:
    """The file of a centre of the region north; `top` and `region` are more lines of it."""
    model = model_in(folder / "model")
    path = folder / "centre.toml"
    path.write_text(
        f'server = "{server.url}"\nmodel = "{model}"\nlease_s = 3\n{top}\n'
        f'[[region]]\nname = "north"\ngallery = "{written(place)}"\n{region}\n',
        encoding="utf-8",
    )
    return path


@contextmanager
def resolving(file: Path) -> Iterator[Centre]:
    """A centre in this process that resolves."""
    with started(read_centre(file, {})) as centre:
        assert until(lambda: centre.status()["north"].epoch is not None), centre.status()
        yield centre


def centre_process(file: Path) -> "subprocess.Popen[bytes]":
    """`vreid centre run` as a process of its own; see `said_in`."""
    with file.with_suffix(".said").open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "vreid.cli.main", "centre", "run", str(file)], stderr=said)


def said_in(file: Path) -> str:
    """What the processes with this file have said."""
    return file.with_suffix(".said").read_text(encoding="utf-8")


def looks(vehicle: int, seed: int) -> Floats:
    """(DIM,) of a vehicle as one track shows it, at a cosine of some 0.93 to other tracks of it."""
    plain = np.random.default_rng(1000 + vehicle).normal(size=DIM)
    noise = np.random.default_rng([vehicle, seed]).normal(size=DIM)
    feature = plain / np.linalg.norm(plain) + 0.27 * noise / np.linalg.norm(noise)
    return np.asarray(feature / np.linalg.norm(feature), np.float32)


def passage(vehicle: int, seed: int, at: float, camera: str = "gate") -> FinishedTrack:
    """A vehicle that drives by for two seconds, up to `at` in seconds since 1970."""
    picture = noise(1000 * seed + vehicle)  # no two tracks have one picture
    made = sighting(vehicle, feature=looks(vehicle, seed), camera=camera, track=vehicle, seen=at, picture=picture)
    return replace(made, first_time=at - 2.0, last_time=at)


@contextmanager
def box_of(path: Path, **more: object) -> Iterator[Gallery]:
    """The gallery of a box with an outbox, of the centre's model."""
    with opened(path, dim=DIM, **more) as gallery:
        outbox_of(gallery)
        yield gallery


def seen(
    gallery: Gallery,
    vehicles: Sequence[int],
    seed: int,
    begin: float | None = None,
    owns: dict[int, int] | None = None,
) -> dict[int, int]:
    """Write down that these drove by one after the other: the vehicle of each sighting. `owns` are the box's own ids of vehicles
    that it knows, to which those are added that it meets."""
    begin = time.time() - 3.0 * len(vehicles) if begin is None else begin
    done, owns = {}, {} if owns is None else owns
    for number, vehicle in enumerate(vehicles):
        if vehicle not in owns:
            owns[vehicle] = gallery.add_vehicle()
        track = passage(vehicle, seed, begin + 3.0 * number)
        gallery.add_prototype(owns[vehicle], track.camera, track.feature)
        done[gallery.add_sighting(owns[vehicle], track, 0.5)] = vehicle
    return done


def truth_of(box: str, gallery: Gallery, done: Mapping[int, int]) -> Truth:
    """What `seen` has done, as a centre knows the box's sightings."""
    return {(box, number_of(gallery.path, id_)): vehicle for id_, vehicle in done.items()}


def seen_by(path: str, url: str, number: int) -> dict[int, int]:
    """What the edge process of this number does: it sees all vehicles, in an order of its own, and sends. The vehicle of each
    sighting, by its number."""
    order = np.random.default_rng(number).permutation(VEHICLES).tolist()
    with box_of(Path(path)) as gallery:
        done = seen(gallery, order, number)
        Sender(replace(settings_of(url), box=f"box {number}"), gallery).send_all()
        return {id_: vehicle for (_, id_), vehicle in truth_of("", gallery, done).items()}


def settings_of(url: str, box: str = "box 0"):
    """Those of a box of the region north."""
    return settings(_Url(url), box)  # type: ignore[arg-type]


@dataclass
class _Url:
    url: str


def edges(folder: Path, server: NatsServer, count: int) -> Truth:
    """So many edge processes at once that see the same vehicles and send; which vehicle each of their sightings shows."""
    words = [sys.executable, "-c", _EDGE, str(Path(__file__).parent)]
    processes = [
        subprocess.Popen(
            [*words, str(folder / f"{number}.db"), server.url, str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(count)
    ]
    truth: Truth = {}
    for number, process in enumerate(processes):
        said, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        truth |= {(f"box {number}", int(id_)): vehicle for id_, vehicle in json.loads(said).items()}
    return truth


def given(place: DatabaseAddress) -> Truth:
    """The centre's vehicle of each (box, sighting)."""
    query = "SELECT b.box, b.sighting, s.vehicle FROM box_sightings b JOIN sightings s ON s.id = b.here"
    return {(box, id_): vehicle for box, id_, vehicle in sql(place, query)}


def pairwise(found: Mapping[tuple[str, int], int], truth: Mapping[tuple[str, int], int]) -> tuple[float, float]:
    """Precision and recall of the pairs of sightings that are of one vehicle."""

    def pairs(counts: Counter[object]) -> int:
        return sum(count * (count - 1) // 2 for count in counts.values())

    right = pairs(Counter((found[key], truth[key]) for key in truth if key in found))
    return right / pairs(Counter(found.values())), right / pairs(Counter(truth.values()))


def settled(place: DatabaseAddress, count: int, seconds: float = 120.0) -> bool:
    """Whether so many sightings of boxes came to the centre in time."""
    return came_true(lambda: sql(place, "SELECT count(*) FROM box_sightings")[0][0] >= count, seconds)


def came_true(condition: Callable[[], bool], seconds: float = 120.0) -> bool:
    """Whether it did in time; what is asked makes a connection, so that it is looked at seldom."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    return condition()


class Sent:
    """Messages of boxes as a log has them, numbered as they are made."""

    def __init__(self, made: str = "then") -> None:
        self.made, self.number = made, 0

    def sighting(self, box: str, id_: int, shows: int, at: float, **changes: Any) -> Logged:
        """That the box has seen the vehicle `shows`, from 1 on, for two seconds, up to `at`; its own id of it is the same."""
        body: dict[str, Any] = {
            "what": "sighting", "vehicle": shows, "sighting": id_, "camera": "gate", "t0": at - 2.0, "t1": at, "kind": "car",
            "prototypes": [b64encode(looks(shows, id_).astype("<f2").tobytes()).decode()], "quality": 0.5, "plate": None,
            "thumbnail": None,
        }  # fmt: skip
        return self._logged(box, {**body, **changes})

    def removal(self, box: str, vehicle: int, **changes: Any) -> Logged:
        """That the box has removed its vehicle."""
        return self._logged(box, {"what": "removed", "vehicle": vehicle, **changes})

    def moved(self, box: str, id_: int, vehicle: int) -> Logged:
        """That the box gave a sighting to this vehicle before it went."""
        return self._logged(box, {"what": "moved", "sighting": id_, "vehicle": vehicle})

    def _logged(self, box: str, body: dict[str, Any]) -> Logged:
        self.number += 1
        about = {"schema": 1, "box": box, "seq": self.number, "fingerprint": "aaaaaaaa", **body}
        text, subject = json.dumps(about).encode(), subject_of("north", box, about.get("camera", ""))
        content: BoxMessage | Unfit
        try:
            content = message_in(text, subject)
        except Unfit as unfit:
            content = unfit
        position = Position(self.made, self.number, time.time())
        return Logged(box, content, position, None, 0, sighting_in(text, subject))
