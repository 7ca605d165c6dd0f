"""How long a search of a gallery in PostgreSQL takes and what it finds, by what it goes through and by what a filter lets through.

    python bench/gallery_routes.py --server 'postgresql://postgres@/postgres?host=FOLDER' --milvus 127.0.0.1:19530

The galleries (routes_SIZE, made by gallery_route_data.py) and their indexes stay on the servers, and each route is written to
--out when it is done: a run that is broken off goes on there. In one process every query goes through every kind before the next
one does, and each kind's vehicles are compared with those of FAISS flat. Without --milvus that kind is left out.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import gallery_route_data as made
import numpy as np
from rows import RESULTS

from vreid.cli import output
from vreid.deploy.device import machine, versions
from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery
from vreid.runtime.gallery.postgres import search
from vreid.runtime.gallery_place import DatabaseAddress, place_of

ROWS = RESULTS / "gallery_routes.json"
DIM, K = 256, 10
FLAT, ALL, HNSW, MILVUS = "FAISS flat", "pgvector, all compared", "pgvector, HNSW", "Milvus"


def prepared(place: DatabaseAddress, size: int, kinds: dict[str, str]) -> dict[str, float]:
    """Fill the gallery and make its indexes, as far as they are not there: the seconds that each took."""
    took: dict[str, float] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        took[name] = round(time.perf_counter() - began, 1)
        output.error(f"{size}: {name} took {took[name]} s")

    timed("filling", lambda: made.filled(place, size, DIM, lambda done: output.error(f"{size}: {done} prototypes")))
    for name in (HNSW, MILVUS):
        if name in kinds:
            with edit_gallery(place, kinds[name]) as gallery:
                timed(name, lambda index=gallery.index: index.build(lambda done, steps: None))  # type: ignore[misc]
    return took


def measured(galleries: dict[str, Gallery], size: int, route: str, queries: int, rounds: int) -> dict[str, Any]:
    """By kind: p50 in ms over all rounds, the least and greatest p50 of a round, and the recall at 10."""
    features, of_kind = made.queries(size, DIM, queries)
    took = {kind: np.zeros((rounds, queries)) for kind in galleries}
    found: dict[str, list[set[int]]] = {kind: [] for kind in galleries}
    usual = search.MOST
    for at in range(-1, rounds):  # a first one to warm up
        for query in range(queries):
            only = made.ROUTES[route](query, int(of_kind[query]))
            for kind, gallery in galleries.items():
                search.MOST = 0 if kind == ALL else usual
                began = time.perf_counter()
                (hits,) = gallery.search(features[query][None], K, only=only)
                took[kind][at, query] = 1e3 * (time.perf_counter() - began)
                if at < 0:
                    found[kind].append({hit.vehicle for hit in hits})
    search.MOST = usual
    rows = {}
    for kind in galleries:
        by_round = np.median(took[kind], axis=1)
        shares = [len(one & true) / len(true) for one, true in zip(found[kind], found[FLAT], strict=True)]
        rows[kind] = {"p50 ms": float(np.median(took[kind])), "least": float(by_round.min()),
                      "greatest": float(by_round.max()), "recall@10": float(np.mean(shares))}  # fmt: skip
    return rows


def markdown(results: dict[str, Any]) -> str:
    """A table: a row a size and kind, a column a route."""
    lines = [f"| prototypes | through | {' | '.join(made.ROUTES)} |", "|" + " --- |" * (2 + len(made.ROUTES))]
    for size, found in results.items():
        for kind in (FLAT, ALL, HNSW, MILVUS):
            cells = [_cell(found["routes"].get(route, {}).get(kind)) for route in made.ROUTES]
            lines.append(f"| {int(size):,} | {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: dict[str, float] | None) -> str:
    if row is None:
        return "-"
    figures = [
        f"{row[name]:.0f}" if row[name] >= 100 else f"{row[name]:.1f}" for name in ("p50 ms", "least", "greatest")
    ]
    return f"{figures[0]} ({figures[1]} to {figures[2]}), {row['recall@10']:.3f}"


def written(out: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    partial.replace(out)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="a PostgreSQL database in which galleries may be made")
    parser.add_argument("--milvus", help="HOST:PORT")
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROWS)
    flags = parser.parse_args(words)
    kinds = {FLAT: "flat", ALL: "pgvector", HNSW: "pgvector"}
    if flags.milvus:
        kinds[MILVUS] = f"milvus:{flags.milvus}"
    results: dict[str, Any] = json.loads(flags.out.read_text(encoding="utf-8")) if flags.out.is_file() else {}
    about = {"machine": machine(), "date": date.today().isoformat(), "seed": made.SEED, "dim": DIM,
             "faiss": versions().get("faiss-cpu")}  # fmt: skip
    for size in flags.sizes:
        row = results.setdefault(str(size), {"took s": {}, "routes": {}})
        left = [route for route in made.ROUTES if not {*kinds} <= row["routes"].get(route, {}).keys()]
        if not left:
            continue
        joined = "&" if "?" in flags.server else "?"
        place = place_of(f"{flags.server}{joined}gallery=routes_{size}")
        assert isinstance(place, DatabaseAddress)
        for name, seconds in prepared(place, size, kinds).items():
            row["took s"].setdefault(name, seconds)
        row["about"] = about
        written(flags.out, results)
        with ExitStack() as opened:
            galleries = {
                kind: opened.enter_context(open_gallery(place, write=False, index=index, **made.space(DIM)))
                for kind, index in kinds.items()
            }
            for route in left:
                output.error(f"{size}: {route}")
                found = measured(galleries, size, route, flags.queries, flags.rounds)
                row["routes"][route] = {**found, "queries": flags.queries, "rounds": flags.rounds}
                written(flags.out, results)
    print(markdown(results))


if __name__ == "__main__":
    main()
