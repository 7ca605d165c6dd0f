"""How many strangers a gallery takes for its own, against the rate that its threshold was made for.

    vreid synth crops --out runs/openset --vehicles 12000 --cameras 2 --per-camera 1
    python bench/open_set.py --data runs/openset --calibrate 1000 --strangers 1000 --galleries 100 1000 10000
    python bench/open_set.py --data ../shared/data/highway2cam --calibrate 135 --strangers 135 --galleries 100

The vehicles are parted by a seed: some to calibrate on (deploy/threshold.py: the best estimate, and the threshold that is
enough in 95 of 100 draws), some that no gallery knows, and the rest, of which a real gallery is filled. Every stranger and every
known vehicle, seen by another camera, is the query (Gallery.search). Rows in bench/results/open_set.json.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from vreid.deploy.threshold import calibrated, scores_of, tracks_of
from vreid.models.picture import read_picture
from vreid.runtime.embedder import open_embedder
from vreid.runtime.gallery import open_gallery
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import Embedded

BATCH = 64


def tracks(data: Path, cache: Path) -> Embedded:
    """Every vehicle in every camera, by vreid-s as it ships; kept in `cache`."""
    if cache.exists():
        kept = np.load(cache)
        return Embedded(kept["features"], kept["vehicles"], kept["cameras"])
    found = read_dataset(data)
    items = list({item.path: item for item in (*found.train, *found.query, *found.gallery)}.values())
    embedder, parts = open_embedder("vreid-s"), []
    for start in range(0, len(items), BATCH):
        parts.append(embedder.embed([read_picture(item.path) for item in items[start : start + BATCH]]))
        if start % (50 * BATCH) == 0:
            print(f"{start} of {len(items)} pictures", flush=True)
    vehicles, cameras = (
        np.unique(names, return_inverse=True)[1] for names in zip(*((i.vehicle, i.camera) for i in items), strict=True)
    )
    one = tracks_of(Embedded(np.concatenate(parts), vehicles, cameras))
    np.savez(cache, features=one.features, vehicles=one.vehicles, cameras=one.cameras)
    return one


def of(every: Embedded, vehicles: np.ndarray) -> Embedded:
    """The tracks of some vehicles."""
    rows = np.isin(every.vehicles, vehicles)
    return Embedded(every.features[rows], every.vehicles[rows], every.cameras[rows])


def best(known: Embedded, queries: Sequence[Embedded], folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of `queries`, its tracks' best scores in a gallery of `known`, whose first camera is enrolled, and whether they
    are of the right vehicle."""
    manifest = open_embedder("vreid-s").manifest
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calibrate", type=int, required=True)
    parser.add_argument("--strangers", type=int, required=True)
    parser.add_argument("--galleries", type=int, nargs="+", required=True)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    cache = Path("runs") / f"open-set-{flags.data.name}.npz"
    cache.parent.mkdir(exist_ok=True)
    every = tracks(flags.data, cache)
    vehicles = np.random.default_rng(flags.seed).permutation(np.unique(every.vehicles))
    seen, strangers, rest = np.split(vehicles, [flags.calibrate, flags.calibrate + flags.strangers])
    shown, unknown = of(every, seen), of(every, strangers)
    first = np.unique(shown.vehicles, return_index=True)[1]
    enrolled = Embedded(shown.features[first], shown.vehicles[first], shown.cameras[first])
    scores = scores_of(shown, enrolled, seed=flags.seed)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in flags.galleries:
            if size > len(rest):
                raise SystemExit(f"{flags.data} has {len(rest)} vehicles left for a gallery of {size}")
            known = of(every, rest[:size])
            again = np.setdiff1d(np.arange(len(known.vehicles)), np.unique(known.vehicles, return_index=True)[1])
            queries = Embedded(known.features[again], known.vehicles[again], known.cameras[again])
            (stranger, _), (own, right) = best(known, (unknown, queries), Path(folder))
            for rate in flags.rates:
                made = calibrated(scores, rate, size, flags.seed)
                row = {"data": flags.data.name, "gallery": size, "asked": rate, "calibrated_on": flags.calibrate}
                for name, threshold in (("estimate", made.estimate), ("safe", made.threshold)):
                    row[name] = round(threshold, 5)
                    row[f"{name}_measured"] = round(float((stranger >= threshold).mean()), 4)
                    row[f"{name}_known_found"] = round(float((right & (own >= threshold)).mean()), 4)
                rows.append({**row, "strangers": len(stranger), "known": len(own), "date": date.today().isoformat()})
                print(" | ".join(str(value) for value in rows[-1].values()), flush=True)
    file = Path("bench/results/open_set.json")
    kept = json.loads(file.read_text()) if file.exists() else []
    kept = [row for row in kept if row["data"] != flags.data.name] + rows
    file.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
