"""What a channel costs in milliseconds on the engine at hand: whole networks timed by turns, and costs fitted to them.

What is timed ships: the network goes through the real export and the engine seam, and a latency is the p50 of what `vreid
bench` times, less what the process waited for a core: a training on other cores does little harm. Sites timed one by one would be
easier to explain and wrong: their weights stay in the cache, and the engine changes layouts at their borders. So 30 to 70
narrow forms of the whole network are timed, in which the sites of one geometry have about the same share of their width, and
all costs are fitted at once, as things are weighed together for a better weight of each (Hotelling, Ann. Math. Stat. 15,
1944). A narrow form is the exported graph with its weights cut: node for node what an export of the narrow network gives, in
a tenth of the time. The weights are random: the latency of a dense engine does not depend on them.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from scipy.optimize import nnls
from torch import Tensor, nn

from vreid.deploy.bench import Timing, timing_of
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.model import Model, open_model
from vreid.deploy.settings import ExportOptions
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.cost import cost_of
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import Manifest, write_manifest
from vreid.models.network import ReidNetwork
from vreid.models.pruning import Site, rounded_up, sites
from vreid.models.seam import open_seam
from vreid.runtime.engines.table import ENGINES
from vreid.train.pruning.costs import Costs, SiteCost, widths_of

LEAST_VARIANTS = 30
EXACT = 1e4  # weight of the whole network's row in the fit, where every other row weighs 1

Widths = Sequence[tuple[int, int]]  # (near, far) of every site


def costs_from(kinds: Sequence[int], variants: Sequence[Widths], times: Sequence[float] | np.ndarray) -> Costs:
    """The costs whose sums are nearest to `times` (ms, relative errors squared), none of them negative.

    `kinds` (one per site) names the sites that share coefficients; the first variant is the whole network, whose time is
    met exactly. Where the near width is always 1, there is no near compactor and a and b are 0.
    """
    took = np.asarray(times, float)
    near, far = np.array(variants, float).transpose(2, 0, 1)  # (V, S) each, of S sites
    sided = (near > 1).any(0)
    terms = np.stack((near * sided, near * far * sided, far))  # (3, V, S)
    groups = np.array(kinds)[:, None] == np.arange(max(kinds) + 1)  # (S, K)
    columns = np.concatenate([*(terms @ groups), np.ones((len(took), 1))], axis=1)  # (V, 3 K + 1), the last for `rest`
    weights = 1 / took
    weights[0] *= EXACT
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1
    found, _ = nnls(columns / scale * weights[:, None], took * weights)
    found = (found / scale)[:-1]
    explained = float(columns[0, :-1] @ found)
    share = min(1.0, float(took[0]) / explained) if explained else 1.0
    costs = tuple(SiteCost(*(share * float(cost[kind]) for cost in found.reshape(3, -1))) for kind in kinds)
    return Costs("ms", float(took[0]) - share * explained, costs, tuple(variants[0]))


CUTTABLE = ("Conv", "MatMul", "BatchNormalization")
Cuts = Mapping[str, tuple[int | None, int | None]]  # inputs and outputs that a layer keeps, None for all


def cuts_of(site: Site, near: int, far: int) -> dict[str, tuple[int | None, int | None]]:
    """What the layers of a site keep when so many of its channels are kept; `near` counts where it has a near compactor.

    BNs of convolutions are left out, since the export merges them.
    """
    place, inputs = site.place, None if site.near is None else near
    cuts: dict[str, tuple[int | None, int | None]] = {place.conv: (inputs, far), place.reader: (far, None)}
    if place.before is not None:
        cuts[place.before[0]] = (None, inputs)
    follows = zip(place.channelwise, site.channelwise, strict=True)
    return cuts | {name: (None, far) for name, layer in follows if not isinstance(layer, nn.BatchNorm2d)}


def narrowed(model: onnx.ModelProto, cuts: Cuts) -> onnx.ModelProto:
    """A copy of an exported graph whose layers keep the first of their channels only. Raises Refused for a layer not in it."""
    small = onnx.ModelProto()
    small.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {_layer_of(node): node for node in small.graph.node if node.op_type in CUTTABLE}
    for name, (inputs, outputs) in cuts.items():
        if name not in nodes:
            raise Refused(f"the exported graph names no layer {name}; use another torch version")
        node = nodes[name]
        groups = [attribute for attribute in node.attribute if attribute.name == "group" and attribute.i > 1]
        within = (inputs, outputs) if node.op_type == "MatMul" else (outputs, None if groups else inputs)
        for place, given in list(enumerate(node.input))[1:]:
            array = numpy_helper.to_array(tensors[given])
            array = array[tuple(slice(end) for end in within[: array.ndim])]
            node.input[place] = f"{name}.{place}"
            small.graph.initializer.append(numpy_helper.from_array(array.copy(), node.input[place]))
        for attribute in groups:
            attribute.i = outputs or attribute.i
    used = {name for node in small.graph.node for name in node.input}
    kept = [tensor for tensor in small.graph.initializer if tensor.name in used]
    del small.graph.initializer[:], small.graph.value_info[:]  # the shapes inside are the wide ones
    small.graph.initializer.extend(kept)
    return small


def _layer_of(node: onnx.NodeProto) -> str:
    """The layer's name in the network, of the tracer's scopes: /network/body/layer1/layer1.0/conv1/Conv -> body.layer1.0.conv1."""
    parts: list[str] = []
    for scope in node.name.split("/")[2:-1]:
        if parts and scope.startswith(f"{parts[-1]}."):
            parts.pop()
        parts.append(scope)
    return ".".join(parts)


def variants_of(kinds: Sequence[int], full: Widths, multiple: int) -> list[list[tuple[int, int]]]:
    """The full widths, then narrow ones: the network's share of its widths rises evenly, and around it those of every kind
    and side are spread evenly in random order, so that wide, narrow and uneven networks are all timed.

    A site has up to `multiple` channels more or less than its kind: for an engine that pads to 16 channels time rises in steps.
    """
    unknowns = sum(3 if full[kinds.index(kind)][0] > 1 else 1 for kind in set(kinds))
    many = max(LEAST_VARIANTS, 2 * unknowns)
    random = np.random.default_rng(0)
    even = (np.arange(many)[:, None, None] + 0.5).repeat(max(kinds) + 1, 1).repeat(2, 2) / many
    own = random.permuted(even, axis=0)[:, list(kinds)]  # (variants, sites, near and far)
    shares = even[:, :1] + own - 0.5  # under 0 is one `multiple`, over 1 is full
    widths = np.round(shares * np.array(full) + random.uniform(-multiple, multiple, shares.shape)).astype(int)
    kept = [
        [
            (rounded_up(near, site[0], multiple), rounded_up(far, site[1], multiple))
            for (near, far), site in zip(one, full, strict=True)
        ]
        for one in widths.tolist()
    ]
    return [list(full), *kept]


def kinds_of(plain: ReidNetwork, sites: Sequence[Site]) -> list[int]:
    """The geometry of every site, numbered from 0: its layers, and the channels of those that stay as they are."""
    shapes = {layer.name: layer.shape[1:] for layer in cost_of(plain)}
    seen: dict[tuple[object, ...], int] = {}
    found = []
    for site in sites:
        place = site.place
        key: list[object] = [_outputs(site.reader)]
        if site.near is None:
            key.append(site.conv.in_channels)
        elif site.before is not None:
            key.append(site.before[0].in_channels)
        before = () if site.near is None else place.before or ()
        for name in (*before, place.conv, *place.channelwise, place.reader):
            layer = plain.get_submodule(name)
            key += [type(layer).__name__, shapes[name], getattr(layer, "kernel_size", 1), getattr(layer, "stride", 1)]
        found.append(seen.setdefault(tuple(key), len(seen)))
    return found


def _outputs(layer: nn.Module) -> int:
    return len(cast(Tensor, layer.weight))


LOADED = (
    2e9  # bytes of weights in memory at once, a narrow form counted as half the whole; the rest waits for its group
)
TURN_S = 0.004  # a turn ends after this time: short ones, since a machine's speed changes many times in a second
ROUNDS = 40
LEAST_ROUNDS = 10
ENOUGH_S = 120.0  # of measuring; a long call is less noisy than a short one, and LEAST_ROUNDS do
WHOLES = 2  # turns of the whole network in a round, since all others are measured against it
WAITED = Path("/proc/thread-self/schedstat")  # ns: on a core, waiting for one; then the number of times

Progress = Callable[[int, int], None]


def latency_costs(
    network: ReidNetwork,
    sites: Sequence[Site],
    engine: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    rounds: int = ROUNDS,
    multiple: int = 8,
    report: Progress = lambda done, total: None,
) -> Costs:
    """Costs in ms per `batch` images, measured at multiples of `multiple` channels, to which `fold` is to round.

    The costs of the full widths sum up to the p50 of the whole network. What no site explains (the head, copying, a constant of
    every site) is `rest`; where the sites explain more than there is, it is clipped at 0 and they are scaled.
    Takes an export, and `rounds` of 30 to 70 turns of 4 ms or of one call if that is longer, fewer rounds where they take
    more than two minutes. `network` and torch's random state are left as they are; `report` gets (rounds done, of how many).
    `threads` above 1 are waited for where another process has their core: measure those on a quiet machine. Raises Refused.
    """
    _check(engine, threads, batch, rounds)
    if not sites:
        raise Refused(
            "a network without compactors has no channel whose cost could be measured; insert compactors first"
        )
    with torch.random.fork_rng(devices=[]):
        plain = ReidNetwork(replace(network.config, classes=0)).eval()
    kinds = kinds_of(plain, sites)
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
                cuts = {
                    n: cut for site, kept in zip(sites, widths, strict=True) for n, cut in cuts_of(site, *kept).items()
                }
                path = Path(folder) / f"{place}.onnx"
                onnx.save(narrowed(graph, cuts), str(path))
                about = {"name": path.stem, "engine": path.name, "sha256": sha256_of(path)}
                write_manifest(manifest.model_copy(update=about), path.with_suffix(".json"))
                opened.append(open_model(str(path.with_suffix(".json")), threads))
            turns = by_turns(
                [_embedding(one, batch) for one in opened],
                rounds,
                lambda: report(next(ticks), len(starts) * rounds),
                ENOUGH_S / len(starts),
            )
            known = [took for one in turns[:WHOLES] for took in one]
            wholes += known
            times += [float(np.median(one) / np.median(known)) for one in turns[WHOLES:]]  # the machine's speed cancels
    return replace(costs_from(kinds, variants, np.array(times) * np.median(wholes)), engine=engine)


def latencies(
    networks: Sequence[ReidNetwork],
    engine: str = "onnxruntime",
    threads: int = 1,
    batch: int = 1,
    rounds: int = ROUNDS,
    report: Progress = lambda done, total: None,
) -> list[Timing]:
    """Of each of `networks` (folded), which are timed by turns and are all in memory at once.

    p50 and p90 are of calls less their waiting (`by_turns`). `report` gets (rounds done, of how many). Raises Refused.
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
        turns = by_turns([_embedding(one, batch) for one in opened], rounds, lambda: report(next(ticks), rounds))
    return [timing_of(batch, one) for one in turns]


