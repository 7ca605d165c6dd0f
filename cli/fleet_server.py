"""`vreid fleet setup`, `record` and `replay`: what an operator does with the centre's NATS server."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tyro.conf import Positional

from vreid.cli import output
from vreid.models.errors import MOST_COUNT, Refused

if TYPE_CHECKING:
    from nats.aio.client import Client

    from vreid.fleet.log_file import LoggedMessage

_T = TypeVar("_T")


@dataclass(frozen=True)
class Setup:
    """Make the centre's stream and object store on its NATS server, or compare those that are there. Exit code 1: they differ."""

    server: Positional[str]
    """The server, nats://HOST:PORT or tls://USER:${NATS_PASSWORD}@HOST:PORT, or the file of a site with [fleet]."""
    credentials: Path | None = None
    """File of an account, as NATS's tool nsc writes it."""
    ca: Path | None = None
    """PEM file of the authority that has signed the server's certificate."""
    stream: str = "SIGHTINGS"
    """Name of the stream, if none takes the messages yet."""
    keep: str | None = None
    """How long messages and pictures are kept there; the centre must read them before. What no flag names stays as it is; where
    it is made this is 30d."""
    window: str | None = None
    """How long a message that comes again is refused by its number; where it is made 2m."""
    replicas: int | None = None
    """On how many servers of a cluster each message is, 1, 3 or 5; where it is made 1."""
    room: str | None = None
    """How much the messages may take, such as 200GB, then nothing is taken and boxes wait; or off, as where it is made."""
    picture_room: str | None = None
    """How much the pictures may take, or off."""
    update: bool = False
    """Change what differs."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Record:
    """Write a stream's messages to a file, and go on with a file that is there."""

    server: str
    """The server, as vreid fleet setup takes it, by the account of an operator or, to record, of the centre."""
    out: Path
    """The file; .gz is compressed."""
    credentials: Path | None = None
    """File of an account."""
    ca: Path | None = None
    """PEM file of the server's authority."""
    start: str | None = None
    """The first message: its number in the stream, or a moment such as 2026-11-30T08:00:00Z. By default the oldest."""
    end: str | None = None
    """The last one; by default the newest when it begins."""
    follow: bool = False
    """Go on with those that come, until --end or Ctrl-C."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Replay:
    """Publish a recorded file's messages, at its pace or faster. The server refuses those that it took within its window."""

    file: Positional[Path]
    """What vreid fleet record has written."""
    server: str
    """The server, as vreid fleet setup takes it, by the account of an operator or, to record, of the centre."""
    credentials: Path | None = None
    """File of an account."""
    ca: Path | None = None
    """PEM file of the server's authority."""
    speed: float = 1.0
    """So many times as fast as they were written; 0: as fast as the server takes them."""
    start: int = 0
    """The number of the first message in the file that is played."""
    box_suffix: str = ""
    """Added to the boxes' names, and so to the messages' numbers, for tests of load."""
    region: str | None = None
    """Another region than the messages'."""
    identities: bool = False
    """Play what the centre sent to boxes, too."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Rights:
    """Print what an account of the server must be allowed, as nats-server's configuration has it: a box's, or the centre's."""

    box: Positional[str | None] = None
    """The box's name; without it the centre's rights are printed."""
    region: str | None = None
    """The box's region."""
    stream: str = "SIGHTINGS"
    """Name of the stream."""
    json: bool = False
    """Print one JSON document on stdout, with publish and subscribe, such as for NATS's tool nsc."""


def setup(args: Setup) -> int:
    from vreid.fleet.streams import StreamSettings, set_up
    from vreid.runtime.amounts import bytes_of, duration_of

    if args.replicas not in (None, 1, 3, 5):
        raise Refused(f"--replicas must be 1, 3 or 5, and not {args.replicas}: most of them must answer")
    room, picture_room = (
        None if text is None else 0 if text == "off" else bytes_of(text) for text in (args.room, args.picture_room)
    )
    keep, window = (None if text is None else duration_of(text) for text in (args.keep, args.window))
    wanted = StreamSettings(args.stream, keep, window, args.replicas, room, picture_room)
    done = _with_server(args, lambda client: set_up(client, wanted, args.update))
    if args.json:
        output.document(
            {
                "stream": done.stream,
                "made": list(done.made),
                "changed": [vars(one) for one in done.changed],
                "differing": [vars(one) for one in done.differing],
            }
        )
        return 1 if done.differing else 0
    for label in done.made:
        output.result(f"the {label} was made")
    for one in done.changed:
        output.result(f"{one.of}: {one.setting} was {one.found} and is {one.wanted} now")
    for one in done.differing:
        output.result(f"{one.of}: {one.setting} is {one.found}, not {one.wanted}: {one.why}")
    if done.differing:
        output.result("nothing of it was changed; --update does")
        return 1
    output.result(f"the stream {done.stream} and the object store are as wanted")
    return 0


