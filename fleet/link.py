"""A connection to the centre's NATS server: messages to its stream, pictures to its object store, each acknowledged."""

import asyncio
import math
import re
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import PubAck
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError, ServiceUnavailableError

from vreid.fleet import picture_store
from vreid.fleet.messages import BoxMessage, SightingMessage, as_bytes, number_of
from vreid.fleet.subjects import SIGHTINGS, subject_of, token_of
from vreid.models.errors import Refused, VreidError
from vreid.runtime.network_address import network_address, redacted
from vreid.runtime.session import FleetSettings

SENT = "Vreid-Sent"  # header: seconds since 1970, by the clock of who published
ANSWER_S = 5.0  # for an acknowledgement
_ACCOUNT = re.compile(rb"BEGIN NATS USER JWT-*\r?\n\S+\r?\n.*BEGIN USER NKEY SEED-*\r?\n(\S+)\r?\n", re.DOTALL)
_NO_STREAM = "the server has no stream for these messages; vreid fleet setup makes it"


class CentreAway(VreidError):
    """The centre cannot be reached, or does not take what is sent; it is tried again."""


class Outgoing(NamedTuple):
    """What is published: a subject, a body, and the number by which the server knows it again."""

    subject: str
    body: bytes
    number: str


class CheckedClient(Client):
    """nats-py's client, which says nothing to a server without TLS where TLS is wanted, and keeps why an answer does not come."""

    def __init__(self, needs_tls: bool) -> None:
        super().__init__()
        self._needs_tls = needs_tls
        self._cause, self._caused_at = "", -math.inf

    def _connect_command(self) -> bytes:
        """What is sent first, with the password: nats-py takes the server's word for whether it is encrypted."""
        if self._needs_tls and not self._server_info.get("tls_required"):
            raise NatsError(
                "nats: it offers no TLS, and was sent nothing; let it, or write nats:// where nobody listens in"
            )
        return super()._connect_command()

    def heard(self, error: Exception) -> None:
        """Keep what the account may not, and what a stream refuses, which nats-py raises where nobody waits for it."""
        reason = reason_of(error)
        if reason.lower().startswith("permissions violation"):
            reason = f"the account may not do this ({reason}); vreid fleet rights prints what it must be allowed"
        elif isinstance(error, APIError):
            reason = f"the server refuses it: {reason}"
        else:
            return
        self._cause, self._caused_at = reason, time.monotonic()

    @property
    def cause(self) -> str | None:
        """Why an answer does not come, if the server has just said so."""
        return self._cause if time.monotonic() - self._caused_at < 3 * ANSWER_S else None


class CentreLink:
    """Publishes in order; what is not acknowledged is to be sent again."""

    def __init__(self, client: Client, region: str) -> None:
        self.client, self._region = client, region
        self._stream = client.jetstream(timeout=ANSWER_S)

    @property
    def is_open(self) -> bool:
        """Whether the connection was not lost, as far as is known."""
        return self.client.is_connected

    async def publish(self, messages: Sequence[BoxMessage]) -> tuple[list[int], str | None]:
        """The numbers of those that the stream has stored, now or before, and why others were not; None: all were.

        All are written before the first answer is awaited, on one connection, so that they arrive in their order.
        """
        stored, reason = await published(self.client, self._stream, [self._outgoing(message) for message in messages])
        return [message.seq for message, kept in zip(messages, stored, strict=True) if kept], reason

    def _outgoing(self, message: BoxMessage) -> Outgoing:
        camera = message.camera if isinstance(message, SightingMessage) else ""
        return Outgoing(subject_of(self._region, message.box, camera), as_bytes(message), number_of(message))

    async def put_picture(self, jpeg: bytes) -> None:
        """Store a picture under its hash, unless it is there. Raises CentreAway."""
        async with Reasons(self.client):
            await picture_store.put(self._stream, jpeg)


async def published(
    client: Client, stream: JetStreamContext, messages: Sequence[Outgoing]
) -> tuple[list[int | None], str | None]:
    """The number in the stream of each message that is stored there, now or before, and why others were not; None: all were.
    Raises CentreAway."""
    async with Reasons(client):
        futures = [await _sent(stream, message) for message in messages]
    end = time.monotonic() + ANSWER_S
    while client.is_connected and time.monotonic() < end and not all(future.done() for future in futures):
        await asyncio.wait(futures, timeout=0.1)
    stored, reason = list[int | None](), None
    for future in futures:
        failed = future.exception() if future.done() else TimeoutError("there was no acknowledgement")
        future.cancel()
        reason = reason or (None if failed is None else reason_of(failed, client))
        stored.append(future.result().seq if failed is None else None)
    return stored, reason


async def _sent(stream: JetStreamContext, message: Outgoing) -> "asyncio.Future[PubAck]":
    headers = {"Nats-Msg-Id": message.number, SENT: f"{time.time():.3f}"}
    return await stream.publish_async(message.subject, message.body, headers=headers)


async def ended(*tasks: "asyncio.Task[None]") -> None:
    """Cancel them until they have ended: asyncio before 3.12 may lose a cancellation to an answer that comes at the same moment."""
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=1.0)
    await asyncio.gather(*tasks, return_exceptions=True)  # of several that fail one failure is raised by who waited


