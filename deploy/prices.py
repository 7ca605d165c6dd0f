"""The prices of channels in milliseconds: narrow forms of a network to time, and a fit of the prices to their times."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import onnx
from onnx import numpy_helper
from scipy.optimize import nnls

from vreid.models.cost import cost_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.pruning import Site, rounded_up
from vreid.train.pruning.costs import Costs, SiteCost

LEAST_VARIANTS = 30
EXACT = 1e4  # weight of the whole network's row in the fit, where every other row weighs 1

Widths = Sequence[tuple[int, int]]  # (near, far) of every block


def costs_from(kinds: Sequence[int], variants: Sequence[Widths], times: Sequence[float] | np.ndarray) -> Costs:
    """The costs whose sums are nearest to `times` (ms, relative errors squared), none of them negative.

    `kinds` (one per block) names the blocks that share coefficients; the first variant is the whole network, whose time is
    met exactly. Where the near width is always 1, there is no near compactor and a and b are 0.
    """
    took = np.asarray(times, float)
    near, far = np.array(variants, float).transpose(2, 0, 1)  # (V, blocks) each
    sided = (near > 1).any(0)
    terms = np.stack((near * sided, near * far * sided, far))  # (3, V, blocks)
    groups = np.array(kinds)[:, None] == np.arange(max(kinds) + 1)  # (blocks, K)
    columns = np.concatenate([*(terms @ groups), np.ones((len(took), 1))], axis=1)  # (V, 3 K + 1), the last for `rest`
    weights = 1 / took
    weights[0] *= EXACT
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0] = 1
    found, _ = nnls(columns / scale * weights[:, None], took * weights)
    found = (found / scale)[:-1]
    blocks = float(columns[0, :-1] @ found)
    share = min(1.0, float(took[0]) / blocks) if blocks else 1.0
    prices = tuple(SiteCost(*(share * float(price[kind]) for price in found.reshape(3, -1))) for kind in kinds)
    return Costs("ms", float(took[0]) - share * blocks, prices, tuple(variants[0]))


def narrowed(model: onnx.ModelProto, blocks: Mapping[str, Sequence[int]]) -> onnx.ModelProto:
    """A copy of an exported graph whose blocks ("body.layer1.0") give the first of their convolutions' channels only.

    The widths are those of every convolution but the block's last, as in `NetworkConfig.options["inner"]`.
    """
    small = onnx.ModelProto()
    small.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    # the tracer's scopes: /network/body/layer1/layer1.0/conv1/Conv
    convs = {".".join(node.name.split("/")[-3:-1]): node for node in small.graph.node if node.op_type == "Conv"}
    for block, inner in blocks.items():
        for place, (inputs, outputs) in enumerate(pairwise((None, *inner, None)), start=1):
            name = f"{block.removeprefix('body.')}.conv{place}"
            if name not in convs:
                raise Refused(f"the exported graph names no convolution {name}; use another torch version")
            weight, bias = (numpy_helper.to_array(tensors[given]) for given in convs[name].input[1:])
            new = {f"{name}.w": weight[:outputs, :inputs], f"{name}.b": bias[:outputs]}
            convs[name].input[1:] = list(new)
            small.graph.initializer.extend(numpy_helper.from_array(array.copy(), name) for name, array in new.items())
    used = {name for node in small.graph.node for name in node.input}
    kept = [tensor for tensor in small.graph.initializer if tensor.name in used]
    del small.graph.initializer[:], small.graph.value_info[:]  # the shapes inside are the wide ones
    small.graph.initializer.extend(kept)
    return small


def variants_of(kinds: Sequence[int], full: Widths, multiple: int) -> list[list[tuple[int, int]]]:
    """The full widths, then narrow ones: the network's share of its widths rises evenly, and around it those of every kind
    and side are spread evenly in random order, so that wide, narrow and uneven networks are all priced.

    A block has up to `multiple` channels more or less than its kind: an engine that pads to 16 channels makes stairs.
    """
    prices = sum(3 if full[kinds.index(kind)][0] > 1 else 1 for kind in set(kinds))
    many = max(LEAST_VARIANTS, 2 * prices)
    random = np.random.default_rng(0)
    even = (np.arange(many)[:, None, None] + 0.5).repeat(max(kinds) + 1, 1).repeat(2, 2) / many
    own = random.permuted(even, axis=0)[:, list(kinds)]  # (variants, blocks, near and far)
    shares = even[:, :1] + own - 0.5  # under 0 is one `multiple`, over 1 is full
    widths = np.round(shares * np.array(full) + random.uniform(-multiple, multiple, shares.shape)).astype(int)
    kept = [
        [
            (rounded_up(near, block[0], multiple), rounded_up(far, block[1], multiple))
            for (near, far), block in zip(one, full, strict=True)
        ]
        for one in widths.tolist()
    ]
    return [list(full), *kept]


def kinds_of(plain: ReidNetwork, blocks: Sequence[str], sites: Sequence[Site]) -> list[int]:
    """The geometry of every block, numbered from 0: kind, channels in and out, map, strides, and a near width that stays."""
    shapes = {layer.name: layer.shape[1:] for layer in cost_of(plain)}
    seen: dict[tuple[object, ...], int] = {}
    found = []
    for name, site in zip(blocks, sites, strict=True):
        first, last, inner = site.block.unit(1)[0], site.block.unit(-1)[0], site.block.unit(-2)[0]
        stays = inner.in_channels if site.near is None else None
        maps = shapes[f"{name}.conv1"], shapes[f"{name}.conv{site.block.depth}"]
        key = (site.block.depth, first.in_channels, last.out_channels, *maps, first.stride, inner.stride, stays)
        found.append(seen.setdefault(key, len(seen)))
    return found


def inner_of(site: Site, near: int, far: int) -> tuple[int, ...]:
    """The block's entry in `options["inner"]` with these channels kept."""
    if site.block.depth == 2:
        return (far,)
    return (site.block.unit(1)[0].out_channels if site.near is None else near, far)
