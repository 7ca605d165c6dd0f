"""The seam of ways out: sinks by URI that tell every sighting to another machine, and never make the run wait."""

import base64
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, cast

from vreid.models.seam import open_seam
from vreid.runtime.records import Match, Sighting, Trace
from vreid.runtime.sinks.album import thumbnail
from vreid.runtime.sinks.jsonl import fields_of, json_text
from vreid.runtime.sinks.outbox import Carrier, Message, Outbox
from vreid.runtime.sinks.outlet_address import OutletAddress, outlet_address_of
from vreid.runtime.status import OutletStatus

OUTLETS = {
    "mqtt": "vreid.runtime.sinks.mqtt:open_mqtt",
    "mqtts": "vreid.runtime.sinks.mqtt:open_mqtt",
    "http": "vreid.runtime.sinks.webhook:open_webhook",
    "https": "vreid.runtime.sinks.webhook:open_webhook",
}
ROOM, ROOM_OF_PICTURES = 10_000, 1000  # messages; some 5 and 10 MB
FLUSH_S = 5.0


class Outlet:
    """A sink. `name` is its address as it may be shown."""

    def __init__(self, name: str, outbox: Outbox, run: str, picture: bool) -> None:
        self.name = name
        self._outbox, self._run, self._picture = outbox, run, picture

    def sighting(self, sighting: Sighting, match: Match, trace: Trace) -> None:
        """Into the outbox, encoded here so that the queue holds no pictures of any size."""
        fields = event_of(self._run, sighting, match, trace, self._picture)
        self._outbox.put(Message(sighting.camera, json_text(fields).encode("utf-8", "replace")))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Send what waits, for some seconds at most. May be called twice."""
        self._outbox.close()

    def start(self) -> None:
        """Begin to seek the peer."""
        self._outbox.start()

    def status(self) -> OutletStatus:
        """The counters at this moment; any thread may ask."""
        return self._outbox.status()


def open_outlets(uris: Sequence[str], run: str = "run", flush_s: float = FLUSH_S) -> list[Outlet]:
    """All or none, each with a name of its own: a second one of one host is called name#2. Nothing is sent until `start`.

    `run` is in every message, `flush_s` is how long the end may wait for the peer. Raises Refused for an address that
    cannot be read or a package that is missing. A peer that is away is sought.
    """
    addresses = [outlet_address_of(uri, OUTLETS) for uri in uris]
    times: Counter[str] = Counter()
    with ExitStack() as opened:
        outlets = []
        for address in addresses:
            times[address.name] += 1
            name = address.name if times[address.name] == 1 else f"{address.name}#{times[address.name]}"
            outlets.append(_opened(address, name, run, flush_s))
            opened.callback(outlets[-1].close, {})
        opened.pop_all()
    return outlets


def event_of(run: str, sighting: Sighting, match: Match, trace: Trace, picture: bool = False) -> dict[str, Any]:
    """A message's fields: those of sightings.jsonl and what tells one message from all others.

    `id` is equal only in copies of one message, `seen` is in seconds since 1970; `picture` is a JPEG in base64.
    """
    jpeg = thumbnail(sighting.picture) if picture else b""
    return {
        "event": "sighting",
        "id": uuid.uuid4().hex,
        "run": run,
        **fields_of(sighting, match, trace),
        "seen": round(float(sighting.seen), 3),
        "plate": sighting.plate,
        **({"picture": base64.b64encode(jpeg).decode("ascii") if jpeg else None} if picture else {}),
    }


def _opened(address: OutletAddress, name: str, run: str, flush_s: float) -> Outlet:
    picture = address.choice("picture", ("0", "1"), "0") == "1"
    room = address.room(ROOM_OF_PICTURES if picture else ROOM)
    carrier = cast(Carrier, open_seam("way out", OUTLETS, address.scheme, "live")(address))
    return Outlet(name, Outbox(name, carrier, room=room, flush_s=flush_s), run, picture)
