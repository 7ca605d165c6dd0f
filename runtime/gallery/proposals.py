"""Which vehicles of a gallery may be vehicles of other regions' galleries (docs/fleet.md): a part of a `Store` in a database."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

Answer: TypeAlias = Literal["same", "different"]
State: TypeAlias = Literal["open", "same", "different"]


@dataclass(frozen=True)
class Proposal:
    """That a vehicle of this gallery and one of another region's look the same: a cosine, and when that was written."""

    id: int
    vehicle: int
    region: str
    other: int  # the id of the vehicle there
    score: float
    at: float  # seconds since 1970, by the server's clock
    state: State = "open"
    who: str | None = None  # has answered last, and when
    answered: float | None = None


class Proposals(Protocol):
    """Every method may raise what those of `Store` may; what writes belongs inside its `transaction`.

    A pair is there once, in whatever state. It goes with its vehicle here; whoever proposes looks whether the one there is still.
    """

    def propose(self, vehicle: int, region: str, other: int, score: float) -> bool:
        """Whether it is new: the pair was not there, and the vehicle still is."""

    def withdraw(self, vehicle: int, region: str, other: int) -> bool: ...  # if it is open; whether it was
    def drop(self, ids: Collection[int]) -> None: ...  # in whatever state
    def pairs(self, state: State | None = None, region: str | None = None) -> list[Proposal]:
        """Those in a state, or in any, with one other region, or any; by rising id."""

    def count_open(self) -> int: ...

    def answer(self, proposal: int, answer: Answer, who: str) -> Proposal | None:
        """As it is then; an answer may be replaced. None: there is no such proposal."""
