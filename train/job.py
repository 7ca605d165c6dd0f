"""One training: what it is given, and what of that is refused before it begins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.data.records import Dataset, Item, marks_of
from vreid.train.data.sampler import Mix, pk_batches
from vreid.train.data.split import digest_of
from vreid.train.devices import Place, wait
from vreid.train.evaluate import refuse_unfindable
from vreid.train.pruning.costs import Costs
from vreid.train.recipe import Recipe
from vreid.train.steps import Step
from vreid.train.teacher import Targets, Teacher, space_of, targets_of, teacher_of_network

EARLIER = "0.1.0"


@dataclass(frozen=True)
class Start:
    """What a training begins as: a network of the recipe's shape, the digest of the vehicles that its classifier numbers (None:
    those of this training), and the keys (N,) of the pictures that it has learnt from."""

    network: ReidNetwork
    classes: str | None = None
    trained: Tensor | None = None

    def numbers(self, classes: str) -> bool:
        """Whether the network has a classifier of the vehicles of this digest."""
        return self.classes is None or (self.network.config.classes > 0 and self.classes == classes)


@dataclass(frozen=True)
class Job:
    """One training: what to learn, from what, where to, and how to go on.

    `teacher` is for online distillation; `teachers` embed every picture once (`teacher` does, where there are none and the
    recipe distils), but not the sets in `undistilled`, which are learnt from their labels only. `costs` are the engine's, for a
    budget in milliseconds; `start` is what the student begins as, the whole network. `teacher_vehicles` is the digest of
    the vehicles that `teacher` was trained on, where its checkpoint has it: its classifier numbers those; EARLIER where
    an earlier commit trained it. `bfloat16` lets a CPU that can (AVX512-BF16, AMX) multiply in 16 bits, about 1.7 times as fast;
    a GPU always does.
    The leading process calls `on_epoch` with the record of an epoch once that is on disk, `on_step` after every step,
    `on_caching` with a teacher's name, the pictures that it has embedded and how many there are, `on_cached` with the queries
    that all teachers took, `on_missing` with the number of pictures of the first start that a resumed training goes on
    without, and `on_note` with a sentence on how the training begins or goes on. With `change_epochs` a resumed training may
    have another number of epochs than before. `shares` are those of an epoch's groups, one for each of `training` and
    `undistilled` in this order, together 1; none where a set counts by its size.
    """

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
    teachers: Sequence[Teacher] = ()
    undistilled: Sequence[Dataset] = ()
    costs: Costs | None = None
    start: Start | None = None
    teacher_vehicles: str = ""
    bfloat16: bool = False
    change_epochs: bool = False
    shares: tuple[float, ...] = ()
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None
    on_step: Callable[[Step], None] = lambda step: None
    on_caching: Callable[[str, int, int], None] = lambda name, done, of: None
    on_cached: Callable[[int], None] = lambda queries: None
    on_missing: Callable[[int], None] = lambda pictures: None
    on_note: Callable[[str], None] = lambda sentence: None


def refuse_unworkable(job: Job, vehicles: Sequence[str]) -> None:
    """Raises Refused for what cannot be trained, or would spoil it; `vehicles` are those of the training parts."""
    recipe = job.recipe
    if recipe.epochs < 1:
        raise Refused(f"a training has at least one epoch, not {recipe.epochs}; give a higher --epochs")
    if recipe.labels and len(vehicles) < recipe.p:
        raise Refused(f"a batch needs {recipe.p} vehicles and {len(vehicles)} are not held out; add data or lower --p")
    by_class = recipe.inherit or (recipe.online is not None and recipe.online.logits > 0)
    if by_class and job.teacher_vehicles == EARLIER:
        raise Refused(
            "the teacher was trained by an earlier vreid, which chose and numbered its vehicles by the name of the data's folder; "
            "train the teacher again"
        )
    if by_class and job.teacher_vehicles not in ("", digest_of(vehicles)):
        raise Refused(
            "the teacher's classifier knows other vehicles; give both the same --data, --validation, --seed and --fraction, "
            "or first train the teacher further on this --data (vreid train teacher --start)"
        )
    if recipe.capacity is not None and (job.teacher is None or recipe.online is None):
        raise Refused("a student is compressed while it learns from a teacher; give its checkpoint .pt with --teacher")
    if recipe.capacity is not None and job.place.world > 1:
        raise Refused("a student is compressed in one process; start it without torchrun")
    if recipe.capacity is not None and recipe.capacity.shrink and recipe.optimiser != "sgd":
        raise Refused("only SGD's momentum is carried into a narrower network; give --optimiser sgd")
    if recipe.online is not None and job.teacher is None:
        raise Refused("the recipe learns from a teacher at every step; give --teacher")
    if not recipe.labels and sum(len(part.train) for part in job.training) < 2:
        raise Refused("without labels only relations between pictures are learnt; give two pictures or more")
    if not recipe.labels and job.undistilled:
        raise Refused(
            "a set without distillation is learnt from its labels only; learn from labels, or leave the set out"
        )
    if not recipe.labels and job.shares:
        raise Refused("shares are of batches of vehicles; without labels give the data sets without a share")
    if not recipe.labels and (not recipe.distil or not (job.teachers or job.teacher)):
        raise Refused("without labels there is only a teacher to learn from; give --teacher and a recipe that distils")
    if (job.teacher is not None or job.teachers) and not recipe.distil and recipe.online is None:
        raise Refused("the recipe does not learn from a teacher (distil is 0); choose a student's or give no --teacher")
    losses = [recipe.classification, recipe.triplet] if recipe.labels else []
    losses += [recipe.distil] if job.teachers or job.teacher else []
    losses += [recipe.online.logits, recipe.online.blocks, recipe.online.similarity] if recipe.online else []
    if not any(losses):
        raise Refused(
            "the recipe learns from nothing: no loss has a weight; give classification, triplet or distil one"
        )
    refuse_unfindable(job.validation)


def refuse_starved(job: Job, items: Sequence[Item]) -> None:
    """Raises Refused for shares that an epoch of `items`, those of all data sets, cannot have: a set that gives none, or that has
    too few vehicles for its part of a batch."""
    recipe, mix, start = job.recipe, mix_of(job), 0
    batches = pk_batches(items, recipe.p, recipe.k, job.seed, 0, recipe.limit, mix) if mix else []
    seen = {index for batch in batches for index in batch}
    for part, (pictures, share) in zip((*job.training, *job.undistilled), mix, strict=bool(mix)):
        own = range(start, start := start + pictures)
        vehicles = len({items[index].vehicle for index in own})
        if share * recipe.p > vehicles:
            raise Refused(
                f"the share of '{part.name}' is {share:.0%} of a batch of {recipe.p} vehicles, and it has {vehicles}; give it "
                "less, or lower --p"
            )
        if seen.isdisjoint(own):
            raise Refused(
                f"the share of '{part.name}' is too small for an epoch of {len(batches)} batches; give it more, or leave it out"
            )


def mix_of(job: Job) -> Mix:
    """The pictures and the share of each data set, as the sampler takes them; none where there are no shares."""
    if not job.shares:
        return ()
    sets = (*job.training, *job.undistilled)
    return [(len(part.train), share) for part, share in zip(sets, job.shares, strict=True)]


def source_of(job: Job, items: Sequence[Item]) -> dict[str, str | Tensor]:
    """The marks of the pictures (train/data/records.py), a digest of the vehicles, the data sets' shares, and the names of the
    embedding spaces of all teachers; nothing is embedded."""
    spaces = [teacher.space for teacher in job.teachers if job.recipe.distil]
    if job.teacher is not None:
        spaces.append(space_of(job.teacher))
    vehicles = digest_of({item.vehicle for item in items})
    shares = " ".join(f"{share:.6g}" for share in job.shares)
    marks = torch.from_numpy(marks_of(items))
    return {"marks": marks, "vehicles": vehicles, "shares": shares, "teachers": " ".join(spaces)}


def targets_for(job: Job, items: Sequence[Item]) -> Targets:
    """Each teacher's embeddings of every item, rows of zeros for sets without distillation; none without teachers."""
    teachers = _cached_teachers(job)
    if not teachers:
        return Targets([])
    distilled = items[: sum(len(part.train) for part in job.training)]
    if not job.place.leads:
        wait(job.place)  # for the leading process to embed
    rules = job.recipe.cached
    dim = rules.axes(job.recipe.network.dim)
    found = targets_of(teachers, distilled, job.out, rules.whiten, dim, rules.by_camera, job.on_caching)
    if job.place.leads:
        job.on_cached(found.queries)
        wait(job.place)
    rows = [torch.cat([part, part.new_zeros(len(items) - len(distilled), part.shape[1])]) for part in found.rows]
    return replace(found, rows=rows)


def _cached_teachers(job: Job) -> Sequence[Teacher]:
    """The teachers that embed every picture once: where there are none and the recipe distils, that of online distillation."""
    if not job.recipe.distil:
        return ()
    return job.teachers or (() if job.teacher is None else (teacher_of_network(job.teacher),))
