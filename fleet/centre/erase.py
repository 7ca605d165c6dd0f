"""What was removed for good is overwritten in the log and in the object store too."""

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from vreid.fleet.centre.log import stream_name
from vreid.fleet.centre.objects import Objects
from vreid.fleet.centre.publisher import inbox_of
from vreid.fleet.centre.status import Counts
from vreid.fleet.centre.track import Unfit, message_in
from vreid.fleet.link import ANSWER_S, Reasons
from vreid.fleet.messages import SightingMessage
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.inbox import Removal

_AT_ONCE = 32


class Eraser:
    """For one resolver. A removal is done when the log and the object store have acknowledged each part, and only then."""

    def __init__(self, gallery: Gallery, client: Client, objects: Objects, epoch: int, counts: Counts) -> None:
        self._gallery, self._objects, self._epoch = gallery, objects, epoch
        self._stream: JetStreamContext = client.jetstream(timeout=ANSWER_S)
        self._counts = counts

    async def erase(self) -> bool:
        """The oldest that wait; whether there were any. Raises CentreAway and LeaseLost."""
        with self._gallery.reading() as store:
            waiting = inbox_of(store).removals(_AT_ONCE)
        for removal in waiting:
            for number in removal.messages:
                await self._erase(number, removal)
            for picture in removal.pictures:
                await self._objects.erase(picture)
            with self._gallery.transaction() as store:
                inbox = inbox_of(store)
                inbox.refuse_other_epoch(self._epoch)
                inbox.drop_removals([removal.id])
            self._counts.erased += 1
        return bool(waiting)

    async def _erase(self, number: int, removal: Removal) -> None:
        """The message of this number if it is about this sighting: the log may have been made anew since."""
        async with Reasons():
            name = await stream_name(self._stream)
            try:
                found = await self._stream.get_msg(name, number)
                message = message_in(found.data or b"", found.subject or "")
                own = (removal.box, removal.sighting)
                if isinstance(message, SightingMessage) and (message.box, message.sighting) == own:
                    await self._stream.delete_msg(name, number)
            except (NotFoundError, Unfit):
                return
