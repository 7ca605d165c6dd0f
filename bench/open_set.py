r"""How many strangers a gallery takes for its own, against the rate that its threshold was made for.

    vreid synth crops --out runs/openset --vehicles 12000 --cameras 2 --per-camera 1
    python bench/open_set.py --data runs/openset --calibrate 1000 --strangers 1000 --galleries 100 1000 10000
    python bench/open_set.py --data ../shared/data/highway2cam --calibrate 135 --strangers 135 --galleries 100

The vehicles are parted by a seed: some to calibrate on (deploy/threshold.py: the best estimate, and the threshold that is
enough in 95 of 100 draws), some that no gallery knows, and the rest, of which a real gallery is filled. Every stranger and every
known vehicle, seen by another camera, is the query (Gallery.search). Rows in bench/results/open_set.json.

    python bench/open_set.py --answers --data runs/openset --calibrate 1000 --strangers 1000 --galleries 100 1000 10000
    vreid synth crops --out runs/twins --vehicles 500 --cameras 2 --per-camera 2 --seed 5
    python bench/open_set.py --answers --twins seconds --data runs/twins --calibrate 150 --strangers 150 --galleries 200
    python bench/open_set.py --answers --twins clusters --data ../shared/data/roadside --calibrate 16 --strangers 20 --galleries 39
    python bench/open_set.py --answers --twins nearest --data ../shared/data/highway2cam --calibrate 105 --strangers 100 \
        --galleries 100 200

counts the answers of a run (known, doubtful, new) by the threshold of the site instead, which the vehicles to calibrate on have
shown as strangers that pass two cameras at the same time. Twins of the gallery's vehicles are asked for apart: `seconds`, another
picture of the same synthetic vehicle by the same camera; `clusters`, the same body and paint by identities.csv; `nearest`, of the
vehicles left those most like one of the gallery in the camera that it was enrolled by. Rows in bench/results/open_set_answers.json.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import combinations, count
from pathlib import Path

import numpy as np
from rows import RESULTS

from vreid.deploy.threshold import calibrated, scores_of, tracks_of
from vreid.models.picture import read_picture
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.records import FinishedTrack, Trace
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.topology import CameraPair, Layout, Topology
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import Embedded

BATCH = 64
MOST = 300  # tracks of a kind whose answers are counted
TWIN = "'"  # of a vehicle's name: its twin's


def tracks(
    data: Path, embedder: Embedder, cache: Path, twins: str | None, held_out: float | None
) -> tuple[Embedded, np.ndarray]:
    """Every vehicle in every camera, by a model as it ships, and the vehicles' names; kept in `cache`. With `seconds` the second
    picture of a vehicle by a camera is of its twin, with `clusters` only the test part counts, and of a share that is held out
    only these vehicles."""
    if cache.exists():
        kept = np.load(cache)
        every = Embedded(kept["features"], kept["vehicles"], kept["cameras"])
        return every, kept["names"] if "names" in kept else np.unique(every.vehicles).astype(str)
    found = read_dataset(data)
    if held_out:
        _, found = cut(found, held_out)
    used = (*found.query, *found.gallery) if twins == "clusters" else (*found.train, *found.query, *found.gallery)
    items = list({item.path: item for item in used}.values())
    if twins == "seconds":
        items = [replace(one, vehicle=one.vehicle + TWIN * (int(one.path.stem[-1]) % 2)) for one in items]
    parts = []
    for start in range(0, len(items), BATCH):
        parts.append(embedder.embed([read_picture(item.path) for item in items[start : start + BATCH]]))
        if start % (50 * BATCH) == 0:
            print(f"{start} of {len(items)} pictures", flush=True)
    (names, vehicles), (_, cameras) = (
        np.unique(names, return_inverse=True) for names in zip(*((i.vehicle, i.camera) for i in items), strict=True)
    )
    one = tracks_of(Embedded(np.concatenate(parts), vehicles, cameras))
    np.savez(cache, features=one.features, vehicles=one.vehicles, cameras=one.cameras, names=names)
    return one, names


def of(every: Embedded, vehicles: np.ndarray) -> Embedded:
    """The tracks of some vehicles."""
    rows = np.isin(every.vehicles, vehicles)
    return Embedded(every.features[rows], every.vehicles[rows], every.cameras[rows])


def best(
    known: Embedded, queries: Sequence[Embedded], embedder: Embedder, folder: Path
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of `queries`, its tracks' best scores in a gallery of `known`, whose first camera is enrolled, and whether they
    are of the right vehicle."""
    manifest = embedder.manifest
    opening = {"fingerprint": manifest.fingerprint, "dim": manifest.output.dim, "model": manifest.name}
    with open_gallery(folder / f"{len(known.vehicles)}.db", write=True, **opening) as gallery:
        with gallery.transaction():
            for vehicle in np.unique(known.vehicles):
                row = np.flatnonzero(known.vehicles == vehicle)[0]
                name = str(vehicle)
                gallery.add_prototype(gallery.add_vehicle(name), str(known.cameras[row]), known.features[row])
        answers = [[hits[0] for hits in gallery.search(part.features, 1)] for part in queries]
    return [
        (np.array([hit.score for hit in hits]), np.array([hit.name for hit in hits]) == part.vehicles.astype(str))
        for hits, part in zip(answers, queries, strict=True)
    ]


