"""The networks of the latency comparison: vreid's from checkpoints and manifests, and two of random weights that others use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from osnet import OsNet
from peer_engines import Graph, Run, Subject, eager, vreid_engine, write_graph
from torch import nn

from vreid.deploy.export import PixelsToEmbedding
from vreid.deploy.graph import simplified
from vreid.deploy.model import written_and_opened
from vreid.models.checkpoint import fingerprint_of, load_checkpoint, network_from
from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.manifest import Cost, Input, Manifest, Output, read_manifest
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.preprocess import Image, batch_of
from vreid.models.zoo import manifest_path

LARGEST = 32  # pictures at once
PEERS = ("osnet", "resnet50")


@dataclass
class Found:
    """What was given of one embedding space."""

    name: str = ""
    network: ReidNetwork | None = None
    graphs: tuple[Graph, ...] = ()


def subjects_of(models: Sequence[str], folder: Path) -> list[Subject]:
    """One subject for each fingerprint among manifests, bundled names and checkpoints; what lacks a float32 ONNX gets one,
    written to `folder`. Raises Refused."""
    spaces: dict[str, Found] = {}
    for text in models:
        path = Path(text)
        if path.suffix == ".pt":
            stored = load_checkpoint(path)
            space = spaces.setdefault(fingerprint_of(stored), Found())
            space.network = network_from(stored)
            space.name = space.name or (path.parent.name if path.stem in ("best", "last") else path.stem)
        else:
            path = manifest_path(text)
            manifest = read_manifest(path)
            space = spaces.setdefault(manifest.fingerprint, Found())
            graph = Graph(manifest, path.with_name(manifest.engine))
            first = manifest.precision == "fp32"
            space.graphs = (graph, *space.graphs) if first else (*space.graphs, graph)
            space.name = manifest.name if first or not space.name else space.name
    return [_subject(space, folder) for space in spaces.values()]


def peer_subjects(names: Sequence[str], pictures: Sequence[Image], folder: Path) -> list[Subject]:
    """Networks of random weights whose batch norms have seen `pictures`, so that their embeddings differ by picture."""
    found = []
    for name in names:
        if name not in PEERS:
            raise Refused(f"there is no peer '{name}'; choose of {', '.join(PEERS)}")
        torch.manual_seed(0)
        if name == "osnet":
            found.append(lowered("OSNet x1.0", OsNet(), pictures, folder))
        else:
            found.append(lowered("ResNet-50", ReidNetwork(NetworkConfig("resnet50")), pictures, folder))
    return found


def lowered(name: str, network: nn.Module, pictures: Sequence[Image], folder: Path) -> Subject:
    """A network of random weights with the graph that `vreid export` would give it."""
    alike = cast(ReidNetwork, settled(network, pictures))
    return _subject(Found(name, alike), folder)


def settled(network: nn.Module, pictures: Sequence[Image]) -> nn.Module:
    """The same network in eval mode, its batch norms holding the statistics of `pictures`."""
    config = cast(ReidNetwork, network).config
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # of all that is seen, with equal weights
        norm.reset_running_stats()
    with torch.no_grad():
        network.train()(torch.from_numpy(batch_of(pictures, config.height, config.width)))
    for norm in norms:
        norm.momentum = 0.1
    return network.eval()


def reference_of(subject: Subject, threads: int) -> Run:
    """Plain torch, or ONNX Runtime on the float32 graph where no checkpoint was given."""
    if subject.network is None:
        return vreid_engine("onnxruntime", 0)(subject, threads, 1)[0]
    return eager(torch.contiguous_format)(subject, threads, 1)[0]


def _subject(space: Found, folder: Path) -> Subject:
    network, graphs = space.network, space.graphs
    if not graphs or graphs[0].manifest.precision != "fp32":
        if network is None:
            raise Refused(f"{space.name} is given in {graphs[0].manifest.precision} alone; give its checkpoint too")
        graphs = (_graph(space.name, network, folder), *graphs)
    about = graphs[0].manifest
    return Subject(
        space.name, about.input.height, about.input.width, about.cost.params, about.cost.macs, network, graphs
    )


def _graph(name: str, network: ReidNetwork, folder: Path) -> Graph:
    """The exported ONNX with a dynamic batch and its manifest, by the steps of `vreid export`, opened once."""
    config, cost = network.config, total_of(cost_of(network))
    path = folder / f"{name.replace(' ', '-')}.onnx"
    pixels = torch.from_numpy(np.zeros((2, config.height, config.width, 3), np.uint8))
    write_graph(PixelsToEmbedding(network).eval(), pixels, path, dynamic=True)
    manifest = Manifest(
        name=name,
        engine=path.name,
        sha256="0" * 64,  # of nothing yet: `opened` writes the file and its hash
        backend="onnxruntime",
        precision="fp32",
        input=Input(height=config.height, width=config.width, batch=[1, 8, LARGEST]),
        output=Output(dim=config.dim),
        cost=Cost(params=cost.params, macs=cost.macs, flops=2 * cost.macs),
        accuracy=None,
        match=None,
        fingerprint="of no gallery",
        built_for=None,
        made_from=None,
    )
    return Graph(written_and_opened(simplified(onnx.load(str(path)), 2), manifest, path)[0], path)
