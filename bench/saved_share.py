"""How much of the latency a smaller model saves of what it saves in MACs, by processor time, for a machine that others use too.

    python bench/saved_share.py vreid-m.json vreid-s vreid-m.int8.json vreid-s.int8.json

Models in pairs, the larger first. All embed batches of noise by turns on one thread, several times from the beginning; of each run
the median, of the runs the median and the range. Milliseconds are of the process, so that time in which another one has the core
does not count; what others do to caches and clock does. On a quiet machine `vreid bench` says the same.
"""

import argparse
import json
import statistics
import time

from vreid.deploy.model import Model, open_model


def milliseconds(candidate: Model, batch: int, count: int) -> list[float]:
    """Of processor time of each of `count` batches; one before them is not counted."""
    pictures, found = candidate.noise(batch), []
    for _ in range(count + 1):
        began = time.process_time()
        candidate.embed(pictures)
        found.append(1000 * (time.process_time() - began))
    return found[1:]


def one_run(opened: list[Model], batch: int, rounds: int, count: int) -> list[float]:
    """The median of each model; every other round goes through the models backwards."""
    found: list[list[float]] = [[] for _ in opened]
    for turn in range(rounds):
        places = range(len(opened))
        for place in reversed(places) if turn % 2 else places:
            found[place] += milliseconds(opened[place], batch, count)
    return [statistics.median(times) for times in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="manifests or bundled names, a larger and a smaller one by turns")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8])
    flags = parser.parse_args()
    if len(flags.models) % 2:
        parser.error("give models in pairs, the larger first")
    opened = [open_model(model, 1) for model in flags.models]
    for batch in flags.batches:
        runs = [one_run(opened, batch, flags.rounds, max(2, 16 // batch)) for _ in range(flags.runs)]
        for place in range(0, len(opened), 2):
            large, small = opened[place : place + 2]
            saved = sorted(1 - run[place + 1] / run[place] for run in runs)
            fewer = 1 - small.cost.macs / large.cost.macs
            row = {
                "batch": batch,
                "models": [large.name, small.name],
                "engine": f"{small.backend} {small.precision}",
                "ms": [round(statistics.median(run[place + each] for run in runs), 2) for each in (0, 1)],
                "latency saved": [round(statistics.median(saved), 3), round(saved[0], 3), round(saved[-1], 3)],
                "MACs saved": round(fewer, 3),
                "share": round(statistics.median(saved) / fewer, 2) if fewer else None,  # two forms of one network
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
