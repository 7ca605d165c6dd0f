"""`vreid centre search|reconcile|proposals|answer`: all regions at once, and which of their vehicles are the same."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from vreid.cli import output
from vreid.cli.gallery_reading import moment_text
from vreid.models.errors import Refused, refuse_beyond, refuse_threads

if TYPE_CHECKING:
    from vreid.fleet.centre.across import Galleries, Pair, Place
    from vreid.fleet.centre.settings import CentreSettings
    from vreid.runtime.records import Floats


@dataclass(frozen=True)
class _OfCentre:
    file: tyro.conf.Positional[Path]
    """The centre's file, such as centre.toml."""


@dataclass(frozen=True)
class Search(_OfCentre):
    """Which vehicles of all regions look like one vehicle, or like one picture."""

    vehicle: tyro.conf.Positional[str | None] = None
    """REGION:ID, REGION:NAME, or a name that one region has."""
    image: Path | None = None
    """A picture of one vehicle, in place of a vehicle."""
    k: int = 5
    """How many vehicles."""
    threads: int = 1
    """CPU threads of the engine, for a picture."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Reconcile(_OfCentre):
    """Compare who was seen since the last time with the vehicles of other regions, once, and propose who may be the same."""

    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Proposals(_OfCentre):
    """List which vehicles of two regions may be the same, and what people have said of that."""

    open: bool = False
    """Only those that nobody has answered."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Answer(_OfCentre):
    """Say of a proposal whether the two are the same; neither gallery's vehicles change, and the pair is not proposed again."""

    proposal: tyro.conf.Positional[str]
    """Its id in the list, such as north/3."""
    answer: tyro.conf.Positional[Literal["same", "different"]]
    """What is true; a later answer replaces it."""
    json: bool = False
    """Print one JSON document."""


def search(args: Search) -> int:
    from vreid.fleet.centre import across
    from vreid.fleet.centre.settings import read_centre

    if (args.vehicle is None) == (args.image is None):
        raise Refused("name what to search for: a vehicle such as north:12, or --image with a picture")
    refuse_threads(args.threads)
    refuse_beyond(k=args.k)
    if args.k < 1:
        raise Refused(f"--k must be at least 1, not {args.k}")
    settings = read_centre(args.file, os.environ)
    with across.opened(settings) as galleries:
        without: frozenset[Place] = frozenset()
        if args.vehicle is None:
            title, features = str(args.image), _feature_of(settings, args)
        else:
            place = across.found(galleries, args.vehicle)
            without = across.same_groups(galleries).get(place, frozenset({place}))
            title, features = joined(sorted(without)), _features_of(galleries, without)
        found = across.search(settings, galleries, features, args.k, without)
    hits = [
        {
            "region": hit.place.region, "vehicle": hit.place.vehicle, "name": hit.name, "score": hit.score, "known": hit.known,
            "same": [*map(str, hit.same)],
        }
        for hit in found.hits
    ]  # fmt: skip
    if args.json:
        counted = {"compared": found.compared, "threshold": found.threshold}
        output.document({"of": title, **counted, "matches": hits})
        return 0
    rows = [(joined(hit.same or (hit.place,)), hit.name, f"{hit.score:.3f}", hit.known) for hit in found.hits]
    title = f"{title}, among {found.compared} vehicles; known from {found.threshold:.3f} on"
    output.table(title, ("vehicle", "name", "score", "known"), rows)
    return 0


def reconcile(args: Reconcile) -> int:
    from vreid.fleet.centre.reconciler import reconcile as passed
    from vreid.fleet.centre.settings import read_centre

    settings = read_centre(args.file, os.environ)
    if len(settings.regions) < 2:
        raise Refused(f"{args.file} has one region; two or more can be compared")
    done = passed(settings)
    if args.json:
        output.document({"pairs": [asdict(one) for one in done]})
    else:
        rows = [(" and ".join(one.regions), one.new, one.gone) for one in done if one.fault is None]
        output.table("regions compared", ("regions", "new proposals", "of removed vehicles, dropped"), rows)
        for one in done:
            if one.fault is not None:
                output.note(f"{' and '.join(one.regions)} could not be compared: {one.fault}")
    return int(any(one.fault is not None for one in done))


def proposals(args: Proposals) -> int:
    from vreid.fleet.centre import across
    from vreid.fleet.centre.settings import read_centre

    with across.opened(read_centre(args.file, os.environ)) as galleries:
        found = [_row(galleries, pair) for pair in across.pairs(galleries, "open" if args.open else None)]
    if args.json:
        output.document({"proposals": found})
        return 0
    if not found:
        output.result("there are no proposals that nobody has answered" if args.open else "there are no proposals")
        return 0
    rows = [
        (one["id"], f"{one['score']:.3f}", *(_side(side) for side in one["vehicles"]), _state(one)) for one in found
    ]
    columns = ("proposal", "score", "vehicle, last seen", "other vehicle, last seen", "state")
    output.table("who may be the same in two regions", columns, rows)
    return 0


def answer(args: Answer) -> int:
    from vreid.fleet.centre import across
    from vreid.fleet.centre.settings import read_centre

    with across.opened(read_centre(args.file, os.environ), write=True) as galleries:
        one, other = across.answered(galleries, args.proposal, args.answer)
    words = f"{one} {'=' if args.answer == 'same' else 'is not'} {other}"
    fields = {"proposal": args.proposal, "answer": args.answer, "vehicles": [str(one), str(other)]}
    return output.outcome(args.json, words, fields)


def joined(places: "tuple[Place, ...] | list[Place]") -> str:
    """north:12 = south:7."""
    return " = ".join(map(str, places))


def _feature_of(settings: "CentreSettings", args: Search) -> "Floats":
    """(1, D) of the picture."""
    from vreid.models.picture import read_picture
    from vreid.runtime.embedder import open_embedder

    assert args.image is not None
    features: Floats = open_embedder(settings.model, args.threads).embed([read_picture(args.image)])
    return features


def _features_of(galleries: "Galleries", places: "frozenset[Place]") -> "Floats":
    import numpy as np

    from vreid.fleet.centre.across import features_of

    return np.concatenate([features_of(galleries[place.region], place.vehicle) for place in sorted(places)])


def _row(galleries: "Galleries", pair: "Pair") -> dict[str, Any]:
    from vreid.fleet.centre.across import last_seen

    sides = []
    for place, name in zip((pair.one, pair.other), pair.names, strict=True):
        seen = last_seen(galleries, place)
        sides.append(
            {
                "region": place.region, "vehicle": place.vehicle, "name": name, "camera": None if seen is None else seen.camera,
                "seen": None if seen is None else seen.at,
            }
        )  # fmt: skip
    kept = pair.proposal
    return {
        "id": pair.id, "score": kept.score, "at": kept.at, "state": kept.state, "who": kept.who, "answered": kept.answered,
        "vehicles": sides,
    }  # fmt: skip


def _side(side: dict[str, Any]) -> str:
    seen = "never seen" if side["seen"] is None else f"{side['camera']} {moment_text(side['seen'])}"
    return f"{side['region']}:{side['vehicle']} {side['name']}, {seen}"


def _state(one: dict[str, Any]) -> str:
    return "open" if one["who"] is None else f"{one['state']} ({one['who']}, {moment_text(one['answered'])})"
