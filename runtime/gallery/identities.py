"""What a centre has said of a gallery's own sightings (docs/fleet.md): a part of a `Store` that not every store has."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class CentreIdentity:
    """Which vehicle of a region at the centre a sighting is of."""

    sighting: int
    region: str
    epoch: int  # of the resolver that has sent it, which rises
    vehicle: int
    name: str
    number: int  # rises within an epoch

    @property
    def text(self) -> str:
        """north:12 taxi."""
        return f"{self.region}:{self.vehicle} {self.name}"

    @property
    def summary(self) -> dict[str, Any]:
        """For documents."""
        return {"region": self.region, "vehicle": self.vehicle, "name": self.name}


@dataclass(frozen=True)
class CentreVehicle:
    """A vehicle of this gallery as the centre knows it: the identity of its newest sighting that has one, and how many different
    vehicles of the centre its sightings are."""

    latest: CentreIdentity
    different: int

    @property
    def text(self) -> str:
        """north:12 taxi, or north:12 taxi and 2 others."""
        others = self.different - 1
        return self.latest.text + (f" and {others} other{'' if others == 1 else 's'}" if others else "")

    @property
    def summary(self) -> dict[str, Any]:
        """For documents."""
        return {**self.latest.summary, "different": self.different}


@dataclass(frozen=True)
class IdentitySizes:
    """How many sightings have an identity, how many of those that were written since the outbox was made have none, and when the
    centre was last heard, in seconds since 1970 (None: never)."""

    known: int = 0
    unanswered: int = 0
    heard: float | None = None


class Identities(Protocol):
    """One identity a sighting, which goes with its sighting; it moves nothing: whose a sighting is here is decided here.

    Every method may raise what those of `Store` may; what writes belongs inside its `transaction`.
    """

    def keep(self, identities: Sequence[CentreIdentity], heard: float) -> None:
        """Keep those of another region than what is kept of their sightings, or newer by (epoch, number), of sightings that there
        are. `heard`: now, in seconds since 1970."""

    def of_sightings(self, sightings: Collection[int]) -> dict[int, CentreIdentity]: ...  # by sighting
    def of_vehicles(self, vehicles: Collection[int]) -> dict[int, CentreVehicle]: ...  # by vehicle
    def sizes(self) -> IdentitySizes: ...


def vehicle_of(identities: Sequence[CentreIdentity]) -> CentreVehicle | None:
    """Of a vehicle's sightings by time; None: none of them has one."""
    different = {(one.region, one.vehicle) for one in identities}
    return CentreVehicle(identities[-1], len(different)) if identities else None
