"""What the sites of a network cost, by the widths that are kept: MACs or parameters, counted, or milliseconds, measured."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused, shown
from vreid.models.files import write_atomic
from vreid.models.network import ReidNetwork
from vreid.models.pruning import Site

Unit = Literal["macs", "params", "ms"]


@dataclass(frozen=True)
class SiteCost:
    """Cost of a site: near * a + near * far * b + far * c, of the widths before and after its convolution.

    `c` has everything that goes with a row: a depthwise convolution's filter as well as an input of the layer that reads it.
    Where there is no near compactor, `near` counts as 1, `a` and `b` are 0, and the convolution's own cost is in `c`.
    """

    a: float
    b: float
    c: float

    def of(self, near: int, far: int) -> float:
        """The cost with that many channels kept."""
        return near * self.a + near * far * self.b + far * self.c


@dataclass(frozen=True)
class Costs:
    """The costs of a network: `rest` is what no compactor changes, `sites` are those of the sites from first to last, `full` the
    sites' widths (near, far) before anything is dropped; `engine` is where milliseconds were measured ("": not known)."""

    unit: Unit
    rest: float
    sites: tuple[SiteCost, ...]
    full: tuple[tuple[int, int], ...]
    engine: str = ""

    def of(self, widths: Sequence[tuple[int, int]]) -> float:
        """The cost of the whole network with these (near, far) widths."""
        return self.rest + sum(site.of(*kept) for site, kept in zip(self.sites, widths, strict=True))

    def whole(self) -> float:
        """The cost of the whole network before anything is dropped."""
        return self.of(self.full)


def widths_of(sites: Sequence[Site]) -> list[tuple[int, int]]:
    """(near, far) channels of every site; near is 1 without a near compactor."""
    return [(1 if site.near is None else len(site.near.mask), len(site.far.mask)) for site in sites]


def costs_of(network: ReidNetwork, sites: Sequence[Site], unit: Unit) -> Costs:
    """Exact costs in `unit` (macs or params) of the folded network, counted as models/cost.py counts. Raises Refused for ms."""
    if unit not in ("macs", "params"):
        raise Refused(f"a budget is counted in macs or params, not {unit!r}; milliseconds have to be measured")
    layers = cost_of(network)
    measured: dict[str, int] = {}
    for layer in layers:
        measured[layer.name] = layer.macs if unit == "macs" else layer.params
    whole = float(total_of(layers).macs if unit == "macs" else sum(measured.values()))
    found = []
    for site, (near, far) in zip(sites, widths_of(sites), strict=True):
        place, own = site.place, float(measured[site.place.conv])
        follows = float(sum(measured[name] for name in (place.norm, *place.channelwise, place.reader)))
        if site.near is None:
            found.append(SiteCost(0.0, 0.0, (own + follows) / far))
        else:
            before = float(sum(measured[name] for name in place.before or ()))
            found.append(SiteCost(before / near, own / (near * far), follows / far))
        if unit == "params":  # a compactor has weights while it learns, which are folded away
            whole -= sum(compactor.weight.numel() for compactor in site.compactors())
    rest = whole - sum(cost.of(*kept) for cost, kept in zip(found, widths_of(sites), strict=True))
    return Costs(unit, rest, tuple(found), tuple(widths_of(sites)))


def write_costs(costs: Costs, path: Path) -> None:
    """Write them as JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(asdict(costs)))


def read_costs(path: Path) -> Costs:
    """Read what `write_costs` wrote; Refused names a file that it did not."""
    try:
        found = TypeAdapter(Costs).validate_json(path.read_bytes())
        if not 0 < found.whole() < math.inf:
            raise ValueError("the whole network costs nothing, or is not a number")
    except (OSError, ValueError) as error:
        words = shown(" ".join(str(error).split()), 120)
        raise Refused(f"{path} holds no costs ({words}); move it away to have them measured again") from error
    return found
