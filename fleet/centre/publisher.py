"""What boxes are to hear of their sightings, sent to the log from where each box takes it."""

import secrets

from nats.aio.client import Client

from vreid.fleet.centre.status import Counts
from vreid.fleet.link import ANSWER_S, CentreAway, Outgoing, published
from vreid.fleet.messages import SCHEMA, IdentityMessage
from vreid.fleet.subjects import identities_of
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.inbox import Identity, Inbox
from vreid.runtime.gallery.store import Store

_AT_ONCE = 128


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
            with self._gallery.transaction() as store:
                inbox = inbox_of(store)
                inbox.refuse_other_epoch(self._epoch)
                inbox.drop_identities(done)
            self._counts.identities += len(done)
        if reason is not None:
            raise CentreAway(reason)
        return True

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