def by_turns(
    runs: Sequence[Callable[[], object]],
    rounds: int,
    report: Callable[[], None] = lambda: None,
    enough_s: float = float("inf"),
) -> list[list[float]]:
    """[run] -> ms of its calls. In a round every run has its turn, in odd rounds from the last to the first.

    After `enough_s` and LEAST_ROUNDS no other round begins; `report` is called after each, and for those left out.
    The first call of a turn is left out where there are more, since the run before has left its own weights in the cache.
    What this thread waited for a core that another process had is taken off, as far as the system knows.
    """
    samples: list[list[float]] = [[] for _ in runs]
    first = perf_counter()
    for turn in range(rounds):
        if turn >= LEAST_ROUNDS and perf_counter() - first > enough_s:
            report()
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
        report()
    return samples


def _waited_ms() -> float:
    """How long this thread has been ready to run and did not (Linux); always 0 on other systems."""
    return int(WAITED.read_text(encoding="ascii").split()[1]) / 1e6 if WAITED.is_file() else 0.0


def _exported(network: ReidNetwork, out: Path, engine: str, batch: int) -> Manifest:
    """`out` and its manifest next to it, for `engine`."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    save_checkpoint(Checkpoint(network.config, weights, {}), out.with_suffix(".pt"))
    with torch.random.fork_rng(devices=[]):
        manifest = onnx_from_checkpoint(out.with_suffix(".pt"), out, ExportOptions((1, batch, batch)))
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
