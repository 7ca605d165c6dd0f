"""What Milvus finds of a made gallery, and in how much time, by how its graph is made: without PostgreSQL, every prototype in files
as large as Milvus lets them grow, as they are in the end (graphs of smaller files find more).

    taskset -c 0 python bench/milvus_graph.py --milvus 127.0.0.1:19530 --prototypes 500000 --built 64 200 --ef 200 400 1000

The features are those of gallery_route_data.py; the collection vreid_made_graph is replaced. A row a graph and ef: seconds until
the graph was there, p50 in ms of a search for 73 prototypes, of the 10 nearest vehicles how many were found (mean, and of the worst
query), and of the 73 prototypes.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import gallery_route_data as made
import numpy as np
from pymilvus import MilvusClient

from vreid.cli import output
from vreid.runtime.gallery.index.milvus import MilvusCollection
from vreid.runtime.records import Floats, Ints

DIM, VEHICLES, NEAR, STEP = 256, 10, 73, 2500  # NEAR: prototypes that a search for 10 vehicles takes first


def pages(prototypes: int) -> Iterator[tuple[Ints, Floats]]:
    """Ids from 0, four to a vehicle, and their features."""
    for start in range(0, prototypes // made.VIEWS, STEP):
        count = min(STEP, prototypes // made.VIEWS - start)
        _, centres, random = made._step(start, count, DIM)
        ids = np.arange(start * made.VIEWS, (start + count) * made.VIEWS)
        yield ids, made._views(np.repeat(centres, made.VIEWS, axis=0), random)


def nearest(prototypes: int, features: Floats) -> Ints:
    """(queries, 500) ids, nearest first, by comparing all."""
    scores, ids = np.empty((len(features), 0), np.float32), np.empty((len(features), 0), np.int64)
    for some, rows in pages(prototypes):
        scores = np.concatenate([scores, features @ rows.T], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(some, (len(features), len(some)))], axis=1)
        order = np.argsort(-scores, axis=1)[:, :500]
        scores, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
    return ids


def share(found: Ints, true: Ints) -> tuple[float, float]:
    """Of the vehicles, and of the prototypes."""
    vehicles, of = ([*dict.fromkeys((row // made.VIEWS).tolist())][:VEHICLES] for row in (found, true))
    return len({*vehicles} & {*of}) / VEHICLES, len({*found.tolist()} & {*true[:NEAR].tolist()}) / NEAR


def waited(unfinished: Callable[[], bool]) -> None:
    while unfinished():
        time.sleep(1)


class Graphs:
    """A collection in which everything lies in few files, and which gets one graph after another."""

    def __init__(self, address: str, prototypes: int) -> None:
        self._client = MilvusClient(f"http://{address}")
        index = MilvusCollection(address, DIM, 16, 64, 200)
        index.open("made_graph")
        index.drop()
        index.begin()
        (self._name,) = [one for one in self._client.list_collections() if one.startswith(index.alias)]
        self._without()
        for ids, features in pages(prototypes):
            index.upsert(ids, ids // made.VIEWS, features)
        self._client.create_alias(self._name, index.alias)
        self._client.flush(self._name, timeout=600)
        self._with("FLAT", {})  # files without an index are not put together
        job = self._client.compact(self._name)
        waited(lambda: str(self._client.get_compaction_state(job)) == "Executing" or self._pending())

    def make(self, m: int, built: int) -> float:
        """Seconds."""
        self._without()
        began = time.perf_counter()
        self._with("HNSW", {"M": m, "efConstruction": built})
        took = time.perf_counter() - began
        self._client.load_collection(self._name)
        return took

    def _without(self) -> None:
        self._client.release_collection(self._name)
        self._client.drop_index(self._name, "feature")

    def _with(self, kind: str, params: dict[str, int]) -> None:
        graph = MilvusClient.prepare_index_params()
        graph.add_index("feature", index_type=kind, metric_type="IP", params=params)
        self._client.create_index(self._name, graph, sync=False)
        waited(self._pending)

    def _pending(self) -> bool:
        found = self._client.describe_index(self._name, "feature")
        return int(found["pending_index_rows"]) > 0 or int(found["indexed_rows"]) < int(found["total_rows"])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milvus", required=True, help="HOST:PORT")
    parser.add_argument("--prototypes", type=int, default=500_000)
    parser.add_argument("--m", type=int, nargs="+", default=[16])
    parser.add_argument("--built", type=int, nargs="+", default=[64, 200])
    parser.add_argument("--ef", type=int, nargs="+", default=[200, 400, 1000])
    parser.add_argument("--queries", type=int, default=100)
    flags = parser.parse_args(words)
    features, _ = made.queries(flags.prototypes, DIM, flags.queries)
    true = nearest(flags.prototypes, features)
    graphs = Graphs(flags.milvus, flags.prototypes)
    output.error(f"{flags.prototypes} prototypes are in Milvus")
    print("| m | built | graph s | ef | p50 ms | vehicles | worst | prototypes |\n|" + " --- |" * 8)
    for m, built in ((m, built) for m in flags.m for built in flags.built):
        took = graphs.make(m, built)
        for ef in flags.ef:
            index = MilvusCollection(flags.milvus, DIM, m, built, ef)
            index.open("made_graph")
            times, shares = [], []
            for feature, expected in zip(features, true, strict=True):
                began = time.perf_counter()
                _, found = index.search(feature[None], NEAR)
                times.append(1e3 * (time.perf_counter() - began))
                shares.append(share(found[0], expected))
            index.close()
            vehicles, prototypes = np.array(shares).T
            print(f"| {m} | {built} | {took:.0f} | {ef} | {np.median(times):.1f} | {vehicles.mean():.3f} |"
                  f" {vehicles.min():.1f} | {prototypes.mean():.3f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
