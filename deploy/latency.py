"""What a channel costs in milliseconds on the engine at hand: whole networks timed by turns, and prices fitted to them.

What is timed ships: the network goes through the real export and the engine seam, and a latency is the p50 of what `vreid
bench` times, less what the process waited for a core: a training beside it does little harm. Blocks timed alone would be
easier to explain and wrong: their weights stay in the cache, and the engine changes layouts at their borders. So 30 to 70
narrow forms of the whole network are timed, in which the blocks of one geometry have about the same share of their width, and
all prices are fitted at once, as things are weighed together for a better weight of each (Hotelling, Ann. Math. Stat. 15,
1944). A narrow form is the exported graph with its weights cut: node for node what an export of the narrow network gives, in
a tenth of the time. The weights are of a new network: no dense engine minds which.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import torch

from vreid.deploy.bench import Timing, timing_of
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.model import Model, open_model
from vreid.deploy.prices import costs_from, inner_of, kinds_of, narrowed, variants_of
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Manifest, write_manifest
from vreid.models.network import ReidNetwork
from vreid.models.pruning import Site, sites
from vreid.models.seam import open_seam
from vreid.runtime.engines.table import ENGINES
from vreid.train.pruning.costs import Costs, widths_of

LOADED = (
    2e9  # bytes of weights in memory at once, a narrow form counted as half the whole; the rest waits for its group
)
TURN_S = 0.004  # a turn ends after this time: short ones, since a machine's mood changes many times in a second
ROUNDS = 40
LEAST_ROUNDS = 10
ENOUGH_S = 120.0  # of measuring for prices; a long call is less noisy than a short one, and LEAST_ROUNDS do
WHOLES = 2  # turns of the whole network in a round, since all others are measured against it
WAITED = Path("/proc/thread-self/schedstat")  # ns: on a core, waiting for one; then the number of times

Told = Callable[[int, int], None]


def latency_costs(
    network: ReidNetwork,
    sites: Sequence[Site],
    engine: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    rounds: int = ROUNDS,
    multiple: int = 8,
    told: Told = lambda done, total: None,
) -> Costs:
    """Prices in ms per `batch` images, measured at multiples of `multiple` channels, to which `fold` is to round.

    The prices of the full widths sum up to the p50 of the whole network. What no block explains (stem, head, copying, the
    constant of every block) is `rest`; where the blocks explain more than there is, it is clipped at 0 and they are scaled.
    Takes an export, and `rounds` of 30 to 70 turns of 4 ms or of one call if that is longer, fewer rounds where they take
    more than two minutes. `network` and torch's random state are left alone; `told` hears of (rounds done, of how many).
    `threads` above 1 are waited for where another process has their core: measure those on a quiet machine. Raises Refused.
    """
    _check(engine, threads, batch, rounds)
    if not sites:
        raise Refused("a network without compactors has no channel to price; insert compactors first")
    with torch.random.fork_rng(devices=[]):
        plain = ReidNetwork(replace(network.config, classes=0)).eval()
    names = {id(module): name for name, module in network.named_modules()}
    blocks = [names[id(site.block)] for site in sites]
    kinds = kinds_of(plain, blocks, sites)
    variants = variants_of(kinds, widths_of(sites), multiple)
    times, wholes = [1.0], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.onnx"
        manifest = _exported(plain, path, engine, batch)
        graph, whole = onnx.load(str(path)), open_model(str(path.with_suffix(".json")), threads)
        together = max(4, int(2 * LOADED / path.stat().st_size))
        starts = range(1, len(variants), together)
        ticks = count(1)
        for start in starts:
            opened = [whole] * WHOLES
            for place, widths in enumerate(variants[start : start + together]):
                inner = {name: inner_of(site, *kept) for name, site, kept in zip(blocks, sites, widths, strict=True)}
                path = Path(folder) / f"{place}.onnx"
                onnx.save(narrowed(graph, inner), str(path))
                about = {"name": path.stem, "engine": path.name, "sha256": sha256_of(path)}
                write_manifest(manifest.model_copy(update=about), path.with_suffix(".json"))
                opened.append(open_model(str(path.with_suffix(".json")), threads))
            turns = by_turns(
                [_embedding(one, batch) for one in opened],
                rounds,
                lambda: told(next(ticks), len(starts) * rounds),
                ENOUGH_S / len(starts),
            )
            known = [took for one in turns[:WHOLES] for took in one]
            wholes += known
            times += [float(np.median(one) / np.median(known)) for one in turns[WHOLES:]]  # the machine's mood cancels
    return costs_from(kinds, variants, np.array(times) * np.median(wholes))


def measured_latency(
    network: ReidNetwork, engine: str = "onnxruntime", threads: int = 1, batch: int = 1, rounds: int = ROUNDS
) -> float:
    """p50 in ms per `batch` images of a folded network, exported and run as it will ship."""
    return latencies([network], engine, threads, batch, rounds)[0].p50_ms


def latencies(
    networks: Sequence[ReidNetwork],
    engine: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    rounds: int = ROUNDS,
    told: Told = lambda done, total: None,
) -> list[Timing]:
    """Of each of `networks` (folded), which are timed by turns and are all in memory at once.

    p50 and p90 are of calls less their waiting (`by_turns`). `told` hears of (rounds done, of how many). Raises Refused.
    """
    _check(engine, threads, batch, rounds)
    if any(sites(network) for network in networks):
        raise Refused("a network with compactors is not what ships; fold it before it is timed")
    ticks = count(1)
    with tempfile.TemporaryDirectory() as folder:
        opened = []
        for n, network in enumerate(networks):
            _exported(network, Path(folder) / f"{n}.onnx", engine, batch)
            opened.append(open_model(str(Path(folder) / f"{n}.json"), threads))
        turns = by_turns([_embedding(one, batch) for one in opened], rounds, lambda: told(next(ticks), rounds))
    return [timing_of(batch, one) for one in turns]


def by_turns(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    told: Callable[[], None] = lambda: None,
    enough_s: float = float("inf"),
) -> list[list[float]]:
    """[run] -> ms of its calls. In a round every run has its turn, in odd rounds from the last to the first.

    After `enough_s` and LEAST_ROUNDS no other round begins; `told` is called after each, and for those left out.
    The first call of a turn is left out where there are more, since the run before has left its own weights in the cache.
    What this thread waited for a core that another process had is taken off, as far as the system tells.
    """
    samples: list[list[float]] = [[] for _ in runs]
    first = perf_counter()
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and perf_counter() - first > enough_s:
            told()
            continue
        order = range(len(runs))
        for place in reversed(order) if turn % 2 else order:
            found: list[float] = []
            began = perf_counter()
            while not found or perf_counter() - began < TURN_S:
                before, start = _waited_ms(), perf_counter()
                runs[place]()
                took = 1000 * (perf_counter() - start)
                waited = _waited_ms() - before
                found.append(took - waited if waited < took else took)
            samples[place] += found[1:] or found
        told()
    return samples


def _waited_ms() -> float:
    """How long this thread has been ready to run and did not (Linux); always 0 on other systems."""
    return int(WAITED.read_text(encoding="ascii").split()[1]) / 1e6 if WAITED.is_file() else 0.0


def _exported(network: ReidNetwork, out: Path, engine: str, batch: int) -> Manifest:
    """`out` and its manifest beside it, for `engine`."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    save_checkpoint(Checkpoint(network.config, weights, {}), out.with_suffix(".pt"))
    with torch.random.fork_rng(devices=[]):
        manifest = onnx_from_checkpoint(out.with_suffix(".pt"), out, (1, batch, batch))
    out.with_suffix(".pt").unlink()
    manifest = manifest.model_copy(update={"backend": engine})
    write_manifest(manifest, out.with_suffix(".json"))
    return manifest


def _embedding(candidate: Model, batch: int) -> Callable[[], object]:
    """What is timed: one batch of noise at the network's own size, so that no resize is."""
    pictures = candidate.noise(batch)
    return lambda: candidate.embed(pictures)


def _check(engine: str, threads: int, batch: int, rounds: int) -> None:
    """Before anything is exported."""
    open_seam("engine", ENGINES, engine)
    if min(threads, batch, rounds) < 1:
        raise Refused("a latency needs threads, batch and rounds of 1 or more")
