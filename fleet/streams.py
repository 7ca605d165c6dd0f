"""The centre's stream and object store on its NATS server: made where they are missing, compared where they are there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo
from nats.js.errors import APIError, NotFoundError

from vreid.fleet.link import reason_of
from vreid.fleet.picture_store import ABOUT, CONTENT, PICTURES
from vreid.fleet.picture_store import STREAM as BUCKET_STREAM
from vreid.fleet.subjects import SIGHTINGS, STREAM_SUBJECTS
from vreid.models.errors import Refused
from vreid.runtime.amounts import span_text

STREAM = "SIGHTINGS"
_API_S = 10.0
_MOST_BYTES = 1 << 17  # of a message: 8 features of 2,048 numbers take 44 kB, and a picture at most 100 kB
_AGE_S, _WINDOW_S = 30 * 86400.0, 120.0  # of what is made
_NO_ROOM = (10023, 10028, 10047)  # the server's numbers for want of memory or disk


@dataclass(frozen=True)
class StreamSettings:
    """What an operator chooses, in seconds and bytes. None: as it is, and where it is made 30 days, 2 minutes, one server and no
    bound."""

    name: str = STREAM
    max_age: float | None = None
    window: float | None = None  # in which a message that comes again is refused by its number
    replicas: int | None = None
    room: int | None = None  # of the messages; when it is full nothing is taken, and boxes wait. 0: not bounded
    picture_room: int | None = None


@dataclass(frozen=True)
class Difference:
    """A setting of the stream or the object store that is not as wanted; both values as people read them."""

    of: str
    setting: str
    found: str
    wanted: str
    why: str


@dataclass(frozen=True)
class SetUp:
    """What there is now: the stream's name on the server, what was made, what was changed, and what still differs."""

    stream: str
    made: Sequence[str]
    changed: Sequence[Difference]
    differing: Sequence[Difference]


async def set_up(client: Client, wanted: StreamSettings, update: bool = False) -> SetUp:
    """Make the stream and the object store unless they are there, and compare those that are.

    What differs is listed, and with `update` changed. A stream that takes the messages already is the one, whatever its name.
    Raises Refused, with the server's reason, for what it does not make or change.
    """
    manager = client.jetstream(timeout=_API_S)
    found = await _found(manager, wanted.name)
    name = wanted.name if found is None or found.config.name is None else found.config.name
    made: list[str] = []
    changed: list[Difference] = []
    differing: list[Difference] = []
    for label, config in ((f"stream {name}", _messages(name, wanted)), (f"object store {PICTURES}", _pictures(wanted))):
        there = found if label.startswith("stream") else await _info(manager, BUCKET_STREAM)
        if there is None:
            await _make(manager, label, config)
            made.append(label)
            continue
        kept = _as_it_is(wanted, label, name)
        unlike = list(_differences(label, there.config, config, kept))
        if unlike and update:
            await _change(manager, there.config, config, kept)
            changed += unlike
        else:
            differing += unlike
    return SetUp(name, made, changed, differing)


def _messages(name: str, wanted: StreamSettings) -> StreamConfig:
    return StreamConfig(
        name=name, subjects=[*STREAM_SUBJECTS], description="what boxes send, and what they hear (vreid)",
        max_bytes=wanted.room or -1, duplicate_window=wanted.window or _WINDOW_S, max_msgs_per_subject=-1, **_common(wanted),
    )  # fmt: skip


def _pictures(wanted: StreamSettings) -> StreamConfig:
    return StreamConfig(
        name=BUCKET_STREAM, subjects=[f"{CONTENT}.>", f"{ABOUT}.>"], description="pictures by their SHA-256 (vreid)",
        max_bytes=wanted.picture_room or -1, max_msgs_per_subject=1, discard_new_per_subject=True, **_common(wanted),
    )  # fmt: skip


def _common(wanted: StreamSettings) -> dict[str, Any]:
    return {
        "storage": StorageType.FILE, "retention": RetentionPolicy.LIMITS, "discard": DiscardPolicy.NEW,
        "max_age": wanted.max_age or _AGE_S, "num_replicas": wanted.replicas or 1, "allow_direct": True, "deny_delete": False,
        "deny_purge": False, "allow_rollup_hdrs": False, "max_msgs": -1, "max_consumers": -1, "no_ack": False,
        "max_msg_size": _MOST_BYTES,
    }  # fmt: skip


