"""Teachers: one that sees every augmented batch next to the student, and several that embed every picture once.

Online distillation: the teacher sees the same augmented pixels at every step, and is learnt from in up to three ways. CDD
(CVPR 2023; methods.md 1.3) has the first two, logits and pooled block outputs; the third, the similarities between the
embeddings of a batch, is Whiten-MTD's loss (AAAI 2024) and ranks as retrieval does (methods.md 10.3). Teachers that embed every
picture once are networks, black boxes, or the files of an earlier run (teacher_cache.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from vreid.models.checkpoint import Checkpoint, fingerprint_of
from vreid.models.errors import Refused
from vreid.models.network import Features, ReidNetwork
from vreid.models.preprocess import Embed
from vreid.models.pruning import Compactor, Side, places_of
from vreid.train.camera_scale import fit_cameras, load_cameras, save_cameras
from vreid.train.data.records import Item
from vreid.train.devices import GraphRunner
from vreid.train.evaluate import embed_with
from vreid.train.losses.outputs import blocks_loss, logits_loss
from vreid.train.losses.relations import similarity_loss
from vreid.train.projection import fit_rotation, fit_whitening, load_projection, projection_path, save_projection
from vreid.train.pruning.channels import ChannelMap
from vreid.train.teacher_cache import build_cache, digest_of_rows, read_features, rows_of


class ActivationHooks:
    """Spatial means (B, C) by the number of a place: `before` and `after` its far compactor, and `near`, before its near one.

    In a network without compactors `before` and `after` are both what convolution and BN give. A near compactor drops inputs, so its means are
    of these, each times the norm of its column: what the convolution after it still gets of the channel. They hold the last
    forward pass in training or eval mode, in float32; without `pooled` they hold nothing, which costs nothing.
    """

    def __init__(self, network: ReidNetwork, pooled: bool = True) -> None:
        self.before: dict[int, Tensor] = {}
        self.after: dict[int, Tensor] = {}
        self.near: dict[int, Tensor] = {}
        self.network, self.places = network, places_of(network)
        self._hooks = []
        for number, place in enumerate(self.places if pooled else ()):
            self._hooks.append(network.get_submodule(place.far).register_forward_hook(self._far(number)))
            if place.near:
                self._hooks.append(network.get_submodule(place.near).register_forward_hook(self._near(number)))

    def close(self) -> None:
        """Read no more: two sets of hooks on one network would do everything twice."""
        for hook in self._hooks:
            hook.remove()

    def widths(self) -> list[int]:
        """Channels at every far place."""
        return [cast(nn.Conv2d, self.network.get_submodule(place.conv)).out_channels for place in self.places]

    def _far(self, number: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self.before[number] = _means(inputs[0])
            self.after[number] = _means(output) if isinstance(module, Compactor) else self.before[number]

        return hook

    def _near(self, number: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            means = _means(inputs[0])
            self.near[number] = means * module.norms() if isinstance(module, Compactor) else means

        return hook


def _means(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, C) float32, whatever the autocast."""
    return x.mean((2, 3), dtype=torch.float32)


@dataclass(frozen=True)
class OnlineDistillation:
    """The weights of the terms, 0 for none. `blocks` needs a student of the teacher's network, `logits` one of the same
    vehicles. `teacher_training` leaves the teacher's batch norms in training mode, as the published code of CDD does by
    oversight; it is there for the ablation, and makes the teacher drift."""

    logits: float = 1.0
    blocks: float = 0.5
    similarity: float = 0.0
    tau: float = 0.05
    teacher_training: bool = False


