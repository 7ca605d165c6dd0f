"""What searches cost while a worn HNSW index is rebuilt in the background.

    python bench/gallery_renewal.py --work DIR

Made features of 256 numbers; a fourth of them are deleted at once, then one search every 10 ms until the new index is in place.
Prints milliseconds.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from vreid.cli import output
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.records import Floats

DIM = 256


def filled(gallery: Gallery, features: Floats) -> None:
    """A vehicle for each feature."""
    with gallery.transaction():
        for feature in features:
            vehicle = gallery.add_vehicle()
            gallery.add_prototype(vehicle, "front", feature)


def searched(gallery: Gallery, feature: Floats) -> float:
    """Milliseconds of one search."""
    began = time.perf_counter()
    gallery.search(feature[None], 1)
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--size", type=int, default=40_000)
    flags = parser.parse_args()
    flags.work.mkdir(parents=True, exist_ok=True)
    features = np.random.default_rng(0).normal(size=(flags.size, DIM)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    path = flags.work / "renewal.db"
    with open_gallery(path, fingerprint="aaaaaaaa", dim=DIM, model="made", write=True, index="hnsw") as gallery:
        filled(gallery, features)
        rows = [("built, and searched", [searched(gallery, features[0])])]
        rows.append(("searches before", [searched(gallery, feature) for feature in features[:500]]))
        with gallery.transaction() as store:
            store.delete_prototypes(range(4, store.size()[1] + 1, 4))
        rows.append(("caught up with the deletes, and searched", [searched(gallery, features[0])]))
        began, during = time.monotonic(), []
        while gallery.index.rebuild is not None:
            during.append(searched(gallery, features[len(during) % flags.size]))
            time.sleep(0.01)
        rows.append((f"searches in the {time.monotonic() - began:.0f} s of making it anew", during))
        rows.append(("searches after", [searched(gallery, feature) for feature in features[:500]]))
    figures = [(name, len(of), *(f"{np.quantile(of, at):.1f}" for at in (0.5, 0.99, 1))) for name, of in rows]
    output.table(f"{flags.size} prototypes, ms", ("", "count", "p50", "p99", "most"), figures)


if __name__ == "__main__":
    main()
