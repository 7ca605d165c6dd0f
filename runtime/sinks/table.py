"""The seam of sinks: what a run writes into its folder, one finished track at a time, and sends to other machines by URI."""

import base64
import contextlib
import re
import ssl
import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.network_address import shown_address
from vreid.runtime.records import FinishedTrack, Match, Notice, Trace, TrackEvent
from vreid.runtime.sinks.jsonl import event_fields, json_bytes, notice_fields, sighting_fields
from vreid.runtime.sinks.outbox import Carrier, Message, Outbox
from vreid.runtime.sinks.report import thumbnail
from vreid.runtime.status import OutputStatus

if TYPE_CHECKING:
    from vreid.runtime.sinks.home_assistant import HomeAssistant

SINKS = {
    "jsonl": "vreid.runtime.sinks.jsonl:JsonlSink",
    "mot": "vreid.runtime.mot:MotSink",
    "report": "vreid.runtime.sinks.report:ReportSink",
}


class Sink(Protocol):
    """Writes into the folder it was opened with. Bounded memory, however long the run."""

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """Once per finished track, its identity decided; `match.vehicle` is None if unknown and not enrolled."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """Once, at the end of the run; `summary` is what the run counted and timed, by name."""
        ...


def open_sink(name: str, folder: Path) -> Sink:
    """The sink `name`, writing into `folder`. Refused: an unknown name."""
    return cast(Sink, open_seam("sink", SINKS, name)(folder))


COMMON = ("events", "notices", "picture", "room")  # options that every output has
_MOST_ROOM = 1_000_000


@dataclass(frozen=True)
class OutputAddress:
    """A parsed address. `path` and `query` as they were written; `name` is all that may be shown of it."""

    scheme: str
    host: str
    port: int | None
    user: str | None
    password: str | None = field(repr=False)
    path: str = field(repr=False)  # of a webhook, it may be the secret
    query: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)

    @property
    def name(self) -> str:
        """scheme://host:port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")

    def choice(self, option: str, choices: Collection[str], default: str) -> str:
        """The value of `option`, one of `choices`. Raises Refused."""
        value = self.options.get(option, default)
        if value not in choices:
            raise Refused(f"{self.name}: {option}={value} is not known; write {option}={' or '.join(choices)}")
        return value

    def room(self, default: int) -> int:
        """How many messages may wait. Raises Refused."""
        text = self.options.get("room", str(default))
        if not (text.isdecimal() and len(text) < 9 and 1 <= int(text) <= _MOST_ROOM):
            raise Refused(
                f"{self.name}: room={text} is not a number of messages; write room=1000, at most {_MOST_ROOM}"
            )
        return int(text)

    def refuse_other_than(self, *own: str) -> None:
        """Raises Refused for an option that is neither of every output nor one of its `own`."""
        for option in self.options:
            if option not in (*own, *COMMON):
                known = ", ".join(sorted((*own, *COMMON)))
                raise Refused(f"{self.name}: there is no option '{option}'; choose one of: {known}")


def output_address_of(uri: str, schemes: Collection[str]) -> OutputAddress:
    """The address of an output. Raises Refused, which never shows a password.

    Options stand behind "?"; of a webhook behind "#", for what is behind its "?" belongs to the receiver.
    """
    uri = uri.strip()
    if "@" in re.sub(r"^[^/]*//[^/?#]*", "", uri):  # behind the host, or the password was no part of a URI
        raise Refused("an output's address has an '@' behind the host; write it as %40, and a password's '/' as %2F")
    parts = _parts(uri)
    if parts is None:
        raise Refused("an output's address is not a URI; write mqtt://host:1883/topic or https://host/path")
    scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    if scheme not in schemes:
        known = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
        raise Refused(f"an output's address has no known scheme; choose one of: {known}")
    if not host or port == 0:
        raise Refused(f"an output's address names no host; write {scheme}://host/")
    webhook = scheme.startswith("http")
    if not webhook and "#" in uri:
        raise Refused(f"the output {shown_address(uri)} has a '#'; a topic cannot, and options stand behind '?'")
    options = _options(parts, parts.fragment if webhook else parts.query)
    user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
    return OutputAddress(parts.scheme, host, port, user, password, parts.path, parts.query if webhook else "", options)


def tls_context(address: OutputAddress) -> ssl.SSLContext:
    """The peer's certificate must hold: for the system's authorities, or those of ca=FILE. Raises Refused.

    cert=FILE and key=FILE are what is shown to the peer. All are PEM.
    """
    ca, cert, key = (address.options.get(option) for option in ("ca", "cert", "key"))
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key, password="")  # never prompts for one on the terminal
    except OSError as error:
        raise Refused(
            f"{address.name}: ca=, cert= or key= names no such PEM file ({error.strerror or error})"
        ) from error
    return context


def _options(parts: SplitResult, text: str) -> dict[str, str]:
    if not text:
        return {}
    with contextlib.suppress(ValueError):  # its message repeats the options, and they may be the secret
        return dict(parse_qsl(text, strict_parsing=True, keep_blank_values=True))
    fix = f"write {parts.scheme}://...?picture=1&room=1000, or with # for a webhook"
    raise Refused(f"the options of the output {parts.scheme}://{parts.hostname} cannot be read; {fix}")