class OnlineTeacher:
    """A teacher in online distillation. `maps` say how the channels that the student has left are made of the
    teacher's (pruning/channels.py); none without compression. The blocks' outputs are pooled where there is a loss on them, or
    `resetting` looks at them."""

    def __init__(
        self, rules: OnlineDistillation, student: ReidNetwork, teacher: ReidNetwork, resetting: bool = True
    ) -> None:
        self.rules, self.teacher, self.pools = rules, teacher, resetting or rules.blocks > 0
        self.student_hooks, self.hooks = ActivationHooks(student, self.pools), ActivationHooks(teacher, self.pools)
        self.maps: Sequence[ChannelMap] = ()
        if rules.blocks and self.student_hooks.widths() != self.hooks.widths():
            raise Refused(
                "the teacher's blocks are not as wide as the student's; give a teacher of the same network, or a recipe "
                "that does not learn from its blocks"
            )
        self.teacher.train(rules.teacher_training)
        self._runner = GraphRunner(teacher)

    def follow(self, student: ReidNetwork) -> None:
        """From now on the student is this network: the one before, or it made narrower."""
        self.student_hooks.close()
        self.student_hooks = ActivationHooks(student, self.pools)

    def pooled(self, number: int, side: Side) -> tuple[Tensor, Tensor]:
        """(B, K), (B, C): what student and teacher gave at that side of the site `number` in the last batch, pooled."""
        if side == "far":
            return self.student_hooks.after[number], self.hooks.after[number]
        return self.student_hooks.near[number], self.hooks.near[number]

    def losses(self, features: Features, pixels: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        """The weighted terms of a batch that the student has just seen; equal `pictures` (B,) are copies of one picture.

        To be called as the student was, in or out of autocast; every term is computed in float32.
        """
        with torch.no_grad():
            teacher = self._runner(pixels)
        parts: dict[str, Tensor] = {}
        with torch.autocast(pixels.device.type, enabled=False):
            if self.rules.logits:
                if features.logits is None or teacher.logits is None or teacher.logits.shape != features.logits.shape:
                    raise Refused(
                        "the teacher was trained on other vehicles; give it and the student the same --data, cut and seed"
                    )
                parts["logits"] = self.rules.logits * logits_loss(features.logits.float(), teacher.logits.float())
            if self.rules.blocks:
                numbers = range(len(self.hooks.places))
                parts["blocks"] = self.rules.blocks * blocks_loss(
                    [self.student_hooks.before[number] for number in numbers],
                    [self._viewed(number) for number in numbers],
                )
            if self.rules.similarity:
                parts["similarity"] = self.rules.similarity * similarity_loss(
                    features.embedding, teacher.embedding, self.rules.tau, pictures
                )
        return parts

    def _viewed(self, number: int) -> Tensor:
        features = self.hooks.before[number]
        return self.maps[number].viewed(features) if self.maps else features


@dataclass(frozen=True)
class Teacher:
    """`name` as the user calls it, `space` names its embedding space; it embeds pictures, or has done so in the file `cache`."""

    name: str
    space: str
    embed: Embed | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Targets:
    """`rows` K x (N, E_k) float32, the `queries` that they took now, and a `digest` of the embeddings as they were given."""

    rows: list[Tensor]
    queries: int = 0
    digest: str = ""


def teacher_of_network(network: ReidNetwork, name: str = "teacher") -> Teacher:
    """A network in memory."""
    return Teacher(name, space_of(network), embed_with(network))


def space_of(network: ReidNetwork) -> str:
    """The name of a network's embedding space, as its checkpoint has it."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    return fingerprint_of(Checkpoint(network.config, weights, {}))


def teacher_of_file(path: Path) -> Teacher:
    """A teacher cache; Refused now when the file is not one."""
    return Teacher(path.name, read_features(path).teacher, cache=path)


def targets_of(
    teachers: Sequence[Teacher],
    items: Sequence[Item],
    folder: Path,
    whiten: int = 0,
    dim: int = 0,
    by_camera: bool = False,
    progress: Callable[[str, int, int], None] = lambda name, done, of: None,
) -> Targets:
    """Each teacher's embedding of every item, whitened to `whiten` axes, or turned to `dim` where it has more; 0 is for neither.
    With `by_camera` they are standardised camera by camera before.

    Embeddings are kept in folder/teacher-1.npz, teacher-2.npz ... and not computed again; a projection is fitted on them and
    kept with them. `progress` gets (teacher, pictures done, of how many).
    """
    found, digests, queries = [], [], 0
    for place, teacher in enumerate(teachers):
        own = folder / f"teacher-{place + 1}.npz"
        if teacher.cache is not None:
            features = read_features(teacher.cache)
            rows = rows_of(features, items, teacher.cache.name)
        elif teacher.embed is not None:
            features = build_cache(teacher.embed, teacher.space, items, own, progress=partial(progress, teacher.name))
            rows = rows_of(features, items, own.name)
        else:
            raise Refused(f"the teacher {teacher.name} has neither a model nor a cache; give one of the two")
        queries += features.queries
        digests.append(digest_of_rows(features))
        words = f"{teacher.space} {digests[-1]}"
        if by_camera:
            rows = _standardised(rows, items, own.with_suffix(".cameras.npz"), words)
            words += " by camera"
        found.append(_projected(rows, projection_path(own), words, whiten, dim))
    return Targets(found, queries, " ".join(digests))


def _standardised(rows: Tensor, items: Sequence[Item], path: Path, words: str) -> Tensor:
    cameras = [item.camera for item in items]
    if path.exists():
        return load_cameras(path, words)(rows, cameras)
    scale = fit_cameras(rows, cameras)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_cameras(scale, path, words)
    return scale(rows, cameras)


def _projected(rows: Tensor, path: Path, words: str, whiten: int, dim: int) -> Tensor:
    if not whiten and not 0 < dim < rows.shape[1]:
        return rows
    words += f" {whiten}" if whiten else f" turned to {dim}"
    if path.exists():
        return load_projection(path, words)(rows)
    projection = fit_whitening(rows, whiten) if whiten else fit_rotation(rows, dim)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_projection(projection, path, words)
    return projection(rows)
