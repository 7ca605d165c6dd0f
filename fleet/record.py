"""Records a stream's messages in a file, and goes on where the file ends."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo
from nats.js.errors import NotFoundError

from vreid.fleet.link import CentreAway, Reasons, stream_name
from vreid.fleet.log_file import SAME_S, LoggedMessage, LogHead, LogWriter
from vreid.models.errors import Refused

_BATCH = 500
_WAIT_S = 0.5  # for the next message where there may be one
_GONE_S = 300.0  # the server drops the consumer of a recorder that is gone


@dataclass(frozen=True)
class Span:
    """Which messages: from a number or a moment (seconds since 1970) on, up to one and with it; None: the first, the last."""

    first: int | None = None
    since: float | None = None
    last: int | None = None
    until: float | None = None

    def has(self, message: LoggedMessage) -> bool:
        """Whether the message is of it; a server gives none from before a moment, but earlier numbers than it does not have yet."""
        return message.seq >= (self.first or 0) and not self.is_behind(message)

    def is_behind(self, message: LoggedMessage) -> bool:
        """Whether the span ends before this message."""
        return (self.last is not None and message.seq > self.last) or (
            self.until is not None and message.time > self.until
        )


async def record(
    client: Client,
    path: Path,
    span: Span,
    follow: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> int:
    """How many messages were written: those of the span that the stream has now, and with `follow` those that come until it ends or
    `stopped`. A file that is there is gone on with. `progress` hears how many are written and how many there are.

    Raises Refused for a file of another stream, CentreAway for a server without the stream and where the connection is lost.
    """
    async with Reasons(client):
        manager = client.jetstream(timeout=10.0)
        info = await manager.stream_info(await stream_name(manager))
        name, last = str(info.config.name), info.state.last_seq
        with LogWriter(path, LogHead(name, f"{info.created:%Y-%m-%dT%H:%M:%S.%fZ}")) as file:
            await _refuse_other(manager, path, info, file.last)
            config = _consumer(span, None if file.last is None else file.last[0])
            if not follow and (config.opt_start_seq or 0) > last:
                return 0
            consumer = await manager.pull_subscribe("", stream=name, config=config)
            read, written, pending = 0, 0, (await consumer.consumer_info()).num_pending or 0
            while (pending or follow) and not stopped():
                try:
                    fetched = await consumer.fetch(_BATCH, timeout=_WAIT_S)
                except (NatsTimeout, asyncio.TimeoutError):
                    fetched = []
                if not client.is_connected or (
                    fetched and fetched[-1].metadata.sequence.consumer != read + len(fetched)
                ):
                    raise CentreAway("the connection was lost; run it again to go on")
                if not fetched and not follow:
                    break
                read += len(fetched)
                messages = [_logged(each) for each in fetched]
                wanted = [each for each in messages if span.has(each) and (follow or each.seq <= last)]
                file.write(wanted)
                written += len(wanted)
                progress(written, max(written, pending))
                if messages and (span.is_behind(messages[-1]) or (not follow and messages[-1].seq >= last)):
                    break
            return written


async def _refuse_other(
    manager: JetStreamContext, path: Path, info: StreamInfo, recorded: tuple[int, float] | None
) -> None:
    """Raises Refused where the message that was recorded last is another one in the stream, or not there yet: it was put back
    from a backup since. One that was erased may be any."""
    if recorded is None:
        return
    number, time = recorded
    same = number <= info.state.last_seq
    if same:
        with suppress(NotFoundError):
            there = await manager.get_msg(str(info.config.name), number)
            same = there.time is None or abs(there.time.timestamp() - time) < SAME_S
    if not same:
        raise Refused(
            f"{path} has message {number} of another time than the stream {info.config.name}, which was put back from a backup"
            " since; name another file"
        )


def _consumer(span: Span, recorded: int | None) -> ConsumerConfig:
    """Reads without changing anything: what is read is not acknowledged."""
    common = ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=_GONE_S, mem_storage=True, num_replicas=1)
    first = max(span.first or 0, 0 if recorded is None else recorded + 1)
    if first:
        return common.evolve(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first)
    if span.since is not None:
        since = datetime.fromtimestamp(span.since, timezone.utc)
        return common.evolve(deliver_policy=DeliverPolicy.BY_START_TIME, opt_start_time=since)
    return common


def _logged(message: Msg) -> LoggedMessage:
    about = message.metadata
    return LoggedMessage(
        about.sequence.stream, about.timestamp.timestamp(), message.subject, message.data, dict(message.headers or {})
    )
