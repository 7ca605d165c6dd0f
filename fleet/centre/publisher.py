"""What boxes are to hear of their sightings, sent to the log from where each box takes it."""

import secrets
from collections.abc import Sequence
from contextlib import suppress

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from vreid.fleet.centre.status import Counts
from vreid.fleet.link import ANSWER_S, CentreAway, Outgoing, Reasons, published, stream_name
from vreid.fleet.messages import SCHEMA, IdentityMessage
from vreid.fleet.subjects import identities_of
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.inbox import Identity, Inbox
from vreid.runtime.gallery.store import Store

_AT_ONCE = 128
_SENT = "identities"  # key of the gallery's settings: the number in the log of the last one that is written down


class Publisher:
    """Publishes for one resolver. An identity is dropped when the log has acknowledged it, and only then."""

    def __init__(self, gallery: Gallery, client: Client, region: str, epoch: int, counts: Counts) -> None:
        self._gallery, self._client = gallery, client
        self._stream = client.jetstream(timeout=ANSWER_S)
        self._region, self._epoch = region, epoch
        self._counts = counts
        self._word = secrets.token_hex(8)  # nobody can use a number that the server then takes for one that came before

    async def send(self) -> bool:
        """One batch, the oldest first; whether there was any. Raises CentreAway where not all was taken, and LeaseLost."""
        with self._gallery.reading() as store:
            waiting = inbox_of(store).identities(_AT_ONCE)
        if not waiting:
            return False
        taken, reason = await published(self._client, self._stream, [self._outgoing(one) for one in waiting])
        done = [(one, number) for one, number in zip(waiting, taken, strict=True) if number is not None]
        if done:
            self._write_down(done, done[-1][1])
            self._counts.identities += len(done)
        if reason is not None:
            raise CentreAway(reason)
        return True

    async def note_last(self) -> None:
        """Before anything is sent: what whoever was killed, or lost the connection, had sent last and could not write down,
        so that it is erased with its sighting. It takes a request or more for each box, while which the lease is to be renewed.
        Raises CentreAway and LeaseLost."""
        with self._gallery.reading() as store:
            inbox = inbox_of(store)
            boxes = {one.name for one in inbox.boxes()} | {one.box for one in inbox.identities(_AT_ONCE)}
            last = int(store.setting(_SENT) or 0)
        async with Reasons():
            name = await stream_name(self._stream)
            end = (await self._stream.stream_info(name)).state.last_seq
        after = last if last <= end else 0  # a log that was made anew, or put back from a backup, counts from less
        for box in sorted(boxes):
            async with Reasons():
                found = await self._sent_to(box, name, after)
            if found:
                self._write_down(found, after)
        self._write_down([], end)

    def _write_down(self, sent: Sequence[tuple[Identity, int]], last: int) -> None:
        """That these were sent, and that all up to a number of the log are written down."""
        with self._gallery.transaction() as store:
            inbox = inbox_of(store)
            inbox.refuse_other_epoch(self._epoch)
            inbox.drop_identities(sent)
            store.set_setting(_SENT, str(last))

    async def _sent_to(self, box: str, stream: str, after: int) -> list[tuple[Identity, int]]:
        """This region's messages to a box behind a number of the log, as if of no identity that waits."""
        found = list[tuple[Identity, int]]()
        with suppress(NotFoundError):
            while True:
                message = await self._stream.get_msg(stream, after + 1, identities_of(box), next=True)
                after = message.seq or after + 1
                with suppress(ValidationError):
                    said = IdentityMessage.model_validate_json(message.data or b"")
                    if said.region == self._region:
                        found.append((Identity(0, box, said.sighting, said.vehicle, said.name), after))
        return found

    def _outgoing(self, one: Identity) -> Outgoing:
        message = IdentityMessage.model_validate(
            {
                "schema": SCHEMA,
                "what": "removed" if one.vehicle is None else "identity",
                "region": self._region,
                "epoch": self._epoch,
                "number": one.id,
                "sighting": one.sighting,
                "vehicle": one.vehicle,
                "name": one.name,
            }
        )
        body = message.model_dump_json(by_alias=True).encode()
        return Outgoing(identities_of(one.box), body, f"{self._word}:{one.id}")


def inbox_of(store: Store) -> Inbox:
    """What a gallery in a database keeps of boxes."""
    found = store.inbox()
    assert found is not None  # settings let no gallery in a file pass
    return found
