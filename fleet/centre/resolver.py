"""One region's messages become sightings of the region's vehicles: one transaction a message, in the order of the log."""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from vreid.fleet.centre.log import Logged, Position
from vreid.fleet.centre.publisher import inbox_of
from vreid.fleet.centre.settings import RegionSettings, Space
from vreid.fleet.centre.status import Counts
from vreid.fleet.centre.track import UNSEEN, Unfit, track_of
from vreid.fleet.messages import MovedMessage, RemovalMessage, SightingMessage
from vreid.models.errors import BadInput, VreidError, shown
from vreid.runtime.gallery import Gallery
from vreid.runtime.gallery.inbox import BoxSighting
from vreid.runtime.gallery.maintenance import purge_due, retain
from vreid.runtime.gallery.records import SightingInfo
from vreid.runtime.gallery.store import Store
from vreid.runtime.identify import Identifier
from vreid.runtime.recent_positions import REMEMBERED_S
from vreid.runtime.site_threshold import SiteThreshold

_LOG = logging.getLogger("vreid")
RUN = "centre"  # what the gallery calls this run
_READ = "log"  # key of the gallery's settings: how far the log was read
_REASONS = 10
_SAID = 1000  # boxes of which it is said that messages were put aside
_VEHICLES = 10_000  # of boxes, of which the last vehicle here is remembered
_PAGE = 1000
_KNOWN_S = 30 * 86400.0  # for which a message is known again, at least: a box may send one anew after being cut off
_AHEAD_S = 86400.0  # by which a sighting may be later than the log has it: of one in 2100 nothing that comes after counts as new
_OF_MACHINE = (OSError, MemoryError)  # errors that no message is the cause of
_SAME_S = 60.0  # by which a box's clock may have been set while a sighting went on

Outcome = Literal["new", "known", "unknown", "changed", "removed", "again", "aside", "late"]


class Failed(VreidError):
    """This program failed at the message at `position`, which is to be tried again; what is in memory may not be what is in the
    gallery."""

    def __init__(self, sentence: str, position: Position) -> None:
        super().__init__(sentence)
        self.position = position


class PassedOver(VreidError):
    """A message at which this program fails was passed over; what is in memory may not be what is in the gallery."""


