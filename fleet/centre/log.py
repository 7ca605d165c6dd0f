"""The log as one resolver reads it: a region's messages in order, from where the gallery's last transaction has come."""

import asyncio
import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, StreamConfig
from nats.js.errors import NotFoundError

from vreid.fleet.centre.track import Unfit, box_in, message_in, sighting_in
from vreid.fleet.link import ANSWER_S, SENT, CentreAway, Reasons, stream_name
from vreid.fleet.log_file import SAME_S
from vreid.fleet.messages import BoxMessage
from vreid.fleet.streams import harms_of
from vreid.fleet.subjects import subjects_of_region
from vreid.runtime.gallery.inbox import BoxSighting

_LOG = logging.getLogger("vreid")
_AHEAD = 256  # messages that are here and not acknowledged
_AGAIN_S = 60.0  # after which one is delivered again: it is known then
_CLOCK_S = 600.0  # by which clocks of the log's servers may differ, or have been set; what is read again is known
_FORGOTTEN_S = 86400.0  # after which the server drops the consumer of a resolver that ended


@dataclass(frozen=True)
class Position:
    """How far a log was read: when it was made, since a new one counts anew, and of the last message its number and when it was
    written there, in seconds since 1970. In a log that was put back from a backup another message gets this number, later."""

    made: str
    number: int
    at: float

    @classmethod
    def of(cls, text: str | None) -> "Position":
        """What `str` has made of one; for None and for anything else nothing was read: what is read again is known."""
        try:
            made, number, at = (text or "").split(" ")
            return cls(made, int(number), float(at))
        except ValueError:
            return cls("", 0, 0.0)

    def __str__(self) -> str:
        return f"{self.made} {self.number} {self.at!r}"

    def is_after(self, other: "Position") -> bool:
        """Whether all before `other` was read when this was, so that reading goes on from here and not from there."""
        return self.made != other.made or self.number > other.number or self.at > other.at


@dataclass(frozen=True)
class Logged:
    """A message as the log has it, or why it is none for this program; `box` is whose subject it came by. `sent` is when its
    box sent it, by its own clock in seconds since 1970 (None: it does not say); `behind` more of the region come after it. `about`
    is what can be read of one that does not fit."""

    box: str
    message: BoxMessage | Unfit
    position: Position
    sent: float | None
    behind: int
    about: BoxSighting | None = None


class Log:
    """Made by `open_log`."""

    def __init__(
        self, client: Client, stream: StreamConfig, consumer: str, subscription: Subscription, made: str
    ) -> None:
        self.most_age = float(stream.max_age or 0)  # seconds after which the stream drops a message; 0: never
        self.harms = [f"the stream {stream.name}: {harm}" for harm in harms_of(stream)]
        self._client, self._subscription, self._made = client, subscription, made
        self._stream, self._consumer = str(stream.name), consumer

    async def next(self, seconds: float) -> tuple[Logged, Msg] | None:
        """The next message, to be acknowledged when it is kept; None: none came within `seconds`. Raises CentreAway."""
        if not self._client.is_connected:
            raise CentreAway("the connection was lost")
        try:
            async with Reasons():
                message = await _next(self._subscription, seconds)
        except CentreAway:
            if not self._client.is_connected:
                raise CentreAway("the connection was lost") from None
            raise
        if message is None:
            return None
        about = message.metadata
        try:
            content: BoxMessage | Unfit = message_in(message.data, message.subject)
        except Unfit as unfit:
            content = unfit
        logged = Logged(
            box=box_in(message.subject) if isinstance(content, Unfit) else content.box,
            message=content,
            position=Position(self._made, about.sequence.stream, about.timestamp.timestamp()),
            sent=_number((message.headers or {}).get(SENT)),
            behind=about.num_pending,
            about=sighting_in(message.data, message.subject) if isinstance(content, Unfit) else None,
        )
        return logged, message

    async def behind(self) -> int:
        """How many messages are not acknowledged yet. Raises CentreAway, also where the log was deleted or another one reads it."""
        async with Reasons():
            found = await self._client.jetstream(timeout=ANSWER_S).consumer_info(self._stream, self._consumer)
        return _behind(found)


async def open_log(client: Client, region: str, epoch: int, read: Position) -> Log:
    """The messages of a region that come after `read`, for the resolver of this epoch alone: consumers of others are ended.

    Where the log is another one than was read, or was put back from a backup, it is read from its beginning; what is known is
    known by its number. Raises CentreAway.
    """
    async with Reasons(client):
        stream = client.jetstream(timeout=ANSWER_S)
        name = await stream_name(stream)
        info = await stream.stream_info(name)
        made = "" if info.created is None else info.created.isoformat()
        start = await _start(stream, name, read, made, info.state.last_seq)
        if read.number and start["deliver_policy"] is DeliverPolicy.ALL:
            _LOG.warning(
                "centre: the log of region %s is another one than before; it is read from its beginning", region
            )
        prefix = _prefix(region)
        for other in await stream.consumers_info(name):
            if other.name.startswith(prefix):
                with suppress(NotFoundError):
                    await stream.delete_consumer(name, other.name)
        inbox, consumer = client.new_inbox(), f"{prefix}{epoch}"
        subscription = await client.subscribe(inbox)
        await stream.add_consumer(
            name,
            ConsumerConfig(
                durable_name=consumer,
                description=f"the resolver of region {region}",
                **start,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_AGAIN_S,
                max_ack_pending=_AHEAD,
                filter_subject=subjects_of_region(region),
                deliver_subject=inbox,
                inactive_threshold=_FORGOTTEN_S,
            ),
        )
    return Log(client, info.config, consumer, subscription, made)


async def _start(stream: JetStreamContext, name: str, read: Position, made: str, last: int) -> dict[str, Any]:
    """From where on a consumer is to read: behind the message that was read last, if the log has it still."""
    if read.number and made == read.made and read.number <= last:
        try:
            there = await stream.get_msg(name, read.number)
        except NotFoundError:  # it was erased, or is too old; whatever was not read was written later
            since = datetime.fromtimestamp(max(0.0, read.at - _CLOCK_S), timezone.utc)
            return {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": since}
        if there.time is not None and abs(there.time.timestamp() - read.at) < SAME_S:
            return {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": read.number + 1}
    return {"deliver_policy": DeliverPolicy.ALL}


async def waiting_in(client: Client, region: str) -> int | None:
    """How many messages of a region its resolver has not kept yet; None: it has none there. Raises CentreAway."""
    prefix = _prefix(region)
    async with Reasons(client):
        stream = client.jetstream(timeout=ANSWER_S)
        found = [one for one in await stream.consumers_info(await stream_name(stream)) if one.name.startswith(prefix)]
    return _behind(found[-1]) if found else None


def _prefix(region: str) -> str:
    """What the names of a region's consumers begin with."""
    return f"vreid-{hashlib.sha256(region.encode()).hexdigest()[:12]}-"


def _behind(consumer: ConsumerInfo) -> int:
    """How many messages it has not acknowledged."""
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)


async def _next(subscription: Subscription, seconds: float) -> Msg | None:
    with suppress(asyncio.TimeoutError):
        return await subscription.next_msg(timeout=seconds)
    return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < 1e10 else None
