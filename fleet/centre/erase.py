"""What was removed for good is overwritten in the log and in the object store too."""

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from pydantic import ValidationError

from vreid.fleet.centre.objects import Objects
from vreid.fleet.centre.publisher import inbox_of
from vreid.fleet.centre.status import Counts
from vreid.fleet.centre.track import sighting_in
from vreid.fleet.centre.wipe import Wiper
from vreid.fleet.link import ANSWER_S, Reasons, stream_name
from vreid.fleet.messages import IdentityMessage
from vreid.fleet.subjects import identities_of, source_of
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.inbox import Removal

_AT_ONCE = 32


class Eraser:
    """For one resolver. A removal is done when the log and the object store have acknowledged each part, and only then."""

    def __init__(
        self,
        gallery: Gallery,
        client: Client,
        objects: Objects,
        region: str,
        epoch: int,
        counts: Counts,
        wiper: Wiper,
    ) -> None:
        self._gallery, self._objects, self._region, self._epoch = gallery, objects, region, epoch
        self._wiper = wiper
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
        if waiting:
            with self._gallery.transaction() as store:
                inbox = inbox_of(store)
                inbox.refuse_other_epoch(self._epoch)
                inbox.drop_removals(waiting)
            self._counts.erased += len(waiting)
            self._wiper.want()  # a box may have removed it, after whom nobody else does it
        return bool(waiting)

    async def _erase(self, number: int, removal: Removal) -> None:
        """The message of this number if it is about this sighting: the log may have been made anew since."""
        async with Reasons():
            name = await stream_name(self._stream)
            try:
                found = await self._stream.get_msg(name, number)
                if self._is_about(removal, found.subject or "", found.data or b""):
                    await self._stream.delete_msg(name, number)
            except NotFoundError:
                return

    def _is_about(self, removal: Removal, subject: str, body: bytes) -> bool:
        """What its box has said of it, or what this region's centre has said to the box: not that it was removed."""
        if subject == identities_of(removal.box):
            try:
                said = IdentityMessage.model_validate_json(body)
            except ValidationError:
                return False
            return (said.what, said.region, said.sighting) == ("identity", self._region, removal.sighting)
        about = sighting_in(body, subject)
        if about is None or source_of(subject).region != self._region:
            return False
        return (about.box, about.sighting) == (removal.box, removal.sighting)
