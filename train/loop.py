"""The training loop: warm-up and cosine, AMP on GPUs, averaged weights, validation, resume."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vreid.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.head import Features
from vreid.models.network import ReidNetwork
from vreid.models.pretrained import imagenet_weights, load_body
from vreid.train.datasets.records import Dataset
from vreid.train.evaluate import evaluate
from vreid.train.losses.classification import classification_loss
from vreid.train.losses.similarity import similarity_loss
from vreid.train.losses.triplet import triplet_loss
from vreid.train.optimise import optimiser_of, rate_at, set_rate
from vreid.train.parallel import Place, share_of
from vreid.train.pictures import Pictures, loader_of
from vreid.train.recipe import Recipe, side_at
from vreid.train.reference import embed_with
from vreid.train.sampler import pk_batches
from vreid.train.datasets.table import join


@dataclass(frozen=True)
class Job:
    """One training: what to learn, from what, where to, and how to go on."""

    recipe: Recipe
    training: Sequence[Dataset]
    validation: Sequence[Dataset]
    out: Path
    place: Place
    seed: int = 0
    workers: int = 0
    resume: bool = False
    weights: str | None = None
    teacher: ReidNetwork | None = None
    say: Callable[[dict[str, Any]], None] = lambda record: None
    watch: Callable[[int, int, int], None] = lambda epoch, step, steps: None


class Student:
    """The state of a training: network, its average, optimiser, epoch and the best so far."""

    def __init__(self, job: Job, classes: int) -> None:
        torch.manual_seed(job.seed)
        recipe, device = job.recipe, job.place.device
        network = ReidNetwork(replace(recipe.network, classes=classes))
        if job.weights is not None:
            load_body(network.body, imagenet_weights(recipe.network.body, job.weights))
        self.network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
        self.optimiser = optimiser_of(self.network, recipe)
        self.scaler = torch.amp.GradScaler("cuda", enabled=device.type == "cuda")
        self.epoch, self.best, self.seconds = 0, -1.0, 0.0

    def state(self) -> dict[str, Any]:
        """Everything that --resume needs, as tensors, numbers and words."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": self.epoch,
            "best": self.best,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.best, self.seconds = state["epoch"], state["best"], state["seconds"]


