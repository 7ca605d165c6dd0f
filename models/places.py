"""Places for compactors: where in a network channels may go, and which layers lose something with each of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from vreid.models.errors import Refused, shown

Inner = tuple[tuple[tuple[int, ...], ...], ...]  # widths, stage by stage, block by block


@dataclass(frozen=True)
class Place:
    """Layers by their names in a ReidNetwork. A log calls the place `name` and its widths `kinds`.

    `far` stands between the BN `norm` of the dense convolution `conv` and the activation. With an output channel of `conv` go
    a channel of each of `channelwise` (depthwise convolutions and BNs) and an input of `reader` (a convolution or linear layer).
    `gate` stands after the last of `channelwise`, a BN, which undoes any scale of a row: there a channel is multiplied by the norm
    of its row. `near`, at some places, stands before `conv`: with an input of `conv` goes an output of `before`, a convolution and
    its BN.
    """

    name: str
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
        """Every place, in order of execution; no channel belongs to two of them."""

    def options_for(self, widths: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The options of this body with other widths: one entry a place, a number for each of its `kinds`."""


def refuse_options(name: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises Refused for an option that the body `name` does not have, and for a last_stride other than 1 and 2."""
    if unknown := set(options) - set(known):
        raise Refused(f"{name} has no option {shown(repr(sorted(unknown)[0]))}; it has {', '.join(known)}")
    if (last_stride := options.get("last_stride", 1)) not in (1, 2):
        raise Refused(f"last_stride is 1 or 2, not {shown(repr(last_stride))}")


def inner_widths(name: str, option: Sequence[Sequence[Sequence[int]]], inner: Inner, each: str) -> Inner:
    """The option `inner` of the body `name`, for blocks like those of `inner`; a refusal says what is in `each`. Raises Refused."""
    given = tuple(tuple(tuple(block) for block in stage) for stage in option)
    if [[len(block) for block in stage] for stage in given] != [[len(block) for block in stage] for stage in inner]:
        raise Refused(f"the inner widths do not fit {name}: one list per stage, one per block, {each}")
    return given


def refuse_widths(name: str, outer: Sequence[int], inner: Inner) -> None:
    """Raises Refused for a width of the body `name`, within its blocks or between them, that is not a whole number from 1."""
    widths = (*outer, *(width for stage in inner for block in stage for width in block))
    if wrong := [width for width in widths if not isinstance(width, int) or width < 1]:
        raise Refused(f"a width of {name} is a whole number from 1, not {wrong[0]!r}")
