"""What the killed gallery and its twin go through: operations that depend on a seed and their number alone. See gallery_kill.py."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, edit_gallery, edits, maintenance, open_gallery, read_gallery, transfer
from vreid.runtime.gallery import gallery as gallery_module
from vreid.runtime.gallery.index import vehicle_index
from vreid.runtime.gallery.index.table import drop_indexes
from vreid.runtime.gallery.maintenance import rebuild_all, repaired
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.sqlite import audit as audit_module
from vreid.runtime.records import FinishedTrack, Floats

DIM, INDEX = 16, "hnsw"
VIEWS = ("gate", "yard", "dock")
CLOCK = SimpleNamespace(now=0.0)
Random = np.random.Generator


def prepared() -> None:
    """The audit's times are the operations' numbers, and a small gallery's index keeps a file."""
    vehicle_index.LEAST_KEPT = 100
    for module in (gallery_module, audit_module):
        vars(module)["time"] = SimpleNamespace(time=lambda: CLOCK.now)


def opened(path: Path, index: str = INDEX) -> Gallery:
    return open_gallery(path, fingerprint="aaaaaaaa", dim=DIM, model="small", write=True, index=index)


def feature(rng: Random) -> Floats:
    row = rng.normal(size=DIM).astype(np.float32)
    return np.asarray(row / np.linalg.norm(row), np.float32)


def sighting(rng: Random) -> FinishedTrack:
    picture = rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)
    at = float(rng.choice([1e9, 4e9]) + rng.integers(1000))  # long ago, or later than any vehicle was written down
    return FinishedTrack(VIEWS[rng.integers(3)], 1, 0, 9, 0.0, 1.0, 2, feature(rng), 3, 0.5, picture, at, None)


def some(gallery: Gallery, rng: Random, count: int) -> list[int]:
    """Vehicles of the gallery, each once."""
    every = [vehicle.id for vehicle in gallery.vehicles(thumbnails=False)]
    return [int(one) for one in rng.choice(every, count, replace=False)]


# The operations: what a verb or a run does, by the functions that it calls


def enrol(gallery: Gallery, rng: Random, number: int, most: int = 6) -> None:
    with gallery.transaction():
        for place in range(int(rng.integers(1, most))):
            seen = [sighting(rng) for _ in range(3)]
            vehicle = gallery.add_vehicle(f"car {number} {place}" if rng.random() < 0.5 else None, seen[0].picture)
            for one in seen:
                gallery.add_prototype(vehicle, one.camera, one.feature, one.quality)
                gallery.add_sighting(vehicle, one, 0.5)


def see(gallery: Gallery, rng: Random, number: int) -> None:
    (vehicle,), seen = some(gallery, rng, 1), sighting(rng)
    with gallery.transaction():
        gallery.search(seen.feature[None], 5)
        gallery.add_prototype(vehicle, seen.camera, seen.feature, seen.quality)
        gallery.add_sighting(vehicle, seen, 0.5, "live")


def remove(gallery: Gallery, rng: Random, number: int) -> None:
    gallery.remove(*some(gallery, rng, 1))
    gallery.wipe()
    drop_indexes(gallery.path)


def purge(gallery: Gallery, rng: Random, number: int) -> None:
    before = float(rng.choice([1e9, 4e9]) + rng.integers(250))
    maintenance.purge(gallery, before, vehicles=bool(rng.random() < 0.3))
    gallery.compact()
    drop_indexes(gallery.path)


def merge(gallery: Gallery, rng: Random, number: int) -> None:
    kept, *others = some(gallery, rng, 3)
    edits.merge(gallery, kept, others)


def split(gallery: Gallery, rng: Random, number: int) -> None:
    several = [one.id for one in gallery.vehicles(thumbnails=False) if one.sightings > 1]
    vehicle = several[rng.integers(len(several))]
    own = sorted(one.id for one in gallery.sightings(vehicle))
    edits.split(gallery, vehicle, own[: max(1, len(own) // 2)])


def reindex(gallery: Gallery, rng: Random, number: int) -> None:
    rebuild_all(gallery)
    search(gallery, rng, number)


def search(gallery: Gallery, rng: Random, number: int) -> None:
    """Drops the index file and writes it anew."""
    drop_indexes(gallery.path)
    with read_gallery(gallery.path, INDEX) as reader:
        reader.search(feature(rng)[None], 5)


def move(gallery: Gallery, rng: Random, number: int) -> None:
    """An export of a few vehicles, imported again."""
    file = gallery.path.with_name("moved.jsonl.gz")
    file.unlink(missing_ok=True)
    with read_gallery(gallery.path) as reader:
        transfer.exported(reader, file, Filter(ids=tuple(some(gallery, rng, 3))))
    transfer.imported(gallery, file, again=True)


OPERATIONS: dict[str, Callable[[Gallery, Random, int], object]] = {
    "enrol": enrol, "see": see, "remove": remove, "purge": purge, "merge": merge, "split": split, "reindex": reindex,
    "search": search, "move": move, "undo": lambda gallery, rng, number: edits.undo(gallery),
    "rename": lambda gallery, rng, number: gallery.rename(some(gallery, rng, 1)[0], f"van {number}"),
    "retain": lambda gallery, rng, number: maintenance.retain(gallery, float(rng.integers(60, 9999))),
}  # fmt: skip
WHOLE = ("create", "upgrade", "repair")  # of a gallery of their own
TARGETS = (*OPERATIONS, "purge", "reindex", "enrol", "open", "open", *WHOLE)


def operate(gallery: Gallery, kind: str, seed: int, number: int) -> str:
    """Carry operation `number` out; what it is of this gallery depends on nothing but the arguments."""
    CLOCK.now = float(number)
    try:
        OPERATIONS[kind](gallery, np.random.default_rng((seed, number)), number)
    except Refused:  # nothing to undo, for example
        return "refused"
    return "changed"


def whole(kind: str, path: Path) -> None:
    """Make, upgrade or repair the gallery at `path`."""
    if kind == "create":
        opened(path, "flat").close()
    elif kind == "upgrade":
        edit_gallery(path).close()
    else:
        repaired(path)


# The child
