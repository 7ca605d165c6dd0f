"""The log as one resolver reads it: a region's messages in order, from where the gallery's last transaction has come."""

import asyncio
import hashlib
import logging
from contextlib import suppress
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError

from vreid.fleet.centre.track import Unfit, box_in, message_in
from vreid.fleet.link import ANSWER_S, SENT, CentreAway, Reasons
from vreid.fleet.messages import RemovalMessage, SightingMessage
from vreid.fleet.subjects import SIGHTINGS, subjects_of_region

_LOG = logging.getLogger("vreid")
_AHEAD = 256  # messages that are here and not acknowledged
_AGAIN_S = 60.0  # after which one is delivered again: it is known then
_FORGOTTEN_S = 86400.0  # after which the server drops the consumer of a resolver that ended


@dataclass(frozen=True)
class Position:
    """How far a log was read: when it was made, since a new one counts anew, and the number of the last message."""

    made: str
    number: int

    @classmethod
    def of(cls, text: str | None) -> "Position":
        """What `str` has made of one; None: nothing was read."""
        made, _, number = (text or "").partition(" ")
        return cls(made, int(number) if number.isdecimal() else 0)

    def __str__(self) -> str:
        return f"{self.made} {self.number}"


@dataclass(frozen=True)
class Logged:
    """A message as the log has it, or why it is none for this program; `box` is whose subject it came by. `at` is when it was
    written there and `sent` when its box sent it, each by its own clock in seconds since 1970 (None: the box does not say);
    `behind` more of the region come after it."""

    box: str
    message: SightingMessage | RemovalMessage | Unfit
    position: Position
    at: float
    sent: float | None
    behind: int


class Log:
    """Made by `open_log`."""

    def __init__(
        self, client: Client, stream: str, consumer: str, subscription: Subscription, made: str, most_age: float
    ) -> None:
        self.most_age = most_age  # seconds after which the stream drops a message; 0: never
        self._client, self._subscription, self._made = client, subscription, made
        self._stream, self._consumer = stream, consumer

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
            content: SightingMessage | RemovalMessage | Unfit = message_in(message.data, message.subject)
        except Unfit as unfit:
            content = unfit
        logged = Logged(
            box=box_in(message.subject) if isinstance(content, Unfit) else content.box,
            message=content,
            position=Position(self._made, about.sequence.stream),
            at=about.timestamp.timestamp(),
            sent=_number((message.headers or {}).get(SENT)),
            behind=about.num_pending,
        )
        return logged, message

    async def behind(self) -> int:
        """How many messages are not acknowledged yet. Raises CentreAway, also where the log was deleted or another one reads it."""
        async with Reasons():
            found = await self._client.jetstream(timeout=ANSWER_S).consumer_info(self._stream, self._consumer)
        return _behind(found)


async def open_log(client: Client, region: str, epoch: int, read: Position) -> Log:
    """The messages of a region that come after `read`, for the resolver of this epoch alone: consumers of others are ended.

    Where the log is another one than was read, it is read from its beginning; what is known is known by its number.
    Raises CentreAway.
    """
    async with Reasons(client):
        stream = client.jetstream(timeout=ANSWER_S)
        name = await stream_name(stream)
        info = await stream.stream_info(name)
        made = "" if info.created is None else info.created.isoformat()
        start = read.number + 1 if made == read.made and read.number <= info.state.last_seq else 1
        if start == 1 and read.number:
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
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=start,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_AGAIN_S,
                max_ack_pending=_AHEAD,
                filter_subject=subjects_of_region(region),
                deliver_subject=inbox,
                inactive_threshold=_FORGOTTEN_S,
            ),
        )
    return Log(client, name, consumer, subscription, made, float(info.config.max_age or 0))


async def stream_name(stream: JetStreamContext) -> str:
    """The stream of the boxes' messages. Raises CentreAway where there is none."""
    try:
        return await stream.find_stream_name_by_subject(SIGHTINGS)
    except NotFoundError:
        raise CentreAway(f"the server has no stream for {SIGHTINGS} (docs/fleet.md)") from None


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
