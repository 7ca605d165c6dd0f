"""What a block costs as a function of its inner widths, in MACs, parameters, or milliseconds: the prices of a budget."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.files import write_atomic
from vreid.models.network import ReidNetwork
from vreid.models.pruning import Site


@dataclass(frozen=True)
class SiteCost:
    """Cost of a block: near * a + near * far * b + far * c, of the widths before and after its middle convolution.

    Where there is no near compactor, `near` counts as 1 and its part is in the other coefficients.
    """

    a: float
    b: float
    c: float

    def of(self, near: int, far: int) -> float:
        """With that many channels kept."""
        return near * self.a + near * far * self.b + far * self.c


@dataclass(frozen=True)
class Costs:
    """A network's: `rest` is what no compactor can touch, `sites` are the blocks from first to last, `full` their widths
    (near, far) before anything is dropped."""

    unit: str  # macs, params or ms
    rest: float
    sites: tuple[SiteCost, ...]
    full: tuple[tuple[int, int], ...]

    def of(self, widths: Sequence[tuple[int, int]]) -> float:
        """The whole network with these (near, far) widths."""
        return self.rest + sum(site.of(*kept) for site, kept in zip(self.sites, widths, strict=True))

    def whole(self) -> float:
        """The whole network before anything is dropped."""
        return self.of(self.full)


def widths_of(sites: Sequence[Site]) -> list[tuple[int, int]]:
    """(near, far) channels of every block; near is 1 without a near compactor."""
    return [(1 if site.near is None else len(site.near.mask), len(site.far.mask)) for site in sites]


def costs_of(network: ReidNetwork, sites: Sequence[Site], unit: str) -> Costs:
    """Exact costs in `unit` (macs or params) of the folded network, counted as models/cost.py counts."""
    if unit not in ("macs", "params"):
        raise Refused(f"a budget is counted in macs or params, not {unit!r}; milliseconds have to be measured")
    layers = cost_of(network)
    measured: dict[str, int] = {}
    for layer in layers:
        measured[layer.name] = layer.macs if unit == "macs" else layer.params
    whole = float(total_of(layers).macs if unit == "macs" else sum(measured.values()))
    names = {id(module): name for name, module in network.named_modules()}
    found = []
    for site, (near, far) in zip(sites, widths_of(sites), strict=True):
        prefix, depth = names[id(site.block)], site.block.depth
        convs = [float(measured[f"{prefix}.conv{place}"]) for place in range(1, depth + 1)]
        norms = [float(measured[f"{prefix}.bn{place}"]) for place in range(1, depth)]
        if depth == 2:  # basic: both convolutions touch only the far channels
            found.append(SiteCost(0.0, 0.0, (convs[0] + norms[0] + convs[1]) / far))
        elif site.near is None:
            found.append(SiteCost(convs[0] + norms[0], 0.0, (convs[1] + norms[1] + convs[2]) / far))
        else:
            found.append(SiteCost((convs[0] + norms[0]) / near, convs[1] / (near * far), (norms[1] + convs[2]) / far))
        if unit == "params":  # a compactor has weights while it learns, which are folded away
            whole -= sum(compactor.weight.numel() for compactor in site.compactors())
    rest = whole - sum(cost.of(*kept) for cost, kept in zip(found, widths_of(sites), strict=True))
    return Costs(unit, rest, tuple(found), tuple(widths_of(sites)))


def write_costs(costs: Costs, path: Path) -> None:
    """As JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(asdict(costs)))


def read_costs(path: Path) -> Costs:
    """The inverse; Refused names the file when it is not one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sites = tuple(SiteCost(**site) for site in found["sites"])
        return Costs(found["unit"], found["rest"], sites, tuple((near, far) for near, far in found["full"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} holds no costs ({error}); move it away to have them measured again") from error