def groups_of(data: Path, names: np.ndarray, twins: str) -> np.ndarray:
    """(V,) of each vehicle a number that its twins have too."""
    if twins == "seconds":
        labels = [name.removesuffix(TWIN) for name in names.tolist()]
    else:
        with (data / "identities.csv").open(encoding="utf-8", newline="") as file:
            cluster = {row["vehicle"]: row["cluster"] or row["vehicle"] for row in csv.DictReader(file)}
        labels = [cluster[name] for name in names.tolist()]
    return np.unique(labels, return_inverse=True)[1]


def drawn(part: Embedded) -> Embedded:
    """At most MOST tracks."""
    rows = np.sort(np.random.default_rng(0).permutation(len(part.vehicles))[:MOST])
    return Embedded(part.features[rows], part.vehicles[rows], part.cameras[rows])


def first_of(part: Embedded) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each vehicle's first camera, and the others."""
    first = np.unique(part.vehicles, return_index=True)[1]
    return first, np.setdiff1d(np.arange(len(part.vehicles)), first)


def look_alikes(every: Embedded, known: np.ndarray, left: np.ndarray, count: int) -> np.ndarray:
    """Of the vehicles `left` the `count` most like one of `known` in its first camera."""
    mine = of(every, known)
    rows, _ = first_of(mine)
    others = of(every, left)
    cosines = mine.features[rows] @ others.features.T
    cosines[mine.cameras[rows, None] != others.cameras] = -1
    return left[np.argsort([-cosines[:, others.vehicles == one].max(initial=-1) for one in left])][:count]


