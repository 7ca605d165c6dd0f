"""Prices in ms are found again from made timings, sum up to the measured whole, and are of graphs that would ship."""

import copy
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxsim")

import onnx
import torch

from vreid.deploy import latency
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.latency import by_turns, costs_from, cuts_of, latencies, latency_costs, narrowed
from vreid.deploy.settings import ExportOptions
from vreid.models.checkpoint import Checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import sha256_of
from vreid.models.manifest import write_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import insert, resized
from vreid.runtime.embedder import open_embedder
from vreid.train.pruning.costs import Costs, SiteCost, widths_of

KINDS = [0, 1, 1, 2]
FULL = [(32, 64), (64, 64), (48, 64), (1, 128)]
PRICES = (SiteCost(0.01, 0.001, 0.02), SiteCost(0.0, 0.003, 0.01), SiteCost(0.0, 0.0, 0.04))
Widths = Sequence[tuple[int, int]]


def made(count: int, seed: int = 0) -> list[Widths]:
    """The full widths, then `count` random ones."""
    random = np.random.default_rng(seed)
    draws = [[(int(random.integers(1, n + 1)), int(random.integers(1, f + 1))) for n, f in FULL] for _ in range(count)]
    return [FULL, *draws]


def config(body: str = "resnet50", scale: float = 0.125) -> NetworkConfig:
    return NetworkConfig(body, 32, 32, 16, options={"scale": scale})


