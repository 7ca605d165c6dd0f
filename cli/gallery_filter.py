"""The flags by which `vreid gallery` verbs choose vehicles."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from vreid.runtime.gallery.records import Filter

Many = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class Choice:
    """Which vehicles: of several of one flag any, of several flags all, and one sighting must fit all of them."""

    camera: Many = ()
    """Seen by this camera; may be given again."""
    since: str | None = None
    """Seen at or after this time: 2026-11-22T08:15, or 2h for two hours ago."""
    until: str | None = None
    """Seen before this time."""
    kind: Many = ()
    """Of this kind: car, truck, bus, motorcycle, vehicle; may be given again."""
    plate: Many = ()
    """With a plate like this, * and ? standing for anything; may be given again."""
    name: Many = ()
    """Called like this, * and ? standing for anything, in any case; may be given again."""


def filter_of(choice: Choice) -> "Filter":
    """What the flags say. Raises Refused for a time that is none."""
    from vreid.runtime.gallery.records import Filter
    from vreid.runtime.gallery.times import moment_of

    since, until = (None if text is None else moment_of(text) for text in (choice.since, choice.until))
    return Filter(
        cameras=choice.camera, kinds=choice.kind, names=choice.name, plates=choice.plate, since=since, until=until
    )
