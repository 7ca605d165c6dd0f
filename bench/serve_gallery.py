"""Writes a large made gallery for measurements of pages and of the server: random unit features, rendered pictures, 8 cameras.

    python bench/serve_gallery.py OUT.db --vehicles 10000 --sightings 1000000 --seed 0
    python bench/serve_gallery.py OUT.db --measure

The second line prints how long a page of each list takes in a gallery that was written so. The features are random directions
of the length of the model, which are further apart than those of vehicles, so that searches in it find nobody.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.models.manifest import read_manifest
from vreid.models.picture import thumbnail_of
from vreid.models.zoo import manifest_path
from vreid.runtime.gallery import Gallery, open_gallery, read_gallery
from vreid.runtime.gallery.records import Filter, Part, Place, Prototype, SightingRow, VehicleRow
from vreid.runtime.records import Floats
from vreid.synth.crops import training_crops

CAMERAS = ("bridge", "east", "gate", "north", "ramp", "south", "west", "yard")
ZONES = ((), (), (), ("entry",), ("exit",), ("entry", "exit"), ("parking",))
KINDS, SHARES = ("car", "truck", "bus", "motorcycle"), (0.8, 0.15, 0.04, 0.01)
END, DAYS = 1_796_000_000.0, 30  # the last sighting is at END, 2026-11-30, in seconds since 1970
PICTURES, AT_ONCE, PROTOTYPES = 64, 20_000, 3
PAGE, ROUNDS = 50, 20


@dataclass(frozen=True)
class Plan:
    """What each vehicle is like."""

    vehicles: int
    sightings: int
    seed: int


def directions(random: np.random.Generator, count: int, dim: int) -> Floats:
    """(count, dim) of unit length."""
    rows = random.standard_normal((count, dim), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def pictures(seed: int) -> list[bytes]:
    """Rendered crops as the small JPEGs that a gallery keeps."""
    crops = (image for *_, image in training_crops(seed, PICTURES // 4, 2, 2))
    found = [jpeg for image in crops if (jpeg := thumbnail_of(image)) is not None]
    return found[:PICTURES]


def vehicle_rows(plan: Plan, kinds: np.ndarray, faces: list[bytes]) -> Iterator[VehicleRow]:
    """One in ten has a name."""
    for number in range(1, plan.vehicles + 1):
        named = number % 10 == 0
        name = f"Van {number}" if named else f"vehicle-{number:04d}"
        created = END - 86400 * DAYS
        face = faces[number % len(faces)]
        yield VehicleRow(number, name, named, created, KINDS[kinds[number - 1]], None if named else created, face)


def plate(number: int) -> str:
    """Each vehicle has its own."""
    return f"B-{chr(65 + number % 26)}{chr(65 + number // 26 % 26)} {number}"


def write(gallery: Gallery, plan: Plan) -> None:
    """Sightings are written by time, as a run does; the number of those of a vehicle differs much."""
    random, dim, faces = np.random.default_rng(plan.seed), gallery.about.dim, pictures(plan.seed)
    kinds = random.choice(len(KINDS), plan.vehicles, p=SHARES)
    often = random.lognormal(0, 1, plan.vehicles)
    with gallery.transaction() as store:
        for row in vehicle_rows(plan, kinds, faces):
            store.add_vehicle(row)
            for place, feature in enumerate(directions(random, PROTOTYPES, dim)):
                store.add_prototype(row.id, Prototype(0, CAMERAS[(row.id + place) % 8], feature, 1.0, 1))
    times = np.sort(END - random.random(plan.sightings) * 86400 * DAYS)
    times[-1:] = END
    for start in range(0, plan.sightings, AT_ONCE):
        seen = times[start : start + AT_ONCE].tolist()
        whose = (1 + random.choice(plan.vehicles, len(seen), p=often / often.sum())).tolist()
        features = directions(random, len(seen), dim).astype(np.float16)
        cameras, zones = (random.integers(most, size=len(seen)).tolist() for most in (len(CAMERAS), len(ZONES)))
        qualities, read = random.random((2, len(seen))).tolist()
        with gallery.transaction() as store:
            for place, at in enumerate(seen):
                vehicle, track = whose[place], start + place
                first = at - seen[0]
                row = SightingRow(
                    CAMERAS[cameras[place]], track, first, first + 4.0, 10 * track, 10 * track + 40, 0.7,
                    faces[track % len(faces)], "made", at, KINDS[kinds[vehicle - 1]],
                    plate(vehicle) if read[place] < 0.3 else None, qualities[place], features[place], ZONES[zones[place]],
                )  # fmt: skip
                store.add_sighting(vehicle, row)
        print(f"\r{start + len(seen):,} sightings", end="", flush=True)
    print()


def filters(gallery: Gallery) -> dict[str, Filter]:
    """One of each kind, some that few pass, and some that nobody does."""
    last = gallery.latest_sightings(limit=1)[0].at
    hour, week = 3600.0, 7 * 86400.0
    number = min(4321, gallery.size()[0])
    return {
        "everything": Filter(),
        "camera": Filter(cameras=("gate",)),
        "two cameras": Filter(cameras=("gate", "yard")),
        "no such camera": Filter(cameras=("moon",)),
        "last hour": Filter(since=last - hour),
        "first hour": Filter(until=last - DAYS * 86400 + hour),
        "a week": Filter(since=last - 2 * week, until=last - week),
        "a camera's week": Filter(cameras=("gate",), since=last - 2 * week, until=last - week),
        "kind car": Filter(kinds=("car",)),
        "kind motorcycle": Filter(kinds=("motorcycle",)),
        "no such kind": Filter(kinds=("tram",)),
        "a camera's motorcycles": Filter(cameras=("gate",), kinds=("motorcycle",)),
        "name": Filter(names=("van 4321*",)),
        "names": Filter(names=("van*",)),
        "no such name": Filter(names=("lorry*",)),
        "plate": Filter(plates=(plate(number),)),
        "plates that begin so": Filter(plates=("B-AB*",)),
        "plates that end so": Filter(plates=("*321",)),
        "no such plate": Filter(plates=("M*",)),
        "zone": Filter(zones=("entry",)),
        "no such zone": Filter(zones=("moon",)),
        "a camera's zone, kind and week": Filter(
            cameras=("gate",), kinds=("truck",), zones=("parking",), since=last - week
        ),
    }


def measure(path: Path) -> None:
    """Print the median and the slowest of ROUNDS pages of each list, in milliseconds, and how many rows a page has."""
    with read_gallery(path) as gallery:

        def listed(only: Filter, sort: str, thumbnails: bool = False, after: Place | None = None) -> Callable[[], int]:
            return lambda: len(gallery.vehicles(thumbnails, only, Part(sort, PAGE, after)))

        def latest(only: Filter) -> Callable[[], int]:
            return lambda: len(gallery.latest_sightings(only, None, PAGE))

        stats = gallery.stats()
        print(f"{stats.vehicles:,} vehicles, {stats.sightings:,} sightings, {stats.bytes / 1e9:.1f} GB")
        for name, only in filters(gallery).items():
            cells = [timed(listed(only, "named-first")), timed(listed(only, "last-seen")), timed(latest(only))]
            print(f"{name:30} named-first {cells[0]} last-seen {cells[1]} sightings {cells[2]}", flush=True)
        deep = []
        for sort in ("named-first", "last-seen"):
            with gallery.reading() as store:
                place = store.place(gallery.vehicles(False, Filter(), Part(sort, 49 * PAGE))[-1].id, sort)
            deep.append(f"{sort} {timed(listed(Filter(), sort, after=place))}")
        print(f"{'the 50th page':30} {' '.join(deep)}")
        print(f"{'with their pictures':30} named-first {timed(listed(Filter(), 'named-first', True))}")
        print(f"{'cameras':30} {timed(lambda: len(gallery.cameras()))}")
        print(f"{'kinds':30} {timed(lambda: len(gallery.kinds()))}")


def timed(read: Callable[[], int]) -> str:
    """Median and slowest time of a page, in milliseconds, and how many rows it has."""
    count, took = read(), []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        read()
        took.append(1000 * (time.perf_counter() - start))
    return f"{np.median(took):7.1f} {max(took):7.1f} ({count})"


def main() -> None:
    """See the first lines of this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--vehicles", type=int, default=10_000)
    parser.add_argument("--sightings", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="vreid-s")
    parser.add_argument("--measure", action="store_true", help="measure the gallery OUT.db, which is there")
    args = parser.parse_args()
    if args.measure:
        return measure(args.out)
    about = read_manifest(manifest_path(args.model))
    space = {"fingerprint": about.fingerprint, "dim": about.output.dim, "model": about.name}
    with open_gallery(args.out, write=True, **space) as gallery:
        write(gallery, Plan(args.vehicles, args.sightings, args.seed))


if __name__ == "__main__":
    main()
