"""A box of a fleet without cameras: a gallery with an outbox, sightings for it, and what a stream holds of it."""

import itertools
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from made_gallery import opened, sighting
from real_nats import STREAM, NatsServer, Stored, with_client

from vreid.fleet.subjects import consumer_of, identities_of
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.outbox import Outbox, OutboxSizes
from vreid.runtime.session import FleetSettings

_NUMBERS = itertools.count(1)  # of what a centre says
_EDGE = """
import sys
sys.path.insert(0, sys.argv[1])
from made_box import box_in, written
from vreid.fleet.sender import Sender
from vreid.runtime.session import FleetSettings
from pathlib import Path
with box_in(Path(sys.argv[2])) as gallery:
    sender = Sender(FleetSettings(box=sys.argv[3], region="north", server=sys.argv[4]), gallery)
    sender.start()
    while True:
        print(written(gallery), flush=True)  # it is committed
"""


@contextmanager
def box_in(path: Path) -> Iterator[Gallery]:
    """The gallery at `path` with an outbox and a vehicle."""
    with opened(path) as gallery:
        outbox_of(gallery)
        if not gallery.size()[0]:
            gallery.add_vehicle()
        yield gallery


def outbox_of(gallery: Gallery) -> Outbox:
    """The outbox, made if there is none."""
    with gallery.transaction() as store:
        found = store.outbox(make=True)
    assert found is not None
    return found


def written(gallery: Gallery, camera: str = "gate", track: int = 1) -> int:
    """Write one more sighting of the first vehicle; its id."""
    return gallery.add_sighting(1, sighting(track % 7, camera=camera, track=track), 0.5)


def sizes(gallery: Gallery) -> OutboxSizes:
    """How much waits."""
    outbox = outbox_of(gallery)
    with gallery.reading():
        return outbox.sizes()


def settings(of: NatsServer, box: str = "box 1", **more: object) -> FleetSettings:
    """Those of a box of the region north."""
    given = {"box": box, "region": "north", "server": of.url, **more}
    return FleetSettings(**given)  # type: ignore[arg-type]


def identity(sighting: int, vehicle: int, name: str = "", epoch: int = 1, region: str = "north") -> dict[str, object]:
    """What a centre says: a sighting of the box is of this vehicle of the region."""
    about = {"region": region, "epoch": epoch, "number": next(_NUMBERS), "sighting": sighting, "vehicle": vehicle}
    return {"schema": 1, "what": "identity", **about, "name": name or f"car {vehicle}"}


def removal(sighting: int, epoch: int = 1, region: str = "north") -> dict[str, object]:
    """What a centre says: a sighting of the box was removed for good."""
    about = {"region": region, "epoch": epoch, "number": next(_NUMBERS), "sighting": sighting}
    return {"schema": 1, "what": "removed", **about, "vehicle": None, "name": None}


def number_of(path: Path, id_: int) -> int:
    """The number by which the sighting of a gallery is known elsewhere; also for an id that the gallery has not given yet."""
    query = "SELECT base FROM outbox_numbers WHERE sighting <= ? ORDER BY id DESC LIMIT 1"
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute(query, (id_,)).fetchone()[0]) + id_


def said_to(url: str, box: str, path: Path, *messages: "dict[str, object] | bytes") -> None:
    """Write what a centre says to a box in the stream; `path` is the box's gallery, by whose ids the messages name sightings."""

    def body_of(message: "dict[str, object] | bytes") -> bytes:
        if isinstance(message, bytes):
            return message
        return json.dumps({**message, "sighting": number_of(path, int(str(message["sighting"])))}).encode()

    async def publish(client: Any) -> None:
        stream = client.jetstream(timeout=20)
        for each in messages:
            await stream.publish(identities_of(box), body_of(each), headers={"Nats-Msg-Id": f"north:{uuid4()}"})

    with_client(url, publish)


def unheard(url: str, box: str) -> int:
    """How many messages to a box it has not acknowledged."""

    async def look(client: Any) -> int:
        info = await client.jetstream(timeout=20).consumer_info(STREAM, consumer_of(box))
        return int((info.num_pending or 0) + (info.num_ack_pending or 0))

    return with_client(url, look)


def edge_process(path: Path, server: NatsServer, box: str) -> "subprocess.Popen[str]":
    """A process that writes sightings without end and sends them; it prints the id of each that is committed."""
    words = [sys.executable, "-c", _EDGE, str(Path(__file__).parent), str(path), box, server.url]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def numbers_of(stored: list[Stored], box: str) -> list[int]:
    """The numbers of a box's messages, in the stream's order."""
    numbers = (each.number.rsplit(":", 2) for each in stored)
    return [int(seq) for of, _, seq in numbers if of == box]