class Resolver:
    """Gives the sightings of boxes their vehicles in a gallery that many may write, but only one of these at a time.

    It is a run's own `Identifier`, of one track at a time, with thresholds by pair of cameras, BOX/CAMERA, and learns as a
    run does. It knows less than a box: a track is one feature of float16, and no box of it in the picture. So tracks of one
    camera are never counted as strangers that were seen at one moment, since the detector may have split one vehicle in two;
    strangers between cameras are, where the topology sets the two apart. Within a camera the manifest's threshold counts
    until people have judged sightings. What a box has given to two of its vehicles stays two here: it has compared them with
    more. What it has given to one may become two. Guards against bad pictures and alarms are the boxes'; who a box left
    unknown is not sent. What comes more than an hour after other sightings of that camera is not held against where vehicles
    were then.

    What is in memory follows the gallery: when a transaction is undone, make another one.
    """

    def __init__(
        self,
        gallery: Gallery,
        region: RegionSettings,
        space: Space,
        epoch: int,
        counts: Counts,
        failed: Position | None = None,
    ) -> None:
        """It counts in `counts`; `failed` is where the one before it failed. Raises LeaseLost, and Refused for a `new_below` above
        the model's threshold and for what the gallery has kept and is damaged."""
        self._gallery, self._epoch, self._failed = gallery, epoch, failed
        gallery.who = f"run:{RUN}"
        self._counts = counts
        self._said: dict[str, set[str]] = {}
        self._heard: dict[str, tuple[int, float]] = {}  # of each box, the last message and when it was logged
        self._last: dict[tuple[str, int], int] = {}  # of a box's vehicle, the one here
        with gallery.transaction() as store:
            self._inbox = inbox_of(store)
            self._inbox.refuse_other_epoch(epoch)
            if region.retention is not None and region.retention != store.retention():
                retain(gallery, region.retention)
            self.read = Position.of(store.setting(_READ))
            self._change = next((change.id for change in store.changes(last=1)), 0)
            rule = SiteThreshold(
                space.match, region.false_match_rate, region.topology, gallery.site_threshold(), space.about.dim
            )
            self._identifier = Identifier(
                gallery, rule, True, run=RUN, new_below=region.new_below, topology=region.topology
            )
            for newest in store.latest_sightings(limit=1):
                self._identifier.recall(newest.at - REMEMBERED_S)

    def take(self, logged: Logged) -> Outcome:
        """What becomes of the next message; it is on the disk when this returns, or nothing is.

        Raises LeaseLost, and Refused where the database cannot be used; the message is then to come again, to another Resolver.
        One at which this program fails, or which the database does not take, raises Failed, after which another Resolver is to try
        it. Where that fails too, it would come for ever: it is passed over, and PassedOver raised, after which another one is to go
        on. For want of memory, or of what the operating system did not do, no message is passed over.
        """
        try:
            outcome = self._taken(logged)
        except VreidError as error:
            if isinstance(error, BadInput):
                raise self._failure(logged, error) from error
            raise
        except Exception as error:
            raise self._failure(logged, error) from error
        setattr(self._counts, outcome, getattr(self._counts, outcome) + 1)
        return outcome

    def _taken(self, logged: Logged) -> Outcome:
        with self._gallery.transaction() as store:
            self._inbox.refuse_other_epoch(self._epoch)
            self._note_read(store, logged.position)
            try:
                if isinstance(message := logged.message, Unfit):
                    raise message
                self._heard[message.box] = message.seq, logged.position.at
                if isinstance(message, SightingMessage):
                    return self._sighting(store, message, logged)
                if isinstance(message, MovedMessage):
                    return self._moved(message, logged)
                return self._removal(store, message, logged)
            except Unfit as unfit:  # which is raised before anything is written
                self._put_aside(logged, str(unfit))
                return "aside"

    def _failure(self, logged: Logged, error: Exception) -> VreidError:
        if logged.position == self._failed and not isinstance(error, _OF_MACHINE):
            return self._pass_over(logged)
        number, why = logged.position.number, f"{type(error).__name__}: {shown(str(error), 200)}"
        return Failed(
            f"this program failed at message {number} of the log, of box {logged.box} ({why})", logged.position
        )

    def _pass_over(self, logged: Logged) -> PassedOver:
        """What was written of it is undone."""
        with self._gallery.transaction() as store:
            self._inbox.refuse_other_epoch(self._epoch)
            self.read = Position.of(store.setting(_READ))
            self._note_read(store, logged.position)
            with suppress(Exception), self._gallery.transaction():  # this may be what fails
                self._note_absent(logged)
        self._counts.aside += 1
        number, box = logged.position.number, logged.box
        _LOG.exception("centre: message %d of the log, of box %s, is passed over; please report this", number, box)
        return PassedOver(
            f"message {number} of the log, of box {box}, was passed over, since this program failed at it twice"
        )

    def _note_read(self, store: Store, position: Position) -> None:
        if position.is_after(self.read):
            self.read = position
            store.set_setting(_READ, str(position))

    def _sighting(self, store: Store, message: SightingMessage, logged: Logged) -> Outcome:
        inbox = self._inbox
        track = track_of(message, self._gallery.about)
        if message.t1 > logged.position.at + _AHEAD_S:
            raise Unfit("its time is more than a day after the log has it; set the clock of the box")
        known = inbox.sighting(message.box, message.sighting)
        seen = None if known is None or known.here is None else store.sighting(known.here)
        if seen is not None and (seen.camera != track.camera or abs(seen.first_time - message.t0) > _SAME_S):
            raise Unfit("one number means two sightings, as when its file is put back while it runs; start it again")
        self._follow_edits(store)
        if not inbox.receive(message.box, message.seq, message.sighting, logged.position.number):
            return "again"
        if known is not None and seen is not None:
            return self._change_of(message, known, seen)
        if known is not None and known.gone:
            inbox.keep_sighting(replace(known, vehicle=message.vehicle))  # with which its messages are to be erased
            return "removed"
        absent = _absent(message)
        retention = self._gallery.retention()
        if retention is not None and message.t1 < time.time() - retention:
            inbox.keep_sighting(absent)
            return "late"
        self._identifier.observe(track, UNSEEN)
        match = self._identifier.identify(
            track, barred=lambda some: self._inbox.kept_apart(message.box, message.vehicle, some)
        )
        if match.vehicle is None:
            inbox.keep_sighting(absent)
            return "unknown"
        self._counts.doubtful += match.maybe is not None
        self._count_conflict(message, match.vehicle)
        inbox.keep_sighting(replace(absent, here=match.sighting))
        return "known" if match.known else "new"

    def _change_of(self, message: SightingMessage, known: BoxSighting, seen: SightingInfo) -> Outcome:
        """The sighting went on, or is another vehicle's at its box now; here it stays whose it is."""
        track = track_of(message, self._gallery.about, seen.first_time)
        if track.seen > seen.at:
            self._gallery.extend_sighting(seen.vehicle, track, seen.score, seen.run)
            self._identifier.went_on(seen.vehicle, track)
        if known.vehicle != message.vehicle:
            self._inbox.keep_sighting(replace(known, vehicle=message.vehicle))
        return "changed"

    def _moved(self, message: MovedMessage, logged: Logged) -> Outcome:
        """As a change of the vehicle, of a sighting of which the box has no more than its number."""
        if not self._inbox.receive(message.box, message.seq, message.sighting, logged.position.number):
            return "again"
        known = self._inbox.sighting(message.box, message.sighting)
        if known is not None:
            self._inbox.keep_sighting(replace(known, vehicle=message.vehicle))
        return "changed"

    def _removal(self, store: Store, message: RemovalMessage, logged: Logged) -> Outcome:
        """A box has removed one of its vehicles for good: whatever model its features are of, it goes here too."""
        self._follow_edits(store)
        if not self._inbox.receive(message.box, message.seq, None, logged.position.number):
            return "again"
        ids = [one.here for one in self._inbox.sightings_of(message.box, message.vehicle) if one.here is not None]
        vehicles = set(store.vehicles_of_sightings(ids).values())
        self._gallery.remove_sightings(ids)
        self._inbox.remove_absent(message.box, message.vehicle)
        self._identifier.follow(vehicles)
        return "removed"

    def _follow_edits(self, store: Store) -> None:
        """What others have changed in the gallery since the last message."""
        while changes := store.changes_after(self._change, _PAGE):
            self._change = changes[-1].id
            vehicles = set[int]()
            for change in changes:
                if change.who != self._gallery.who:
                    vehicles |= {
                        *change.detail.get("vehicles", ()),
                        *([] if change.vehicle is None else [change.vehicle]),
                    }
            self._identifier.follow(vehicles)

    def _count_conflict(self, message: SightingMessage, vehicle: int) -> None:
        key = (message.box, message.vehicle)
        self._counts.conflicts += self._last.pop(key, vehicle) != vehicle
        self._last[key] = vehicle
        if len(self._last) > _VEHICLES:
            del self._last[next(iter(self._last))]

    def _put_aside(self, logged: Logged, reason: str) -> None:
        """It stays in the log until its vehicle is removed, and is not read again; said once of a box and a reason, of which a box
        may have some."""
        box = logged.box
        self._note_absent(logged)
        if box not in self._said and len(self._said) >= _SAID:
            return
        said = self._said.setdefault(box, set())
        if reason not in said and len(said) < _REASONS:
            said.add(reason)
            _LOG.warning("centre: messages of box %s are put aside: %s", box, reason)

    def _note_absent(self, logged: Logged) -> None:
        """What a message is about of which nothing was made, so that it can be erased."""
        about = _absent(logged.message) if isinstance(logged.message, SightingMessage) else logged.about
        if about is not None:
            self._inbox.put_aside(about, logged.position.number)

    def keep(self) -> None:
        """From time to time: what the thresholds have learnt."""
        with self._gallery.transaction():
            self._inbox.refuse_other_epoch(self._epoch)
            self._identifier.keep()

    def keep_heard(self, ahead: Mapping[str, float]) -> None:
        """Write down of which boxes messages came since the last call, and how far their clocks are ahead of the log's."""
        if self._heard:
            with self._gallery.transaction():
                self._inbox.refuse_other_epoch(self._epoch)
                for box, (seq, at) in self._heard.items():
                    self._inbox.heard(box, seq, at, ahead.get(box, 0.0))
            self._heard = {}

    def purge(self, log_age: float) -> None:
        """Every hour or so: what is older than the retention, and what only serves to know messages again that no log still has,
        which keeps them for `log_age` seconds; 0: for ever. It is still to be wiped."""
        with self._gallery.transaction():
            self._inbox.refuse_other_epoch(self._epoch)
            if log_age:
                self._inbox.forget_received(time.time() - max(2 * log_age, _KNOWN_S))
            purge_due(self._gallery)


def _absent(message: SightingMessage) -> BoxSighting:
    """What is known of a sighting of which nothing was made here."""
    return BoxSighting(message.box, message.sighting, message.vehicle, None, message.thumbnail)