def train(job: Job) -> Checkpoint:
    """Run (or go on with) a training; returns the best checkpoint by validation mAP, also written to out/best.pt.

    out/ holds best.pt, last.pt (with the optimiser, for --resume) and log.jsonl. On CPU a resumed run equals an
    uninterrupted one bit for bit: batches and augmentation are pure functions of seed, epoch and place.
    """
    items = join(job.training)
    identities = {vehicle: number for number, vehicle in enumerate(sorted({item.vehicle for item in items}))}
    if len(identities) < job.recipe.p:
        raise Refused(f"a batch needs {job.recipe.p} vehicles and the training data has {len(identities)}; add data or lower p")
    labels = torch.tensor([identities[item.vehicle] for item in items])
    last, best = job.out / "last.pt", job.out / "best.pt"
    if last.exists() and not job.resume:
        raise Refused(f"{job.out} already holds a training; continue it with --resume or choose another --out")
    student = Student(job, len(identities))
    if job.resume and last.exists():
        stored = load_checkpoint(last)
        if stored.config != student.network.config or stored.training is None:
            raise Refused(f"{last} is of another recipe or other data; resume with those of the first start")
        student.restore(stored.training)
    pictures = Pictures(items, job.recipe.augmentation, job.seed, 2 * max(job.recipe.network.height, job.recipe.network.width))
    job.out.mkdir(parents=True, exist_ok=True)
    for epoch in range(student.epoch, job.recipe.epochs):
        record = _epoch(job, student, pictures, labels, epoch)
        student.epoch = epoch + 1
        if not job.place.leads:
            continue
        metrics: dict[str, Any] = {"recipe": _plain(job.recipe), "seed": job.seed, "epoch": epoch + 1}
        due = (epoch + 1) % job.recipe.validate_every == 0 or epoch + 1 == job.recipe.epochs
        if job.validation and due:
            record["validation"] = validated(student.average.module, job.validation, side_at(job.recipe, epoch))
            metrics["validation"] = record["validation"]
        score = float(np.mean([part["map"] for part in record["validation"].values()])) if "validation" in record else -1.0
        # a score at a smaller input does not compete with one at the final size
        final_size = side_at(job.recipe, epoch) == (job.recipe.network.height, job.recipe.network.width)
        kept = Checkpoint(student.network.config, _weights(student.average.module), metrics)
        if (score > student.best and final_size) or not best.exists() or not job.validation:
            student.best = score if final_size else student.best
            save_checkpoint(kept, best)
        save_checkpoint(replace(kept, training=student.state()), last)
        with (job.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        job.say(record)
    return load_checkpoint(best)


def _epoch(job: Job, student: Student, pictures: Pictures, labels: Tensor, epoch: int) -> dict[str, Any]:
    """One epoch over this process's share of the batches; returns its record."""
    recipe, device = job.recipe, job.place.device
    began = time.monotonic()
    batches = share_of(pk_batches(pictures.items, recipe.p, recipe.k, job.seed, epoch, recipe.limit), job.place)
    pictures.start(epoch, side_at(recipe, epoch))
    network: nn.Module = student.network.train()
    if job.place.world > 1:
        network = DistributedDataParallel(network)
    first = job.place.rank * len(batches) * recipe.p * recipe.k
    totals: dict[str, float] = {}
    for step, (batch, pixels) in enumerate(zip(batches, loader_of(pictures, batches, first, job.workers), strict=True)):
        set_rate(student.optimiser, rate_at(recipe, epoch + step / len(batches)))
        pixels, truth = pixels.to(device), labels[batch].to(device)
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            parts = losses_of(recipe, network(pixels), truth, pixels, job.teacher)
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            raise Refused(f"the loss is no number in epoch {epoch + 1}; lower lr and go on with --resume")
        student.optimiser.zero_grad(set_to_none=True)
        student.scaler.scale(loss).backward()
        student.scaler.step(student.optimiser)
        student.scaler.update()
        student.average.update_parameters(student.network)
        for name, part in parts.items():
            totals[name] = totals.get(name, 0.0) + float(part.detach())
        job.watch(epoch, step + 1, len(batches))
    student.seconds += time.monotonic() - began
    means = {name: round(total / max(1, len(batches)), 4) for name, total in totals.items()}
    seconds = round(time.monotonic() - began, 1)
    return {"epoch": epoch + 1, "size": pictures.size[0], "lr": rate_at(recipe, epoch), "losses": means, "seconds": seconds}


def losses_of(
    recipe: Recipe, features: Features, truth: Tensor, pixels: Tensor, teacher: ReidNetwork | None
) -> dict[str, Tensor]:
    """The weighted terms of a batch, by name."""
    if features.logits is None:
        raise Refused("a network is trained with a classifier; give it classes")
    parts = {"classification": classification_loss(features.logits.float(), truth, recipe.smoothing)}
    if recipe.triplet:
        parts["triplet"] = recipe.triplet * triplet_loss(features.pooled.float(), truth, recipe.margin)
    if teacher is not None and recipe.distil:
        with torch.no_grad():
            target = teacher(_seen_by(teacher, pixels)).embedding
        parts["distil"] = recipe.distil * similarity_loss(features.embedding, target, recipe.tau)
    return parts


def _seen_by(teacher: ReidNetwork, pixels: Tensor) -> Tensor:
    """The batch at the teacher's own input size."""
    size = (teacher.config.height, teacher.config.width)
    if tuple(pixels.shape[1:3]) == size:
        return pixels
    grown = nn.functional.interpolate(pixels.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
    return grown.permute(0, 2, 3, 1)


def validated(network: nn.Module, parts: Sequence[Dataset], size: tuple[int, int]) -> dict[str, dict[str, float]]:
    """mAP and Rank-1 of every validation part, by name."""
    if not isinstance(network, ReidNetwork):
        raise TypeError("validation needs a ReidNetwork")
    found = {part.name: evaluate(part, embed_with(network, size)) for part in parts}
    return {name: {"map": round(score.map, 2), "rank1": round(score.rank1, 2)} for name, score in found.items()}


def _weights(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}


def _plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON would write it, since a checkpoint holds plain values only."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return plain
