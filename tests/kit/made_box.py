"""A box of a fleet without cameras: a gallery with an outbox, sightings for it, and what a stream holds of it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from made_gallery import opened, sighting
from real_nats import NatsServer, Stored

from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.outbox import Outbox, OutboxSizes
from vreid.runtime.session import FleetSettings

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


def edge_process(path: Path, server: NatsServer, box: str) -> "subprocess.Popen[str]":
    """A process that writes sightings without end and sends them; it prints the id of each that is committed."""
    words = [sys.executable, "-c", _EDGE, str(Path(__file__).parent), str(path), box, server.url]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def numbers_of(stored: list[Stored], box: str) -> list[int]:
    """The numbers of a box's messages, in the stream's order."""
    return [int(each.number.rpartition(":")[2]) for each in stored if each.number.rpartition(":")[0] == box]