def test_known_costs_are_found_again() -> None:
    truth = Costs("ms", 1.5, tuple(PRICES[kind] for kind in KINDS), tuple(FULL))
    found = costs_from(KINDS, made(40), [truth.of(widths) for widths in made(40)])
    assert found.unit == "ms" and found.rest == pytest.approx(1.5, rel=1e-4)
    for site, true in zip(found.sites, truth.sites, strict=True):
        assert (site.a, site.b, site.c) == pytest.approx((true.a, true.b, true.c), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("whole", [0.5, 5.0, 40.0])
def test_of_noise_the_whole_is_met_and_narrower_is_never_dearer(whole: float) -> None:
    times = [whole, *np.random.default_rng(1).uniform(1, 10, 40).tolist()]
    found = costs_from(KINDS, made(40), times)
    assert found.whole() == found.of(FULL) == pytest.approx(whole)
    assert found.rest >= 0 and all(min(site.a, site.b, site.c) >= 0 for site in found.sites)
    for widths in made(20, seed=2):
        narrower = [(max(1, near // 2), max(1, far - 1)) for near, far in widths]
        assert found.of(narrower) <= found.of(widths) <= whole * (1 + 1e-9)


def test_turns_go_to_and_fro_and_a_first_call_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    lines: list[int] = []
    runs = [lambda place=place: calls.append(place) for place in range(3)]
    monkeypatch.setattr(latency, "TURN_S", 0.0)  # one call a turn
    samples = by_turns(runs, 3, lambda: lines.append(len(calls)))
    assert calls == [0, 1, 2, 2, 1, 0, 0, 1, 2] and lines == [3, 6, 9]
    assert [len(one) for one in samples] == [3, 3, 3]
    monkeypatch.setattr(latency, "TURN_S", 4.0)
    monkeypatch.setattr(latency, "perf_counter", map(float, count()).__next__)  # every look at the clock takes 1 s
    calls.clear()
    samples = by_turns(runs, 2)
    assert len(calls) == 12 and sum(map(len, samples)) == len(calls) - 6


def test_long_rounds_are_cut_short_and_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "TURN_S", 0.0)
    lines: list[int] = []
    (samples,) = by_turns([lambda: None], 25, lambda: lines.append(1), enough_s=0.0)
    assert len(samples) == latency.LEAST_ROUNDS and len(lines) == 25


@pytest.mark.parametrize("body", ["mobilenet_v2", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_a_narrowed_graph_is_the_export_of_the_narrow_network(body: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    wide = ReidNetwork(config(body)).eval()
    for module in wide.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    places = insert(copy.deepcopy(wide), both_sides=True)
    kept = [(1 + near // (2 + n % 3), 1 + far // (2 + n % 2)) for n, (near, far) in enumerate(widths_of(places))]
    narrow = resized(wide, [site.widths(*one) for site, one in zip(places, kept, strict=True)]).eval()
    shapes = {key: value.shape for key, value in narrow.state_dict().items()}
    cut = {key: value[tuple(map(slice, shapes[key]))] for key, value in wide.state_dict().items()}
    for name, state in (("wide", wide), ("narrow", narrow)):
        weights = wide.state_dict() if state is wide else cut
        save_checkpoint(Checkpoint(state.config, weights, {}), tmp_path / f"{name}.pt")
        manifest = onnx_from_checkpoint(tmp_path / f"{name}.pt", tmp_path / f"{name}.onnx", ExportOptions((1, 2, 2)))
    cuts = [cuts_of(site, *one) for site, one in zip(places, kept, strict=True)]
    onnx.save(narrowed(onnx.load(str(tmp_path / "wide.onnx")), ChainMap(*cuts)), str(tmp_path / "made.onnx"))
    about = {"engine": "made.onnx", "sha256": sha256_of(tmp_path / "made.onnx")}
    write_manifest(manifest.model_copy(update=about), tmp_path / "made.json")
    graphs = [onnx.load(str(tmp_path / f"{name}.onnx")).graph for name in ("made", "narrow")]
    kinds = [[(node.op_type, node.name) for node in graph.node] for graph in graphs]
    assert kinds[0] == kinds[1]
    sizes = [{tensor.name: tensor.dims for tensor in graph.initializer} for graph in graphs]
    weights = [
        [list(size[node.input[1]]) for node in graph.node if node.op_type in ("Conv", "MatMul")]
        for size, graph in zip(sizes, graphs, strict=True)
    ]
    assert weights[0] == weights[1]
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8))
    found, expected = (open_embedder(tmp_path / f"{name}.json").embed(pictures) for name in ("made", "narrow"))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("body", "both_sides"),
    [("resnet18", False), ("mobilenet_v2", False), pytest.param("resnet50", True, marks=pytest.mark.slow)],
)
def test_measured_costs_sum_up_and_leave_the_network_as_it_is(body: str, both_sides: bool) -> None:
    network = ReidNetwork(replace(config(body), classes=4)).train()
    sites = insert(network, both_sides)
    before, random = {key: value.clone() for key, value in network.state_dict().items()}, torch.random.get_rng_state()
    lines: list[tuple[int, int]] = []
    costs = latency_costs(network, sites, rounds=1, report=lambda done, total: lines.append((done, total)))
    assert costs.unit == "ms" and costs.full == tuple(widths_of(sites)) and len(costs.sites) == len(sites)
    assert costs.whole() > 0 and costs.rest >= 0
    assert costs.of([(1, 1)] * len(sites)) <= costs.whole()
    assert all((site.a, site.b) == (0, 0) for site in costs.sites) or both_sides
    assert lines == [(1, 1)]
    assert network.training and torch.equal(random, torch.random.get_rng_state())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_sites_of_one_geometry_have_one_cost() -> None:
    network = ReidNetwork(config("resnet18"))
    costs = latency_costs(network, insert(network), rounds=1)
    found = [site.c for site in costs.sites]
    assert found[0] == found[1]  # the only two alike: later stages begin with another stride or other channels


@pytest.mark.slow
def test_a_small_network_is_faster_than_a_large_one() -> None:
    networks = [ReidNetwork(config("resnet18", scale)).eval() for scale in (0.5, 0.125)]
    large, small = latencies(networks, rounds=3)
    assert 0 < small.p50_ms < large.p50_ms and small.p50_ms <= small.p90_ms
    assert 0 < latencies([networks[1]], batch=2, rounds=3)[0].p50_ms < large.p50_ms


def test_wrong_requests_are_refused() -> None:
    network = ReidNetwork(config("resnet18"))
    with pytest.raises(Refused, match="insert compactors"):
        latency_costs(network, [])
    sites = insert(network)
    with pytest.raises(Refused, match="no engine 'abacus'"):
        latency_costs(network, sites, "abacus")
    with pytest.raises(Refused, match="no engine 'abacus'"):
        latencies([network], "abacus")
    with pytest.raises(Refused, match="fold it"):
        latencies([network])
    for wrong in ({"threads": 0}, {"batch": 0}, {"rounds": 0}):
        with pytest.raises(Refused, match="1 or more"):
            latency_costs(network, sites, **wrong)