def _parts(uri: str) -> SplitResult | None:
    """The address in parts, None where it is not a URI: the library's reason repeats it, with its password."""
    try:
        parts = urlsplit(uri)
        (parts.hostname or "").encode("idna")  # what no resolver takes
        return parts if parts.port is None or 0 <= parts.port < 65536 else None
    except ValueError:
        return None


OUTPUTS = {
    "mqtt": "vreid.runtime.sinks.mqtt:open_mqtt",
    "mqtts": "vreid.runtime.sinks.mqtt:open_mqtt",
    "http": "vreid.runtime.sinks.webhook:open_webhook",
    "https": "vreid.runtime.sinks.webhook:open_webhook",
}
_EVENTS = {"alarms": "alarm", "cameras": "camera", "alerts": "alert"}  # what the message about a notice calls it
ROOM, ROOM_OF_PICTURES = 10_000, 1000  # messages; some 5 and 10 MB
FLUSH_S = 5.0


class OutputSink:
    """A sink. `name` is its address as it may be shown; `follows` if it is to get events too, `notices` if notices."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        run: str,
        picture: bool,
        follows: bool,
        notices: bool = True,
        home: "HomeAssistant | None" = None,
    ) -> None:
        self.name, self.follows, self._home = name, follows, home
        self._outbox, self._run, self._picture, self._notices = outbox, run, picture, notices

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """Into the outbox, encoded here so that the queue holds no pictures of any size."""
        fields = event_of(self._run, sighting, match, trace, self._picture)
        self._outbox.put(Message(sighting.camera, json_bytes(fields)))
        if self._home is not None:
            self._outbox.put(self._home.counted(sighting, match))

    def event(self, event: TrackEvent) -> None:
        """Into the same outbox, so that the peer gets events and sightings in order."""
        fields = {"event": "track", "id": uuid.uuid4().hex, "run": self._run, **event_fields(event)}
        self._outbox.put(Message(event.track.camera, json_bytes(fields), "events"))

    def notice(self, notice: Notice) -> None:
        """Into the same outbox, unless the address says notices=0; may be called by any thread."""
        if not self._notices:
            return
        if self._home is not None and notice.about == "cameras":
            for message in self._home.announced(notice.camera):
                self._outbox.put(message)
        fields = {"event": _EVENTS[notice.about], "id": uuid.uuid4().hex, "run": self._run, **notice_fields(notice)}
        self._outbox.put(Message(notice.camera, json_bytes(fields), notice.about, keep=notice.keep))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Send what waits, for some seconds at most. May be called twice."""
        self._outbox.close()

    def start(self) -> None:
        """Begin to seek the peer."""
        self._outbox.start()

    def status(self) -> OutputStatus:
        """The counters at this moment; for any thread."""
        return self._outbox.status()


def open_outputs(uris: Sequence[str], run: str = "run", flush_s: float = FLUSH_S) -> list[OutputSink]:
    """All or none, each with a name of its own: a second one of one host is called name#2. Nothing is sent until `start`.

    `run` is in every message, `flush_s` is how long the end may wait for the peer. Raises Refused for an address that
    cannot be read or a package that is missing. A peer that is away is tried again.
    """
    addresses = [output_address_of(uri, OUTPUTS) for uri in uris]
    times: Counter[str] = Counter()
    with ExitStack() as opened:
        outputs = []
        for address in addresses:
            times[address.name] += 1
            name = address.name if times[address.name] == 1 else f"{address.name}#{times[address.name]}"
            outputs.append(_opened(address, name, run, flush_s))
            opened.callback(outputs[-1].close, {})
        opened.pop_all()
    return outputs


def event_of(run: str, sighting: FinishedTrack, match: Match, trace: Trace, picture: bool = False) -> dict[str, Any]:
    """A message's fields: those of sightings.jsonl and an id of the message.

    `id` is equal only in copies of one message, `seen` is in seconds since 1970; `picture` is a JPEG in base64.
    """
    jpeg = thumbnail(sighting.picture) if picture else b""
    return {
        "event": "sighting",
        "id": uuid.uuid4().hex,
        "run": run,
        **sighting_fields(sighting, match, trace),
        "seen": round(float(sighting.seen), 3),
        **({"picture": base64.b64encode(jpeg).decode("ascii") if jpeg else None} if picture else {}),
    }


def _opened(address: OutputAddress, name: str, run: str, flush_s: float) -> OutputSink:
    picture = address.choice("picture", ("0", "1"), "0") == "1"
    room = address.room(ROOM_OF_PICTURES if picture else ROOM)
    carrier = cast(Carrier, open_seam("output", OUTPUTS, address.scheme, "live")(address))
    follows = address.choice("events", ("0", "1"), "0") == "1"
    notices = address.choice("notices", ("0", "1"), "1") == "1"
    home = _home_assistant(address, notices) if "discovery" in address.options else None
    return OutputSink(name, Outbox(name, carrier, room=room, flush_s=flush_s), run, picture, follows, notices, home)


def _home_assistant(address: OutputAddress, notices: bool) -> "HomeAssistant":
    from vreid.runtime.sinks.home_assistant import HomeAssistant
    from vreid.runtime.sinks.mqtt import prefix_of

    address.choice("discovery", ("homeassistant",), "homeassistant")
    if not notices:
        raise Refused(f"{address.name}: discovery=homeassistant needs notices; leave notices=0 out")
    return HomeAssistant(prefix_of(address))
