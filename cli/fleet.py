"""`vreid fleet VERB`: what of a box's sightings waits for its centre, sent without a run, listed; and the form of messages."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Union

from tyro.conf import Positional, subcommand

from vreid.cli import output
from vreid.cli.fleet_server import Record, Replay, Rights, Setup, record, replay, rights, setup
from vreid.cli.gallery_place import GalleryFlag
from vreid.models.errors import GalleryLocked, Refused
from vreid.runtime.gallery_place import GalleryPlace


@dataclass(frozen=True)
class Send:
    """Send what waits, once, without a run: after a run over files, or before a box is taken down."""

    file: Positional[Path]
    """The site's file, with [fleet]."""
    gallery: GalleryFlag | None = None
    """Another gallery than the site's."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Show:
    """Say how much waits, and list the oldest messages."""

    file: Positional[Path | None] = None
    """The site's file; or give --gallery."""
    gallery: GalleryFlag | None = None
    """The gallery's file, or the address of its database."""
    last: int = 20
    """How many messages are listed."""
    json: bool = False
    """Print one JSON document on stdout."""


@dataclass(frozen=True)
class Schema:
    """Print the JSON schema of messages, for whoever reads them."""

    identities: bool = False
    """Of the messages of a centre to its boxes."""


def send(args: Send) -> int:
    from vreid.fleet.link import CentreAway
    from vreid.fleet.sender import Sender
    from vreid.runtime.gallery import edit_gallery
    from vreid.runtime.network_address import shown_address
    from vreid.runtime.site.read import read_site

    site = read_site(args.file, os.environ)
    if site.fleet is None:
        raise Refused(f"{args.file} names no centre; add [fleet] with box, region and server (docs/fleet.md)")
    path = args.gallery or site.gallery
    assert path is not None  # [fleet] needs one
    with _written_by_a_run(path), edit_gallery(path) as gallery:
        sender = Sender(site.fleet, gallery)
        try:
            done = sender.send_all()
        except CentreAway as away:
            raise Refused(
                f"not all was sent to {shown_address(site.fleet.server)}: {away}; what was not stays, run it again"
            ) from away
    words = f"{done.sent} messages and {done.sent_pictures} pictures were sent; nothing waits"
    if done.received:
        words += f"; {done.received} answers of the centre were received"
    counts = {"messages": done.sent, "pictures": done.sent_pictures, "received": done.received}
    return output.outcome(args.json, words, counts)


@contextmanager
def _written_by_a_run(path: GalleryPlace) -> Iterator[None]:
    """Raises GalleryLocked in words that fit whoever wants to send."""
    try:
        yield
    except GalleryLocked as locked:
        raise GalleryLocked(f"{locked}: a run with [fleet] sends what waits by itself") from locked


def show(args: Show) -> int:
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.site.read import read_site

    if (args.file is None) == (args.gallery is None):
        raise Refused("give one of the two: a site's file, or --gallery")
    path = args.gallery if args.file is None else read_site(args.file, os.environ).gallery
    if path is None:
        raise Refused(f"{args.file} names no gallery; nothing waits")
    with read_gallery(path) as gallery, gallery.reading() as store:
        outbox = store.outbox()
        if outbox is None:
            raise Refused(f"the gallery {path} has no outbox; the first vreid run of a site with [fleet] makes it")
        sizes, waiting, known = outbox.sizes(), outbox.messages(max(0, args.last)), store.identities()
        answers = None if known is None else known.sizes()
    rows: list[tuple[Any, ...]] = [
        (one.seq, one.what, one.vehicle, one.row.camera if one.row else None, one.row.seen if one.row else None)
        for one in waiting
    ]
    if args.json:
        keys = ("seq", "what", "vehicle", "camera", "seen")
        listed = [dict(zip(keys, row, strict=True)) for row in rows]
        output.document({**asdict(sizes), "answers": None if answers is None else asdict(answers), "waiting": listed})
        return 0
    if rows:
        columns = ("number", "about", "vehicle", "camera", "seen")
        shown = [(*row[:3], row[3] or "", "" if row[4] is None else _moment(row[4])) for row in rows]
        output.table("the oldest that wait", columns, shown)
    since = "" if sizes.oldest is None else f", the oldest since {_moment(sizes.oldest / 1e6)}"
    output.result(f"{sizes.messages} messages and {sizes.pictures} pictures wait, {sizes.bytes / 1e6:.1f} MB{since}")
    if sizes.dropped_messages or sizes.dropped_pictures:
        output.result(
            f"{sizes.dropped_messages} messages and {sizes.dropped_pictures} pictures were dropped for want of room"
        )
    if answers is not None and answers.heard is not None:
        heard = f"the centre was last heard {_moment(answers.heard)}"
        output.result(
            f"{answers.known} sightings have an identity of the centre, {answers.unanswered} none yet; {heard}"
        )
    return 0


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def schema(args: Schema) -> int:
    from vreid.fleet.messages import MESSAGE, IdentityMessage

    output.document(IdentityMessage.model_json_schema() if args.identities else MESSAGE.json_schema())
    return 0


_VERBS: dict[str, tuple[type, Any]] = {
    "send": (Send, send),
    "show": (Show, show),
    "schema": (Schema, schema),
    "setup": (Setup, setup),
    "record": (Record, record),
    "replay": (Replay, replay),
    "rights": (Rights, rights),
}
Args: Any = Union[tuple(Annotated[flags, subcommand(verb)] for verb, (flags, _) in _VERBS.items())]  # noqa: UP007


def main(args: object) -> int:
    """Carry one verb out; exit code 0."""
    return int(dict(_VERBS.values())[type(args)](args))