def answered(
    known: Embedded, shown: Embedded, parts: dict[str, Embedded], embedder: Embedder, rate: float, path: Path
) -> dict[str, float]:
    """Shares of answers: of tracks of known vehicles in other cameras known rightly, doubtful with the right one named, and known
    as another; of each of `parts`, whom the gallery does not know, known and doubtful."""
    manifest, cameras = embedder.manifest, [f"cam{one}" for one in range(int(known.cameras.max()) + 1)]
    pairs = tuple(CameraPair(cameras=two, least_s=60.0) for two in combinations(cameras, 2))
    topology, times = Topology(Layout(pair=pairs)), count(step=100)

    def track(features: np.ndarray, camera: int, lane: int, now: float) -> tuple[FinishedTrack, Trace]:
        frames, box = np.arange(10), np.array([200.0 * lane, 0, 200.0 * lane + 100, 80], np.float32)
        picture = np.zeros((8, 8, 3), np.uint8)
        number = 2 * int(now) + lane
        one = FinishedTrack(cameras[camera], number, 0, 9, now, now + 1, 2, features, 1, 0.8, picture)
        return one, Trace(frames, np.tile(box, (10, 1)), np.ones(10, np.float32))

    opening = {"fingerprint": manifest.fingerprint, "dim": manifest.output.dim, "model": manifest.name}
    with open_gallery(path, write=True, **opening) as gallery:
        first, again = first_of(known)
        with gallery.transaction():
            for row in first:
                vehicle = gallery.add_vehicle(str(known.vehicles[row]))
                gallery.add_prototype(vehicle, cameras[known.cameras[row]], known.features[row])
        identifier = Identifier(gallery, SiteThreshold(embedder.match, rate, topology), topology=topology)
        order = np.random.default_rng(0).permutation(len(shown.vehicles))
        for now, (one, other) in zip(times, zip(order, np.roll(order, 1), strict=True), strict=False):
            if shown.vehicles[one] == shown.vehicles[other]:
                continue
            for lane, row in enumerate((one, other)):
                identifier.observe(*track(shown.features[row], int(shown.cameras[row]), lane, float(now)))
        found: dict[str, float] = {}
        queries = {"known": Embedded(known.features[again], known.vehicles[again], known.cameras[again]), **parts}
        for name, part in ((name, drawn(part)) for name, part in queries.items()):
            rows = zip(part.features, part.cameras.tolist(), strict=True)
            given = [identifier.provisional(track(row, camera, 0, float(next(times)))[0]) for row, camera in rows]
            yes, maybe = (np.array([one.answer == what for one in given]) for what in ("known", "doubtful"))
            found |= {f"{name}_tracks": len(given), f"{name}_known": yes.mean(), f"{name}_doubtful": maybe.mean()}
            if name == "known":
                whose = [{one.name, None if one.maybe is None else gallery.name_of(one.maybe)} for one in given]
                right = np.array([str(own) in two for own, two in zip(part.vehicles, whose, strict=True)])
                found |= {"known_known": (yes & right).mean(), "known_doubtful": (maybe & right).mean()}
                found["known_as_another"] = (yes & ~right).mean()
    return {name: round(float(share), 4) for name, share in found.items()}