_ROOM = "give a smaller --room or --picture-room, or JetStream more room in the server's configuration (max_file_store)"
_LOST = "what a centre has not read yet would be lost"
_ERASED = "a removal is erased from the log, too"
WHY: Mapping[str, str] = {
    "subjects": "what boxes send, and no more, belongs there",
    "storage": "what is acknowledged must be on a disk",
    "retention": f"with another, {_LOST} when somebody else has read it",
    "discard": f"with another, {_LOST} when there is no more room",
    "max_age": "older messages are dropped",
    "max_bytes": "how much room they may take",
    "max_msgs": _LOST,
    "max_msgs_per_subject": f"of the stream, {_LOST}; of the object store, a box could replace a picture",
    "discard_new_per_subject": "of the object store: a box could replace a picture",
    "max_msg_size": "no box sends larger ones, and at 256 of 1 MB the server ends the connection of a centre",
    "max_consumers": "each box and each centre has one",
    "num_replicas": "how many servers may be lost, less one",
    "duplicate_window": "how long a message that comes again is refused",
    "allow_direct": "messages are read by their numbers, without the server that leads the stream",
    "deny_delete": _ERASED,
    "deny_purge": _ERASED,
    "allow_rollup_hdrs": "a box could erase what others have sent",
    "no_ack": "a box drops a message when it is acknowledged",
}
"""Every setting that is compared, and what depends on it."""


_LOSING = ("storage", "retention", "discard", "max_msgs", "max_msgs_per_subject", "deny_delete", "deny_purge", "no_ack")


def harms_of(stream: StreamConfig) -> list[str]:
    """By which settings a stream of the boxes' messages loses some that were not read, or keeps what is to be erased."""
    wanted = _messages(str(stream.name), StreamSettings())
    found = _differences(f"stream {stream.name}", stream, wanted, WHY.keys() - _LOSING)
    return [f"{one.setting} is {one.found}, not {one.wanted}: {one.why}" for one in found]


def _as_it_is(wanted: StreamSettings, label: str, name: str) -> set[str]:
    """The settings that nobody has named, or that do not matter here."""
    is_stream = label == f"stream {name}"
    named = {
        "max_age": wanted.max_age,
        "num_replicas": wanted.replicas,
        "max_bytes": wanted.room if is_stream else wanted.picture_room,
        "duplicate_window": wanted.window if is_stream else None,  # an object is not sent again under its number
    }
    return {setting for setting, value in named.items() if value is None}


def _differences(label: str, found: StreamConfig, wanted: StreamConfig, kept: set[str]) -> Iterator[Difference]:
    for setting, why in WHY.items():
        if setting in kept:
            continue
        is_, to_be = (_plain(setting, getattr(each, setting)) for each in (found, wanted))
        if is_ != to_be:
            yield Difference(label, setting, is_, to_be, why)


def _plain(setting: str, value: Any) -> str:
    """A value as people read it, the same for all that the server takes as the same."""
    if isinstance(value, list):
        return " ".join(sorted(value))
    if setting.startswith("max_") and (value is None or value <= 0):
        return "unlimited"
    if setting in ("max_age", "duplicate_window"):
        return span_text(value)
    return str(getattr(value, "value", value) or "no") if value is not True else "yes"


async def _found(manager: JetStreamContext, name: str) -> StreamInfo | None:
    """The stream that takes the messages, or else the one of this name."""
    try:
        return await _info(manager, await manager.find_stream_name_by_subject(SIGHTINGS))
    except NotFoundError:
        return await _info(manager, name)


async def _info(manager: JetStreamContext, name: str) -> StreamInfo | None:
    try:
        return await manager.stream_info(name)
    except NotFoundError:
        return None


async def _make(manager: JetStreamContext, label: str, config: StreamConfig) -> None:
    try:
        await manager.add_stream(config)
    except APIError as error:
        fix = f"; {_ROOM}" if error.err_code in _NO_ROOM else ""
        raise Refused(f"the server does not make the {label} ({reason_of(error)}){fix}") from error


async def _change(manager: JetStreamContext, found: StreamConfig, wanted: StreamConfig, kept: set[str]) -> None:
    try:
        await manager.update_stream(
            found.evolve(**{setting: getattr(wanted, setting) for setting in WHY if setting not in kept})
        )
    except APIError as error:
        anew = (
            "keep what it holds with vreid fleet record, remove it, make it anew with vreid fleet setup and give it back with"
            " vreid fleet replay"
        )
        fix = _ROOM if error.err_code in _NO_ROOM else anew
        raise Refused(f"the server does not change {found.name} ({reason_of(error)}); {fix}") from error
