"""Compactors: 1x1 convolutions that begin as the identity and make a network narrower while it learns; inserting and folding them.

ResRep (Ding et al., ICCV 2021, section 3.2) has the compactor; CDD (Xie et al., CVPR 2023; methods.md 1.2) puts one into each
bottleneck, after conv2 and its BN and before the ReLU; DEAP (Pattern Recognition 152, 2024; methods.md 3) one on each side of
conv2. A row of the `far` compactor, the one after, makes an output channel of conv2; a column of the `near` one, before it, takes
an output channel of conv1. A channel whose row or column has a norm of zero can be removed.

Our addition (methods.md 10.5) is the places in networks of inverted residuals (models/mobilenet.py). The papers compress ResNets,
and CDD leaves other architectures (transformers) to future work. There are three kinds: between the BN and the ReLU6 of a block's
expansion, so that with a row go an output of the expansion, a filter of the depthwise convolution and an input of the projection;
the same after the stem, on whose channels the first block works without an expansion; and after the last 1x1 convolution, whose
outputs the head pools. After each of them comes another BN, of the depthwise convolution or of the head, which undoes any scale
of a row: the loss would have no gradient along a row, so that nothing would act against the lasso, and the Taylor score would be
zero. So the output of that BN is multiplied by the norm of the row (`Gate`), and folding puts this factor into the BN.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.places import Place, PlacedBody

EPS = 1e-12
Side = Literal["near", "far"]


class Compactor(nn.Module):
    """x -> Q x over channels. `mask` (C,) is 0 where the task's gradient is reset; it does not change the output."""

    mask: Tensor

    def __init__(self, width: int, side: Side) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.eye(width))  # (out, in)
        self.register_buffer("mask", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, out, h, w)."""
        return nn.functional.conv2d(x, self.weight[:, :, None, None])

    @property
    def dim(self) -> int:
        """The dimension of `weight` that is summed over for a channel's norm: rows for far, columns for near."""
        return 1 if self.side == "far" else 0

    def norms(self) -> Tensor:
        """(C,) the norm of each channel's row (far) or column (near)."""
        return self.weight.pow(2).sum(self.dim).clamp(min=EPS).sqrt()

    def per_channel(self, values: Tensor) -> Tensor:
        """(C,) -> the shape that multiplies `weight` channel by channel."""
        return values[:, None] if self.side == "far" else values[None]


class Gate(nn.Module):
    """Multiplies channels by the norms of a far compactor's rows (1 at the start), after a BN that undoes any scale of these."""

    def __init__(self, compactor: Compactor) -> None:
        super().__init__()
        object.__setattr__(self, "compactor", compactor)  # not as a submodule: its weight is a parameter once

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) or (B, C, h, w) -> the same shape."""
        norms = cast(Compactor, self.compactor).norms().to(x.dtype)
        return x * norms.reshape(-1, *(1,) * (x.ndim - 2))


@dataclass(frozen=True)
class Site:
    """A place with its compactors (`near` is None where there is only one) and the layers that it names."""

    place: Place
    far: Compactor
    near: Compactor | None
    conv: nn.Conv2d
    norm: nn.BatchNorm2d
    reader: nn.Conv2d | nn.Linear
    channelwise: tuple[nn.Module, ...]
    before: tuple[nn.Conv2d, nn.BatchNorm2d] | None

    def compactors(self) -> Iterator[Compactor]:
        """Near (if any), then far."""
        if self.near is not None:
            yield self.near
        yield self.far

    def read_norms(self) -> Iterator[tuple[Compactor, nn.BatchNorm2d]]:
        """Each compactor with the BN whose output it reads, near (through a ReLU), then far."""
        if self.near is not None and self.before is not None:
            yield self.near, self.before[1]
        yield self.far, self.norm

    def widths(self, near: int, far: int) -> tuple[int, ...]:
        """What the place's `kinds` are with so many channels kept; without a near compactor that width stays as it is."""
        if self.before is None:
            return (far,)
        return (self.before[0].out_channels if self.near is None else near, far)


def places_of(network: ReidNetwork) -> list[Place]:
    """Where compactors may stand in a network, in order of execution; nowhere in a body that names no place."""
    return network.body.places() if isinstance(network.body, PlacedBody) else []


def insert(network: ReidNetwork, both_sides: bool = False) -> list[Site]:
    """Put a compactor, an identity, at every far place, and with `both_sides` at every near one.

    The network's output does not change. Raises Refused for a body without such places, or that has compactors.
    """
    places = places_of(network)
    if not places:
        raise Refused(
            f"{network.config.body} has no place for compactors; choose a ResNet, MobileNetV2 or EfficientNet-Lite"
        )
    if sites(network):
        raise Refused("the network already has compactors; fold it first")
    for place in places:
        conv = cast(nn.Conv2d, network.get_submodule(place.conv))
        far = Compactor(conv.out_channels, "far").to(conv.weight.device)
        _put(network, place.far, far)
        if place.gate:
            _put(network, place.gate, Gate(far))
        if both_sides and place.near:
            _put(network, place.near, Compactor(conv.in_channels, "near").to(conv.weight.device))
    return sites(network)


