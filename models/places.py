"""Places for compactors: where in a network channels may go, and which layers lose something with each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Place:
    """Layers by their names in a ReidNetwork, and what a log calls them: `block`, and the `kinds` of its widths.

    `far` stands between the BN `norm` of the dense convolution `conv` and the activation. An output that goes there takes with it
    a channel of each of `channelwise` (depthwise convolutions and BNs) and an input of `reader` (a convolution, or linear).
    `gate` stands behind the last of `channelwise`, a BN, which would undo any scale of a row: there a channel is multiplied by the
    norm of its row.
    `near`, in some blocks, stands before `conv`: an input that goes takes an output of `before`, a convolution and its BN.
    """

    block: str
    kinds: tuple[str, ...]  # of `before`, if any, and of `conv`
    conv: str
    norm: str
    far: str
    reader: str
    channelwise: tuple[str, ...] = ()
    gate: str = ""
    near: str = ""
    before: tuple[str, str] | None = None


@runtime_checkable
class PlacedBody(Protocol):
    """A body that can be made narrower."""

    def places(self) -> list[Place]:
        """Every place, in order of execution; none leads to another's channels."""

    def options_for(self, widths: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The options of this body with other widths: one entry a place, a number for each of its `kinds`."""
