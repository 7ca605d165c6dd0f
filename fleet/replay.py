"""Plays a recorded log into a server's stream, at its own pace or at a multiple of it."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from nats.aio.client import Client
from nats.js.api import PubAck

from vreid.fleet.link import CentreAway, Reasons, reason_of
from vreid.fleet.log_file import LoggedMessage
from vreid.fleet.messages import as_bytes, number_of, read_message
from vreid.fleet.subjects import IDENTITY, is_of_centre, source_of, subject_of
from vreid.models.errors import Refused, shown
from vreid.runtime.camera_names import valid_text

_WINDOW = 256  # messages that are on their way at once
_ANSWER_S = 10.0
_MOST_SUFFIX = 32  # half of a box's name
_COMMAND, _NUMBER = "nats-", "Nats-Msg-Id"  # what NATS's headers begin with; of these only the number is played


@dataclass(frozen=True)
class Renaming:
    """For tests of load: the boxes are others, and so are their messages' numbers; the region is another. Raises Refused for names
    that none has."""

    box_suffix: str = ""
    region: str | None = None

    def __post_init__(self) -> None:
        if self.region is not None and (self.region in ("", IDENTITY) or not valid_text(self.region)):
            raise Refused(f"a region cannot be called '{shown(self.region)}'; choose another name")
        if not valid_text(self.box_suffix) or len(self.box_suffix) > _MOST_SUFFIX:
            raise Refused(
                f"what is added to boxes' names has at most {_MOST_SUFFIX} characters, and no control characters"
            )


@dataclass
class Played:
    """What came of it: messages that the stream took; that it had already, by their numbers, and refused; that were left out,
    since the centre had sent them; the number in the log of the last that was answered; and by how many seconds playing fell
    behind its pace, at most."""

    stored: int = 0
    repeated: int = 0
    left_out: int = 0
    last: int = 0
    behind_s: float = 0.0


async def replay(
    client: Client,
    messages: Iterable[LoggedMessage],
    speed: float = 1.0,
    renaming: Renaming | None = None,
    identities: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[Played], None] = lambda played: None,
) -> Played:
    """Publish them in their order, `speed` times as fast as they were written (0: as fast as the server takes them), under the
    numbers that they had. What the centre sent to boxes is left out but for `identities`: a centre that reads these sends its own.

    Raises CentreAway, with where to go on, when one is not acknowledged, and Refused for a message that cannot be renamed.
    """
    played, stream = Played(), client.jetstream(timeout=_ANSWER_S)
    waiting: list[tuple[int, asyncio.Future[PubAck]]] = []
    began, first = time.monotonic(), None
    try:
        for message in messages:
            if stopped():
                break
            if is_of_centre(message.subject) and not identities:
                played.left_out += 1
                continue
            first = message.time if first is None else first
            if speed > 0:
                ahead = (message.time - first) / speed - (time.monotonic() - began)
                if ahead > 0:
                    await _answered(client, waiting, played)
                    await _rest(ahead, stopped)
                played.behind_s = max(played.behind_s, -ahead)
            sent = message if renaming is None else renamed(message, renaming)
            async with Reasons(client):
                future = await stream.publish_async(sent.subject, sent.body, headers=_played(sent.headers) or None)
            waiting.append((message.seq, future))
            if len(waiting) >= _WINDOW:
                await _answered(client, waiting, played)
                progress(played)
        await _answered(client, waiting, played)
    except CentreAway as away:
        raise CentreAway(
            f"{away}; {played.stored} were stored, go on with --start {played.last + 1}" if played.last else str(away)
        ) from away
    finally:
        for _, future in waiting:
            future.cancel()
    progress(played)
    return played


def renamed(message: LoggedMessage, renaming: Renaming) -> LoggedMessage:
    """The message as another box has sent it, from another region. Raises Refused for one that is not of a box."""
    if is_of_centre(message.subject):
        raise Refused("messages of a centre are not renamed; leave out --identities")
    of = source_of(message.subject)
    body, headers = message.body, message.headers
    if renaming.box_suffix:
        read = read_message(body)
        read = read.model_copy(update={"box": read.box + renaming.box_suffix})
        body, headers = as_bytes(read), {**headers, _NUMBER: number_of(read)}
    subject = subject_of(renaming.region or of.region, of.box + renaming.box_suffix, of.camera)
    return replace(message, subject=subject, body=body, headers=headers)


def _played(headers: Mapping[str, str]) -> dict[str, str]:
    """Without another program's commands to the stream: to take a message in one place only, or to drop what it holds."""
    return {name: text for name, text in headers.items() if name == _NUMBER or not name.lower().startswith(_COMMAND)}


async def _answered(client: Client, waiting: "list[tuple[int, asyncio.Future[PubAck]]]", played: Played) -> None:
    """Count every answer, in the messages' order. Raises CentreAway for the first that is not an acknowledgement."""
    if not waiting:
        return
    await asyncio.wait([future for _, future in waiting], timeout=_ANSWER_S)
    while waiting:
        number, future = waiting[0]
        if not future.done():
            raise CentreAway(reason_of(TimeoutError("there was no acknowledgement"), client))
        if (error := future.exception()) is not None:
            raise CentreAway(reason_of(error))
        if future.result().duplicate:
            played.repeated += 1
        else:
            played.stored += 1
        played.last = number
        waiting.pop(0)


async def _rest(seconds: float, stopped: Callable[[], bool]) -> None:
    """Wait, but not longer than until it is stopped."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not stopped():
        await asyncio.sleep(min(0.2, left))