def record(args: Record) -> int:
    from vreid.cli.run import signals
    from vreid.fleet.record import Span
    from vreid.fleet.record import record as recorded

    (first, since), (last, until) = _place("--start", args.start), _place("--end", args.end)
    span, stop = Span(first, since, last, until), threading.Event()
    with signals(stop, True, None), output.counting(f"recording {args.out}") as progress:
        count = _with_server(args, lambda client: recorded(client, args.out, span, args.follow, stop.is_set, progress))
    return output.outcome(args.json, f"{count} messages were written to {args.out}", {"messages": count})


def replay(args: Replay) -> int:
    from vreid.cli.run import signals
    from vreid.fleet.log_file import read_log
    from vreid.fleet.replay import Played, Renaming
    from vreid.fleet.replay import replay as replayed

    if not 0 <= args.speed <= MOST_COUNT:
        raise Refused(f"--speed is how many times as fast, or 0, and not {args.speed:g}")
    renaming = Renaming(args.box_suffix, args.region) if args.box_suffix or args.region is not None else None
    stop = threading.Event()

    def messages() -> "Iterator[LoggedMessage]":
        return (each for each in read_log(args.file) if each.seq >= args.start)

    next(read_log(args.file), None)  # refused before the server is
    with signals(stop, True, None), output.progress() as bar:
        task = bar.add_task(f"playing {args.file}", total=None)

        def progress(played: Played) -> None:
            bar.update(task, completed=played.stored + played.repeated)

        done = _with_server(
            args,
            lambda client: replayed(client, messages(), args.speed, renaming, args.identities, stop.is_set, progress),
        )
    words = (
        f"{done.stored} messages were stored, {done.repeated} were there already and refused, {done.left_out} of a centre were left"
        f" out; it was at most {done.behind_s:.1f} s behind its pace"
    )
    return output.outcome(args.json, words, vars(done))


def rights(args: Rights) -> int:
    from vreid.fleet.rights import of_box, of_centre
    from vreid.fleet.subjects import IDENTITY

    if (args.box is None) != (args.region is None):
        raise Refused("a box's name and --region belong together; without both the centre's rights are printed")
    if args.region == IDENTITY:
        raise Refused(f"a region cannot be called {IDENTITY}; choose another name")
    found = (
        of_centre(args.stream)
        if args.box is None or args.region is None
        else of_box(args.box, args.region, args.stream)
    )
    return output.outcome(
        args.json, found.as_config(), {what: list(subjects) for what, subjects in vars(found).items()}
    )


def _with_server(args: "Setup | Record | Replay", work: "Callable[[Client], Awaitable[_T]]") -> _T:
    """What `work` gives with a client of the server. Raises Refused, in place of CentreAway."""
    from vreid.fleet.link import CentreAway, Reasons, joined
    from vreid.runtime.network_address import nats_address, shown_address, substituted
    from vreid.runtime.site.read import read_site

    credentials, ca = args.credentials, args.ca
    if "://" in args.server:
        server = nats_address(substituted(args.server, os.environ))
    else:
        fleet = read_site(Path(args.server), os.environ).fleet
        if fleet is None:
            raise Refused(f"{args.server} names no centre; add [fleet] with box, region and server (docs/fleet.md)")
        server, credentials, ca = fleet.server, credentials or fleet.credentials, ca or fleet.ca

    async def connected() -> _T:
        async with joined(server, "vreid fleet", credentials, ca) as client, Reasons(client):
            return await work(client)

    for file in (credentials, ca):
        if file is not None and not file.is_file():
            raise Refused(f"there is no file {file}; correct the path")
    try:
        return asyncio.run(connected())
    except CentreAway as away:
        raise Refused(f"{shown_address(server)}: {away}") from away


def _place(flag: str, text: str | None) -> tuple[int | None, float | None]:
    """(number in the stream, None), (None, moment), or neither. Raises Refused."""
    if text is None:
        return None, None
    if text.isascii() and text.isdecimal():
        return int(text), None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise Refused(
            f"{flag} is a message's number or a moment such as 2026-11-30T08:00:00Z, and not '{text}'"
        ) from None
    return None, (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
