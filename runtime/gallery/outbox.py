"""What of a gallery waits to be sent to a centre (docs/fleet.md): a part of a `Store` that not every store has."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from vreid.runtime.gallery.records import SightingRow

NEW, CHANGED, MOVED, REMOVED = "sighting", "changed", "moved", "removed"  # what a message is about


@dataclass(frozen=True)
class OutboxMessage:
    """One message that waits: a sighting as it is now; which vehicle one was given to that is not there any more, and then `row` is
    None; or that a vehicle was removed, and then all that is of a sighting is None.

    `seq` rises, was never used before in this gallery, and begins at the microseconds since 1970 of the writing. The numbers are
    what the vehicle and the sighting are called elsewhere: no other gallery gives them, nor a copy of this one something else.
    """

    seq: int
    what: str  # NEW, CHANGED, MOVED or REMOVED
    vehicle: int
    sighting: int | None
    row: SightingRow | None
    vehicle_number: int
    sighting_number: int | None


@dataclass(frozen=True)
class OutboxSizes:
    """How much waits. `bytes` is about what is to be sent; `oldest` is the lowest number of a message or picture, None: nothing
    waits; what was dropped for want of room is counted since the outbox was made."""

    messages: int = 0
    pictures: int = 0
    bytes: int = 0
    oldest: int | None = None
    dropped_messages: int = 0
    dropped_pictures: int = 0


class Outbox(Protocol):
    """References to sightings, written in the transaction of the sighting by whichever program writes it.

    A message holds nothing itself but ids: what is deleted from the gallery is never sent afterwards, only which vehicle it was
    given to last, so that who hears of that vehicle's removal knows that it is meant. Every method may raise what those of `Store`
    may; whatever writes belongs inside its `transaction`.
    """

    def add_removal(self, vehicle: int) -> None:
        """A message that `vehicle`, which is deleted, is to be deleted elsewhere too; for what the audit calls "remove" there is
        one already."""

    def messages(self, limit: int) -> list[OutboxMessage]: ...  # the oldest, in order

    def ids_of(self, numbers: Collection[int]) -> dict[int, int]:
        """The ids of this gallery's sightings by their numbers elsewhere; other numbers are left out."""

    def pictures(self, limit: int) -> list[tuple[int, bytes]]:
        """(number, JPEG) of the oldest whose messages do not wait any more."""

    def drop(self, numbers: Collection[int]) -> None: ...  # messages and pictures that were taken
    def sizes(self) -> OutboxSizes: ...

    def trim(self, room: int) -> tuple[int, int]:
        """Drop the oldest pictures, and when there are none left the oldest messages, until at most `room` bytes wait: how many
        pictures and messages, which are also counted in `sizes`. That a vehicle was removed, or a sighting given to another one, is
        never dropped."""
