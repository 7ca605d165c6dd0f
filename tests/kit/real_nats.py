"""A real NATS server with JetStream on a loopback port, the stream and the bucket of a centre in it, and a reader of both."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from made_outputs import free_port, until

SERVER = shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
STREAM = "SIGHTINGS"
_LONGEST_S = 300.0  # after which a client that waits for an answer without an end of its own has failed
_T = TypeVar("_T")


@dataclass(frozen=True)
class Stored:
    """A message of the stream: its place there, its subject, the header Nats-Msg-Id and its body."""

    place: int
    subject: str
    number: str
    body: bytes


class NatsServer:
    """nats-server with file storage; what it was given outlives it."""

    def __init__(self, folder: Path, lines: tuple[str, ...] = (), scheme: str = "nats", account: str = "") -> None:
        """`lines` are more of its configuration; `account` is user:password."""
        self.port = free_port()
        self.url = f"{scheme}://{account and account + '@'}127.0.0.1:{self.port}"
        self._file = folder / "nats.conf"
        own = [f"listen: 127.0.0.1:{self.port}", f'jetstream {{ store_dir: "{folder}/jetstream"}}']
        self._file.write_text("\n".join([*own, *lines, ""]), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Begin, with what was stored before."""
        assert SERVER is not None
        self._process = subprocess.Popen(
            [SERVER, "-c", self._file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert until(self._answers), "nats-server did not start"

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; with SIGKILL at once."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def nats_in(folder: Path, *lines: str, **more: Any) -> Iterator[NatsServer]:
    """A server whose files are in `folder`."""
    pytest.importorskip("nats", reason="a fleet needs nats-py: pip install 'vreid[fleet]'")
    if SERVER is None:
        pytest.skip("there is no NATS server: apt-get install nats-server")
    server = NatsServer(folder, lines, **more)
    try:
        yield server
    finally:
        server.stop()


def with_client(url: str, work: Callable[[Any], Awaitable[_T]], **options: Any) -> _T:
    """What `work` gives for a client of its own. Raises TimeoutError after five minutes."""
    import nats

    async def connected() -> _T:
        client = await nats.connect(
            url, connect_timeout=10, max_reconnect_attempts=20, reconnect_time_wait=0.2, **options
        )
        try:
            return await asyncio.wait_for(work(client), _LONGEST_S)
        finally:
            await client.close()

    return asyncio.run(connected())


def make_streams(url: str, window_s: float = 120.0, **options: Any) -> None:
    """The stream and the bucket that a centre makes; repeated numbers are refused for `window_s`."""
    from nats.js.api import StreamConfig

    from vreid.fleet.picture_store import PICTURES
    from vreid.fleet.subjects import STREAM_SUBJECTS

    async def make(client: Any) -> None:
        stream = client.jetstream(timeout=20)
        await stream.add_stream(StreamConfig(name=STREAM, subjects=[*STREAM_SUBJECTS], duplicate_window=window_s))
        await stream.create_object_store(bucket=PICTURES)

    with_client(url, make, **options)


def stored_in(url: str, **options: Any) -> list[Stored]:
    """All that the stream holds, in its order."""

    async def read(client: Any) -> list[Stored]:
        stream = client.jetstream(timeout=20)
        state = (await stream.stream_info(STREAM)).state
        consumer = await stream.subscribe(f"{'v1'}.>", stream=STREAM, ordered_consumer=True)
        found = []
        for _ in range(state.messages):
            message = await consumer.next_msg(timeout=20)
            number = message.headers["Nats-Msg-Id"]
            found.append(Stored(message.metadata.sequence.stream, message.subject, number, message.data))
        return found

    return with_client(url, read, **options)


def pictures_in(url: str, **options: Any) -> dict[str, bytes]:
    """The bucket's pictures by their names. While none is erased: for one that goes meanwhile nats-py's list waits for ever."""
    from vreid.fleet.picture_store import PICTURES

    async def read(client: Any) -> dict[str, bytes]:
        bucket = await client.jetstream(timeout=20).object_store(PICTURES)
        try:
            listed = await bucket.list()
        except Exception as error:  # noqa: BLE001  an empty bucket
            assert type(error).__name__ == "NotFoundError", error
            return {}
        return {each.name: (await bucket.get(each.name)).data for each in listed}

    return with_client(url, read, **options)


def picture_messages(url: str) -> int:
    """How many messages the bucket's stream holds: of a picture its content, and what is said about it."""
    from vreid.fleet.picture_store import STREAM as BUCKET_STREAM

    async def count(client: Any) -> int:
        return (await client.jetstream(timeout=20).stream_info(BUCKET_STREAM)).state.messages

    return with_client(url, count)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl")
    certificate, key = folder / "server.pem", folder / "server.key"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate]
    subprocess.run([program, *words, *names], check=True, capture_output=True)
    return certificate, key


def with_accounts(folder: Path) -> tuple[tuple[str, ...], Path]:
    """Lines of a configuration that lets in only accounts of an operator, and the file of one, made as nsc makes them."""
    nkeys = pytest.importorskip("nkeys", reason="accounts need nkeys: pip install 'vreid[fleet]'")
    of = nkeys.PREFIX_BYTE_ACCOUNT
    kinds = (nkeys.PREFIX_BYTE_OPERATOR, of, nkeys.PREFIX_BYTE_USER, of)
    seeds = [bytes(nkeys.encode_seed(os.urandom(32), kind)) for kind in kinds]
    operator, account, user, system = (nkeys.from_seed(bytearray(seed)) for seed in seeds)
    free = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
    stored = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
    by_operator = _token(operator, operator, {"type": "operator"})
    of_account = _token(operator, account, {"type": "account", "limits": {**free, **stored, "wildcards": True}})
    of_system = _token(operator, system, {"type": "account", "limits": {**free, "wildcards": True}})
    of_user = _token(account, user, {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1})
    file = folder / "box.creds"
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seeds[2].decode()}\n------END USER NKEY SEED------\n"
    )
    own, ruling = account.public_key.decode(), system.public_key.decode()
    known = f"resolver_preload: {{ {own}: {of_account}, {ruling}: {of_system} }}"
    return (f"operator: {by_operator}", "resolver: MEMORY", f"system_account: {ruling}", known), file


def _token(issuer: Any, subject: Any, claims: dict[str, Any]) -> str:
    """A JWT of NATS, version 2: that `subject` has these claims, signed by `issuer`."""
    body = {"jti": os.urandom(8).hex(), "iat": 1_700_000_000, "iss": issuer.public_key.decode(), "name": "made"}
    body |= {"sub": subject.public_key.decode(), "nats": {**claims, "version": 2}}
    parts = [json.dumps(each).encode() for each in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
    text = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return f"{text}.{urlsafe_b64encode(issuer.sign(text.encode())).decode().rstrip('=')}"
