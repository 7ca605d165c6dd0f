"""What a gallery has received from boxes, and what they are to hear (docs/fleet.md): a part of a `Store` in a database."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from vreid.models.errors import VreidError


class LeaseLost(VreidError):
    """Another resolver has taken the gallery's lease; this one may not write any more."""


@dataclass(frozen=True)
class Lease:
    """Who may write as the gallery's resolver, in which epoch, and for how many seconds yet by the server's clock."""

    holder: str
    epoch: int
    seconds: float


@dataclass(frozen=True)
class BoxSighting:
    """A sighting of a box: whose it is there, and which sighting of this gallery it has become; None: it was `gone` then, or none
    was made of it so far, and then it is known so that its messages can be erased."""

    box: str
    sighting: int  # its number there, which no other sighting of the box ever has
    vehicle: int  # the number of its vehicle there, likewise
    here: int | None  # its id in this gallery
    picture: str | None = None  # SHA-256 of its picture, which is in the object store until it is here
    gone: bool = False  # it was removed or purged here, and is not to come again


@dataclass(frozen=True)
class Identity:
    """What a box is to hear of one of its sightings; `vehicle` and `name` are None where it was removed and is to go there too."""

    id: int  # rises within a gallery
    box: str
    sighting: int
    vehicle: int | None
    name: str | None


@dataclass(frozen=True)
class Removal:
    """A sighting whose vehicle was removed for good: its messages, by their numbers in the log, and the pictures that no other
    sighting has are to be erased there."""

    id: int
    box: str
    sighting: int
    messages: tuple[int, ...]
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Box:
    """A box as this gallery knows it: its last message, when that was written in the log, and by how many seconds its clock was
    ahead of the log's then."""

    name: str
    seq: int
    heard: float
    ahead: float


class Inbox(Protocol):
    """Every method may raise what those of `Store` may; what writes belongs inside its `transaction`, but for the lease's.

    A sighting of which people remove the vehicle is tied to its box for ever by its number, without what it was: a message that
    comes again is known by (box, sighting, seq), one that comes late by (box, sighting). Triggers write an `Identity` whenever a
    box's sighting gets another vehicle, its vehicle another name, or when it is removed, by whichever program; a purge by age
    writes none. With a sighting that is removed here a `Removal` is written for each one of the same vehicle of its box of which
    there is none here: its box keeps that.
    """

    def take_lease(self, holder: str, seconds: float) -> int | None:
        """The epoch of a lease of so many seconds of the server's clock. It stays for whoever takes again the lease that it took
        last by this object, and rises otherwise: with each holder, and where the gallery was made anew or put back from a backup.
        It is not below that clock, in milliseconds since 1970. None: another holder has it. In a transaction of its own; the same
        holder takes it again before it ends."""

    def lease(self) -> Lease | None: ...  # as it is now; None: nobody has it, or it has run out
    def release_lease(self, epoch: int) -> None: ...  # so that the next need not wait

    def refuse_other_epoch(self, epoch: int) -> None:
        """Inside the transaction of what is written by the holder of this epoch. Raises LeaseLost when there is a newer one."""

    def receive(self, box: str, seq: int, sighting: int | None, at: int) -> bool:
        """Whether this message, number `at` in the log, comes for the first time; `sighting` is what it is about, at the box."""

    def sighting(self, box: str, sighting: int) -> BoxSighting | None: ...  # None: none was received
    def sightings_of(
        self, box: str, vehicle: int
    ) -> list[BoxSighting]: ...  # those of one of the box's own vehicles, still here
    def kept_apart(self, box: str, vehicle: int, among: Collection[int]) -> set[int]:
        """Those of some vehicles of this gallery of which the box has sightings as another of its own vehicles than `vehicle`."""

    def keep_sighting(self, known: BoxSighting) -> None: ...  # new, or in place of what was known of it, but for `gone`

    def put_aside(self, unread: BoxSighting, at: int) -> None:
        """A message, number `at` in the log, of which nothing is made, now or later, but which is to be erased with its sighting:
        `unread` is what can be read of it."""

    def remove_absent(self, box: str, vehicle: int) -> None:
        """A box has removed one of its vehicles: the messages about sightings of which there are none here are to be erased, those
        that come later too."""

    def identities(
        self, limit: int
    ) -> list[Identity]: ...  # the oldest that wait, as they are now, one for each sighting

    def drop_identities(self, sent: Collection[tuple[Identity, int]]) -> None:
        """These were sent, as the messages of these numbers in the log, where they are to be erased with their sightings."""

    def missing_pictures(self, limit: int, after: float) -> list[str]:
        """SHA-256 of pictures that sightings of this gallery lack, of those received after a moment, the newest first."""

    def put_picture(self, sha256: str, jpeg: bytes) -> bool:
        """For every sighting that lacks it, and their vehicles; whether there is any, and it was not only removed ones."""

    def removals(self, limit: int) -> list[Removal]: ...  # what is still to be erased in the log and among the pictures
    def drop_removals(self, done: Collection[Removal]) -> None: ...  # what they name is not named again
    def heard(self, box: str, seq: int, at: float, ahead: float) -> None: ...  # see `Box`
    def boxes(self) -> list[Box]: ...
    def waiting(self) -> Mapping[str, int]: ...  # how many identities, pictures and removals wait, by these words

    def forget_received(self, before: float) -> int:
        """Drop what only serves to know messages that come again, of those received before this moment; how many."""