class Reasons:
    """Turns what nats-py raises inside into CentreAway; with the client it can say what the account may not."""

    def __init__(self, client: Client | None = None) -> None:
        self._client = client

    async def __aenter__(self) -> None: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, NatsError | OSError | asyncio.TimeoutError):
            raise CentreAway(reason_of(error, self._client)) from error


def reason_of(error: BaseException, client: Client | None = None) -> str:
    """An error of nats-py in a few words, without a password; of an answer that does not come to this client, why."""
    if isinstance(error, asyncio.TimeoutError | TimeoutError) and isinstance(client, CheckedClient) and client.cause:
        return client.cause
    if isinstance(error, APIError) and error.description:
        return error.description
    if isinstance(error, picture_store.NoPictureStore):
        return str(error)
    if isinstance(error, ServiceUnavailableError):
        return "the server has no JetStream; add jetstream to its configuration"
    if isinstance(error, NoStreamResponseError | NotFoundError):
        return _NO_STREAM
    text = redacted(str(error)).partition("\n")[0] or type(error).__name__
    return text.removeprefix("nats: ")


@asynccontextmanager
async def connected(settings: FleetSettings) -> AsyncIterator[CentreLink]:
    """A connection that is not made again when it breaks, so that nothing of it arrives after what is sent anew on the next.

    Raises CentreAway.
    """
    inbox = f"_INBOX.{token_of(settings.box)}"  # a box's account may read nothing else's answers
    async with (
        joined(settings.server, f"vreid {settings.box}", settings.credentials, settings.ca, inbox) as client,
        Reasons(client),
    ):
        yield CentreLink(client, settings.region)


async def try_out(settings: FleetSettings) -> None:
    """Connect as the box does, and look for the stream. Raises CentreAway."""
    async with connected(settings) as link:
        await stream_name(link.client.jetstream(timeout=ANSWER_S))


async def stream_name(stream: JetStreamContext) -> str:
    """The stream of the boxes' messages. Raises CentreAway where there is none."""
    try:
        return await stream.find_stream_name_by_subject(SIGHTINGS)
    except NotFoundError:
        raise CentreAway(_NO_STREAM) from None


@asynccontextmanager
async def joined(
    server: str, name: str, credentials: Path | None = None, ca: Path | None = None, inbox: str = "_INBOX"
) -> AsyncIterator[Client]:
    """A client of the server by this name, which does not connect again; `inbox` is what the subjects of its answers begin with.

    Raises CentreAway where the server cannot be reached or does not let it in.
    """

    needs_tls = server.startswith("tls://") or ca is not None
    if needs_tls and not hasattr(Client, "_connect_command"):  # what CheckedClient takes the place of
        raise CentreAway(
            "it is sent nothing, since this nats-py cannot be kept from sending passwords without TLS; install nats-py 2.16"
        )
    client, last = CheckedClient(needs_tls), list[str]()

    async def quiet(error: Exception) -> None:
        last[:] = [reason_of(error)]
        client.heard(error)

    options: dict[str, Any] = {"reconnect_time_wait": 0.1, "connect_timeout": ANSWER_S, "inbox_prefix": inbox}
    try:
        if credentials is not None:
            _refuse_other_account(credentials)
            options["user_credentials"] = str(credentials)
        if needs_tls:
            options["tls"] = _tls_of(ca)
        url, login = _login_of(server)
        connecting = client.connect(
            url, name=name, allow_reconnect=False, max_reconnect_attempts=1, error_cb=quiet, **options, **login
        )
        await asyncio.wait_for(connecting, 2 * ANSWER_S)
    except CentreAway:
        raise
    except (NatsError, OSError, asyncio.TimeoutError, ValueError, Refused) as error:
        reason = last[0] if last else reason_of(error)  # nats-py itself says only that there is no server
        if "authorization violation" in reason.lower():
            raise CentreAway(
                f"it does not let this account in ({reason}); correct the user, password or file"
            ) from error
        raise CentreAway(f"it cannot be reached ({reason})") from error
    try:
        yield client
    finally:
        await client.close()


def _refuse_other_account(file: Path) -> None:
    """Raises CentreAway for a file that is not an account's: nats-py raises whatever it leads to, or reads for ever."""
    import nkeys

    found = _ACCOUNT.search(file.read_bytes())
    try:
        if found is None:
            raise ValueError
        nkeys.from_seed(bytearray(found[1]))
    except Exception as error:  # nkeys too raises whatever it leads to
        raise CentreAway(f"the file {file} is not an account as NATS's tool nsc writes it; correct it") from error


def _tls_of(ca: Path | None) -> ssl.SSLContext:
    """Raises CentreAway for a file that is not what it should be."""
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except OSError as error:
        raise CentreAway(f"the file {ca} of its authority has no certificate in PEM ({reason_of(error)})") from error


def _login_of(server: str) -> tuple[str, dict[str, Any]]:
    """The address without the user's part, and that part as nats-py takes it, which does not decode %XX. Raises Refused."""
    address = network_address(server)
    if address.user is None:
        return server, {}
    user, colon, password = address.user.partition(":")
    login = {"user": unquote(user), "password": unquote(password)} if colon else {"token": unquote(user)}
    return replace(address, user=None).uri, login