def answer_rows(
    flags: argparse.Namespace, embedder: Embedder, every: Embedded, names: np.ndarray
) -> Iterator[dict[str, object]]:
    """The three answers for each size of a gallery and each rate."""
    rng = np.random.default_rng(flags.seed)
    vehicles = rng.permutation(np.unique(every.vehicles))
    twins = np.zeros(0, np.int64)
    if flags.twins in ("seconds", "clusters"):
        group = groups_of(flags.data, names, flags.twins)
        first = np.array([np.flatnonzero(group[vehicles] == group[one])[0] for one in vehicles])
        doubles = first != np.arange(len(vehicles))
        twins, vehicles = vehicles[doubles], vehicles[~doubles]
        paired = np.isin(group[vehicles], group[twins])
        vehicles = np.concatenate([vehicles[~paired], vehicles[paired]])  # who has twins is in the gallery
        if not (~paired).any():
            vehicles = rng.permutation(vehicles)
    shown, strangers, rest = np.split(vehicles, [flags.calibrate, flags.calibrate + flags.strangers])
    for size in flags.galleries:
        if size > len(rest):
            raise SystemExit(f"{flags.data} has {len(rest)} vehicles left for a gallery of {size}")
        known = rest[-size:]
        parts = {"strangers": of(every, strangers)}
        if flags.twins == "nearest":
            twins = look_alikes(every, known, strangers, len(strangers) // 4)
            parts["strangers"] = of(every, np.setdiff1d(strangers, twins))
        if flags.twins:
            own = twins if flags.twins == "nearest" else twins[np.isin(group[twins], group[known])]
            parts["twins"] = of(every, own)
        for rate in flags.rates:
            with tempfile.TemporaryDirectory() as folder:
                found = answered(of(every, known), of(every, shown), parts, embedder, rate, Path(folder) / "g.db")
            yield {"data": flags.data.name, "twins": flags.twins or "none", "gallery": size, "requested": rate, **found}


def write(file: Path, data: str, model: str, rows: list[dict[str, object]]) -> None:
    """Put the rows of a data set and a model in the place of those before."""
    before = json.loads(file.read_text()) if file.exists() else []
    kept = [row for row in before if (row["data"], row.get("model")) != (data, model)]
    file.write_text(json.dumps(kept + rows, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibrate", type=int, required=True)
    parser.add_argument("--strangers", type=int, required=True)
    parser.add_argument("--galleries", type=int, nargs="+", required=True)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--answers", action="store_true", help="a run's three answers by the threshold of the site")
    parser.add_argument("--twins", choices=["seconds", "clusters", "nearest"], help="with --answers: twins, too")
    parser.add_argument("--model", default="vreid-s", help="manifest .json, or the name of a bundled model")
    parser.add_argument("--held-out", type=float, metavar="SHARE", help="only the vehicles that vreid train holds out")
    flags = parser.parse_args()
    embedder = open_embedder(flags.model)
    model = embedder.manifest.fingerprint + (f"-{flags.held_out:g}" if flags.held_out else "")
    cache = Path("runs") / f"open-set-{flags.data.name}-{model}.npz"
    cache.parent.mkdir(exist_ok=True)
    every, names = tracks(flags.data, embedder, cache, flags.twins, flags.held_out)
    if flags.answers:
        found: list[dict[str, object]] = []
        for row in answer_rows(flags, embedder, every, names):
            found.append({**row, "model": model, "date": date.today().isoformat()})
            print(" | ".join(map(str, row.values())), flush=True)
        write(RESULTS / "open_set_answers.json", flags.data.name, model, found)
        return
    vehicles = np.random.default_rng(flags.seed).permutation(np.unique(every.vehicles))
    seen, strangers, rest = np.split(vehicles, [flags.calibrate, flags.calibrate + flags.strangers])
    shown, unknown = of(every, seen), of(every, strangers)
    first = np.unique(shown.vehicles, return_index=True)[1]
    enrolled = Embedded(shown.features[first], shown.vehicles[first], shown.cameras[first])
    scores = scores_of(shown, enrolled, seed=flags.seed)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in flags.galleries:
            if size > len(rest):
                raise SystemExit(f"{flags.data} has {len(rest)} vehicles left for a gallery of {size}")
            known = of(every, rest[:size])
            again = np.setdiff1d(np.arange(len(known.vehicles)), np.unique(known.vehicles, return_index=True)[1])
            queries = Embedded(known.features[again], known.vehicles[again], known.cameras[again])
            (stranger, _), (own, right) = best(known, (unknown, queries), embedder, Path(folder))
            for rate in flags.rates:
                made = calibrated(scores, rate, size, flags.seed)
                row = {"data": flags.data.name, "gallery": size, "asked": rate, "calibrated_on": flags.calibrate}
                for name, threshold in (("estimate", made.estimate), ("safe", made.threshold)):
                    row[name] = round(threshold, 5)
                    row[f"{name}_measured"] = round(float((stranger >= threshold).mean()), 4)
                    row[f"{name}_known_found"] = round(float((right & (own >= threshold)).mean()), 4)
                rows.append(
                    {
                        **row,
                        "strangers": len(stranger),
                        "known": len(own),
                        "model": model,
                        "date": date.today().isoformat(),
                    }
                )
                print(" | ".join(str(value) for value in rows[-1].values()), flush=True)
    write(RESULTS / "open_set.json", flags.data.name, model, rows)


if __name__ == "__main__":
    main()
