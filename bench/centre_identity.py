"""Identity with a box for each camera and a centre over them, against one box for all cameras: IDF1 over tracks of true boxes.

    python bench/centre_identity.py DATA/roadside-video --server nats://127.0.0.1:4222 --database postgresql://user@host/database

The folder holds cam*.mp4 and gt_cam*.txt. Each camera's video is run by a box of its own, which sends to the server; a centre
resolves the messages box after box, and by the times at which the tracks ended, as live boxes send them. "one box" decides on all
tracks jointly at the end of its run, "one box, each track at its end" as a live run does. A track counts by its frames, and shows
the vehicle on which most of its boxes lie. The server's stream, and the galleries in the database, are to be new. Rows are added
to bench/results/centre_identity.json.
"""

import argparse
import asyncio
import json
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import date, datetime, timezone
from pathlib import Path

import nats
from identity_parts import identified, scored, tracks_of
from rows import RESULTS

import vreid
from vreid.fleet.centre.run import started
from vreid.fleet.centre.settings import read_centre
from vreid.fleet.centre.status import Counts
from vreid.fleet.messages import SightingMessage, as_bytes, read_message
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import SIGHTINGS, subject_of
from vreid.runtime.gallery import edit_gallery, read_gallery
from vreid.runtime.gallery_place import place_of
from vreid.runtime.records import Match
from vreid.runtime.run import run_site
from vreid.runtime.session import CameraSettings, FleetSettings, Site
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.topology import Topology, read_topology

BEGAN = datetime(2026, 11, 30, 8, 0, tzinfo=timezone.utc)
ORDERS = ("box after box", "by time")  # each a region of the centre
Given = dict[tuple[str, int], int]  # the vehicle of each track of a camera


def box_run(videos: Sequence[Path], folder: Path, topology: Path | None, server: str | None = None) -> Given:
    """What one box's run of these videos says of their tracks; with a `server` it sends what it has found."""
    name = videos[0].stem
    fleet = None if server is None else FleetSettings(box=name, region=ORDERS[0], server=server)
    cameras = tuple(CameraSettings(source=str(video), detector=f"replay:{video.parent}") for video in videos)
    out = folder / (name if fleet else "one")
    site = Site(
        cameras=cameras, gallery=out.with_suffix(".db"), enrol_unknown=True, out=out, began=BEGAN, fleet=fleet,
        topology=None if fleet else topology,
    )  # fmt: skip
    run_site(site, threading.Event(), open_sender=None if fleet is None else Sender)
    lines = [json.loads(line) for line in (out / "sightings.jsonl").read_text().splitlines()]
    given = {(line["camera"], line["track"]): line["vehicle"] for line in lines if line["vehicle"] is not None}
    if fleet is not None:
        with edit_gallery(out.with_suffix(".db")) as gallery:
            Sender(fleet, gallery).send_all()
    return given


async def resent_by_time(server: str) -> int:
    """Send all messages of the stream again, to the second region, in the order of their tracks' ends; how many."""
    client = await nats.connect(server)
    stream = client.jetstream(timeout=20)
    name = await stream.find_stream_name_by_subject(SIGHTINGS)
    count = (await stream.stream_info(name)).state.messages
    reader = await stream.subscribe("v1.>", stream=name, ordered_consumer=True)
    messages = [read_message((await reader.next_msg(timeout=20)).data) for _ in range(count)]
    sightings = [message for message in messages if isinstance(message, SightingMessage)]
    for message in sorted(sightings, key=lambda one: one.t1):
        number = {"Nats-Msg-Id": f"{message.box}:{message.seq}:by time"}
        await stream.publish(subject_of(ORDERS[1], message.box, message.camera), as_bytes(message), headers=number)
    await client.close()
    return len(sightings)


def resolved(folder: Path, server: str, database: str, topology: Path | None) -> dict[str, Given]:
    """What a centre says of each box's tracks, by the order in which it got them."""
    joint = "&" if "?" in database else "?"
    places = {order: f"{database}{joint}gallery=identity_{number}" for number, order in enumerate(ORDERS)}
    ways = "" if topology is None else f'topology = "{_of_boxes(topology, folder)}"\n'
    regions = "".join(f'[[region]]\nname = "{order}"\ngallery = "{place}"\n{ways}' for order, place in places.items())
    file = folder / "centre.toml"
    file.write_text(f'server = "{server}"\nmodel = "vreid-s"\n{regions}')
    with started(read_centre(file, {})) as centre:
        wanted = asyncio.run(resent_by_time(server))
        while any(_done(one.counts) < wanted for one in centre.status().values()):
            time.sleep(0.2)
    given = {}
    for order, place in places.items():
        with read_gallery(place_of(place)) as gallery:
            given[order] = {
                track_of(folder, one.camera, one.track): one.vehicle for one in gallery.latest_sightings(limit=10_000)
            }
    return given


def track_of(folder: Path, camera: str, sighting: int) -> tuple[str, int]:
    """The track of a sighting of the centre, which knows it by the sighting's number at its box."""
    box, _, own = camera.partition("/")
    with read_gallery(folder / f"{box}.db") as gallery:
        with gallery.reading() as store:
            outbox = store.outbox()
            assert outbox is not None
            id_ = outbox.ids_of([sighting])[sighting]
        return own, gallery.sighting(id_).track


def _of_boxes(topology: Path, folder: Path) -> Path:
    """The same ways between cameras that are called BOX/CAMERA."""
    text = re.sub(r'"(cam\w+)"', r'"\1/\1"', topology.read_text())
    file = folder / "cameras.toml"
    file.write_text(text)
    return file


def _done(counts: Counts) -> int:
    return counts.new + counts.known + counts.unknown + counts.aside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--server", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--topology", type=Path, help="ways between cam1, cam2 ... as vreid run takes them")
    flags = parser.parse_args()
    videos = sorted(flags.folder.glob("cam*.mp4"))
    ways = Topology() if flags.topology is None else read_topology(flags.topology, [video.stem for video in videos])
    model = vreid.load("vreid-s")
    tracks = sorted(tracks_of(flags.folder, model), key=lambda one: one[0].first_time)
    rule = SiteThreshold(model.embedder.match, 0.05, ways)
    live = identified(tracks, model, rule, ways, live=True)
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        answers = {"one box": box_run(videos, folder, flags.topology)}
        for video in videos:
            box_run([video], folder, flags.topology, flags.server)
        answers |= {
            f"a box a camera, centre {order}": given
            for order, given in resolved(folder, flags.server, flags.database, flags.topology).items()
        }
    matches = {"one box, each track at its end": live}
    for way, given in answers.items():
        keys = [(track.camera, track.track) for track, _, _ in tracks]
        nobody = {key: -number for number, key in enumerate(keys, 1)}  # each unknown is somebody else
        matches[way] = [Match(given.get(key, nobody[key]), None, 1.0, False) for key in keys]
    rows = [
        {"videos": flags.folder.name, "topology": flags.topology is not None, "way": way,
         "idf1": scored(tracks, found)["idf1"], "vehicles": len({one.vehicle for one in found}),
         "tracks": len(tracks), "date": date.today().isoformat()}
        for way, found in matches.items()
    ]  # fmt: skip
    for row in rows:
        print(json.dumps(row), flush=True)
    kept = RESULTS / "centre_identity.json"
    before = json.loads(kept.read_text()) if kept.exists() else []
    kept.write_text(json.dumps([*before, *rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