def _put(network: ReidNetwork, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(network.get_submodule(parent), last, module)


def sites(network: ReidNetwork) -> list[Site]:
    """Every place that has a compactor, first to last."""
    found = []
    for place in places_of(network):
        far, near = (network.get_submodule(name) if name else None for name in (place.far, place.near))
        if isinstance(far, Compactor):
            get = network.get_submodule
            found.append(
                Site(
                    place,
                    far,
                    near if isinstance(near, Compactor) else None,
                    cast(nn.Conv2d, get(place.conv)),
                    cast(nn.BatchNorm2d, get(place.norm)),
                    cast("nn.Conv2d | nn.Linear", get(place.reader)),
                    tuple(get(name) for name in place.channelwise),
                    cast("tuple[nn.Conv2d, nn.BatchNorm2d] | None", place.before and tuple(map(get, place.before))),
                )
            )
    return found


def gone_of(compactor: Compactor, threshold: float, masked: bool = False) -> Tensor:
    """(C,) bool: channels of a norm under `threshold`, with `masked` also those whose mask is 0, whatever is left of them."""
    gone = compactor.norms().detach() < threshold
    return gone | (compactor.mask == 0) if masked else gone


def kept_of(compactor: Compactor, multiple: int, gone: Tensor) -> Tensor:
    """(K,) channels to keep, rising: all but those in `gone` (C,) bool, at least one, rounded up to `multiple` by the
    strongest of the others."""
    norms = compactor.norms().detach()
    count = rounded_up(int((~gone).sum()), len(norms), multiple)
    order = norms.argsort(descending=True, stable=True)
    order = order[gone[order].int().argsort(stable=True)]  # those that stay first, then the strongest of the others
    return order[:count].sort().values


def rounded_up(alive: int, width: int, multiple: int) -> int:
    """How many of `width` channels are kept when `alive` of them must stay: at least one, and a multiple where there is room."""
    return min(width, -(-max(1, alive) // multiple) * multiple)


def fold(network: ReidNetwork, threshold: float = 1e-5, multiple: int = 1, masked: bool = False) -> ReidNetwork:
    """An ordinary, narrower network that computes what `network` does in eval mode, up to the channels under `threshold`.

    Per site (methods.md 1.6 and 3): the BN and both compactors are merged into the convolution between them, whose BN is left
    with the bias only; the convolution before loses the outputs of dropped columns, the one after the inputs of dropped
    rows, and a depthwise one between the two its filters. `network` itself is not changed. Widths are rounded up to
    `multiple`; `masked` as in `gone_of`. Raises Refused for a network without compactors.
    """
    if not sites(network):
        raise Refused("the network has no compactors to fold")

    def keep(compactor: Compactor) -> Tensor:
        return kept_of(compactor, multiple, gone_of(compactor, threshold, masked))

    weights, widths = dict(network.state_dict()), []
    for site in sites(network):
        columns, rows = None if site.near is None else keep(site.near), keep(site.far)
        for name in (site.place.far, site.place.near):
            for key in ("weight", "mask"):
                weights.pop(f"{name}.{key}", None)
        weights.update(_folded(site, columns, rows))
        widths.append(site.widths(0 if columns is None else len(columns), len(rows)))
    narrow = resized(network, widths).to(next(network.parameters()).device)
    narrow.load_state_dict(weights)
    return narrow.train(network.training)


def resized(network: ReidNetwork, widths: Sequence[Sequence[int]]) -> ReidNetwork:
    """A new ordinary network like `network`, but with these widths at its places (places.py)."""
    options = network.config.options | cast(PlacedBody, network.body).options_for(widths)
    return ReidNetwork(replace(network.config, options=options))


@torch.no_grad()
def _folded(site: Site, columns: Tensor | None, rows: Tensor) -> dict[str, Tensor]:
    """New tensors of a site's layers by their names in the network."""
    place, norm = site.place, site.norm
    scale = norm.weight / (cast(Tensor, norm.running_var) + norm.eps).sqrt()
    weight = site.conv.weight.double() * scale[:, None, None, None]
    bias = (norm.bias - cast(Tensor, norm.running_mean) * scale).double()
    far = site.far.weight.double()[rows]  # (K, C)
    weight, bias = torch.einsum("kc,cihw->kihw", far, weight), far @ bias
    found: dict[str, Tensor] = {}
    if site.near is not None and columns is not None:
        weight = torch.einsum("kihw,ij->kjhw", weight, site.near.weight.double()[:, columns])
        for name, module in zip(place.before or (), site.before or (), strict=True):
            found |= _taken(name, module, columns)
    found[f"{place.conv}.weight"] = weight.float()
    found |= _taken(place.norm, _bias_only(bias.float(), norm.eps), torch.arange(len(rows), device=bias.device))
    for name, module in zip(place.channelwise, site.channelwise, strict=True):
        found |= _taken(name, module, rows)
    if place.gate:
        for key in ("weight", "bias"):
            found[f"{place.channelwise[-1]}.{key}"] *= site.far.norms()[rows]
    found[f"{place.reader}.weight"] = site.reader.weight[:, rows]
    return {key: value.detach().clone() for key, value in found.items()}


def _bias_only(bias: Tensor, eps: float) -> nn.BatchNorm2d:
    """A BN that in eval mode only adds `bias`."""
    norm = nn.BatchNorm2d(len(bias), eps=eps).to(bias.device)
    norm.bias.copy_(bias)
    cast(Tensor, norm.running_var).fill_(1 - eps)
    return norm


def _taken(name: str, module: nn.Module, kept: Tensor) -> dict[str, Tensor]:
    """The state of a BN or a convolution for the outputs `kept`, by its names in the network."""
    state = {key: value if value.ndim == 0 else value[kept] for key, value in module.state_dict().items()}
    return {f"{name}.{key}": value for key, value in deepcopy(state).items()}
