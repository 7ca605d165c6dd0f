"""`vreid gallery doubtful|confirm|reject|calibrate`: what people say of doubtful sightings, and thresholds that rest on it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from vreid.cli import output
from vreid.cli.gallery_reading import OfGallery, moment_text
from vreid.models.errors import refuse_beyond

if TYPE_CHECKING:
    from vreid.runtime.gallery import Gallery
    from vreid.runtime.gallery.doubts import Doubt


@dataclass(frozen=True)
class Doubtful(OfGallery):
    """The sightings that were doubtful, or known only just, and that nobody has confirmed or rejected yet."""

    last: int = 50
    """How many: the newest of those that count for the thresholds, then the newest others; 0: all."""
    pictures: Path | None = None
    """Save their pictures, and those of the vehicles that they might be, in this folder."""


@dataclass(frozen=True)
class Confirm(OfGallery):
    """Say that a sighting is of the vehicle that it was given to, or of another one, which gets it."""

    sighting: tyro.conf.Positional[int]
    """Its id, as 'vreid gallery doubtful' lists it."""
    vehicle: str | None = None
    """Whose it is, if it is another one's: its name, its id, or id=ID."""


@dataclass(frozen=True)
class Reject(OfGallery):
    """Say that a sighting is not of the vehicle that it was given to: it becomes a vehicle of its own."""

    sighting: tyro.conf.Positional[int]
    """Its id, as 'vreid gallery doubtful' lists it."""


@dataclass(frozen=True)
class Calibrate(OfGallery):
    """Let this site's thresholds rest on what was confirmed and rejected too, from the next run on."""

    false_match_rate: float = 0.05
    """Decide whether the cameras' bias is taken off by what is found at this rate."""


def doubtful(args: Doubtful) -> int:
    from vreid.models.files import atomic_folder
    from vreid.runtime.gallery import read_gallery
    from vreid.runtime.gallery.doubts import doubtful as waiting

    refuse_beyond(last=args.last)
    with read_gallery(args.gallery) as gallery:
        found = waiting(gallery, args.last or None)
        ids = {one.vehicle for doubt in found for one in doubt.candidates} | {doubt.vehicle for doubt in found}
        with gallery.reading() as store:
            called = store.names(ids)
        if args.pictures is not None:
            with atomic_folder(args.pictures) as folder:
                _pictures(gallery, found, folder)
    if args.json:
        rows = [{**asdict(doubt), "name": called.get(doubt.vehicle)} for doubt in found]
        output.document({"gallery": str(args.gallery), "doubtful": rows})
        return 0
    table = [_row(doubt, called) for doubt in found]
    columns = ("sighting", "camera", "at", "is", "score", "may be", "score", "counts")
    output.table(f"{len(found)} sightings of {args.gallery} to confirm or reject", columns, table)
    if args.pictures is not None:
        output.result(f"their pictures are in {args.pictures}")
    return 0


def _row(doubt: "Doubt", called: dict[int, str]) -> tuple[Any, ...]:
    own = [one for one in doubt.candidates if one.vehicle == doubt.vehicle]
    others = [one for one in doubt.candidates if one.vehicle != doubt.vehicle]
    camera = doubt.candidates[0].cameras[1] if doubt.candidates else "-"
    return (
        doubt.sighting, camera, moment_text(doubt.at), called.get(doubt.vehicle, doubt.vehicle),
        f"{own[0].score:.3f}" if own else "new", ", ".join(str(called.get(one.vehicle, one.vehicle)) for one in others) or "-",
        ", ".join(f"{one.score:.3f}" for one in others) or "-", "yes" if doubt.counts else "no",
    )  # fmt: skip


def _pictures(gallery: "Gallery", found: "list[Doubt]", folder: Path) -> None:
    """Of each doubt that of the sighting, and the newest other one of each candidate."""
    with gallery.reading() as store:
        for doubt in found:
            for vehicle in {doubt.vehicle, *(one.vehicle for one in doubt.candidates)}:
                pictures = list(store.pictures(vehicle, most=20))
                own = [one.jpeg for one in pictures if one.sighting == doubt.sighting]
                others = [one.jpeg for one in pictures if one.sighting != doubt.sighting]
                row = store.vehicle(vehicle)
                others += [row.thumbnail] if row is not None and row.thumbnail is not None and not own else []
                for jpeg in own[:1]:
                    (folder / f"sighting-{doubt.sighting:06d}.jpg").write_bytes(jpeg)
                for jpeg in others[:1]:
                    (folder / f"sighting-{doubt.sighting:06d}-vehicle-{vehicle:04d}.jpg").write_bytes(jpeg)


def confirm(args: Confirm) -> int:
    from vreid.runtime.gallery import requests
    from vreid.runtime.gallery.edit_socket import edited

    done = edited(args.gallery, requests.Confirm(sighting=args.sighting, vehicle=args.vehicle))
    sentence = f"sighting {args.sighting} is of vehicle {done['vehicle']} '{done['name']}'; 'undo {done['change']}' takes it back"
    return output.outcome(args.json, sentence, done)


def reject(args: Reject) -> int:
    from vreid.runtime.gallery import requests
    from vreid.runtime.gallery.edit_socket import edited

    done = edited(args.gallery, requests.Reject(sighting=args.sighting))
    sentence = f"sighting {args.sighting} is vehicle {done['vehicle']} '{done['name']}' now; 'undo {done['change']}' takes it back"
    return output.outcome(args.json, sentence, done)


def calibrate(args: Calibrate) -> int:
    from vreid.runtime.gallery import requests
    from vreid.runtime.gallery.edit_socket import edited
    from vreid.runtime.site_evidence import BiasGain
    from vreid.runtime.threshold_summary import about_bias

    done = edited(args.gallery, requests.Calibrate(false_match_rate=args.false_match_rate))
    gain = done["bias_gain"]
    sentence = (
        f"this site's thresholds rest on {done['pairs']} judged pairs too, {done['same']} of them the same vehicle;"
        f" 'vreid gallery threshold' shows what changes. {about_bias(gain, BiasGain(**gain).used)}"
    )
    return output.outcome(args.json, sentence, done)
