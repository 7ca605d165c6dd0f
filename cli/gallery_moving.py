"""`vreid gallery export|import`: vehicles from one gallery to another of the same model."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from vreid.cli.gallery_editing import said
from vreid.cli.gallery_filter import Choice, filter_of
from vreid.models.files import refuse_same

if TYPE_CHECKING:
    from vreid.runtime.gallery.transfer import Moved


@dataclass(frozen=True)
class Export:
    """Write vehicles to one portable file, gzipped when its name ends in .gz."""

    file: tyro.conf.Positional[Path]
    """The file to make."""
    gallery: Path
    """The gallery's file."""
    only: Choice = field(default_factory=Choice)
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Import:
    """Add the vehicles of an export, all or none, under new ids."""

    file: tyro.conf.Positional[Path]
    """What 'vreid gallery export' wrote."""
    gallery: Path
    """The gallery's file; made when there is none."""
    again: bool = False
    """Although it was imported already."""
    json: bool = False
    """Print one JSON document."""


def export(args: Export) -> int:
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.gallery.index.table import files_of
    from vreid.runtime.gallery.transfer import exported

    only = filter_of(args.only)
    refuse_same(args.file, *files_of(args.gallery))
    with read_gallery(args.gallery) as gallery:
        done = exported(gallery, args.file, only)
    return _moved(args.json, done, f"are in {args.file}", args.file)


def import_(args: Import) -> int:
    from vreid.runtime.gallery import edit_gallery, open_gallery
    from vreid.runtime.gallery.temporary import new_gallery
    from vreid.runtime.gallery.transfer import about_export, imported

    if args.gallery.exists():
        with edit_gallery(args.gallery) as gallery:
            done = imported(gallery, args.file, args.again)
    else:
        about = asdict(about_export(args.file))
        with new_gallery(args.gallery) as temporary, open_gallery(temporary, write=True, **about) as gallery:
            done = imported(gallery, args.file, args.again)
    return _moved(args.json, done, f"are added to {args.gallery}", args.file)


def _moved(json: bool, done: "Moved", what: str, file: Path) -> int:
    sentence = f"{done.vehicles} vehicles with {done.sightings} sightings {what}"
    if done.renamed:
        theirs, ours = done.renamed[0]
        sentence += f"; {len(done.renamed)} names were taken, and '{theirs}' is '{ours}' now"
    return said(json, sentence, {"file": str(file), **asdict(done)})
