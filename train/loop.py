"""The training loop: epochs over P x K batches, AMP on GPUs, averaged weights, validation, and what is kept."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vreid.models.checkpoint import Checkpoint, load_checkpoint
from vreid.models.errors import Refused
from vreid.train.data.pictures import Pictures, loader_of
from vreid.train.data.records import Item, keys_of
from vreid.train.data.sampler import Draw, drawing
from vreid.train.data.split import cameras_of, digest_of, join, sets_of
from vreid.train.devices import Place, TrainingGraphRunner, in_step, share_of, wait
from vreid.train.evaluate import validated
from vreid.train.folder import (
    Folder,
    locked_folder,
    missing_of,
    open_folder,
    plain,
    refuse_other,
    state_in,
    unfit,
    write_epoch,
)
from vreid.train.job import Job, Start, mix_of, refuse_starved, refuse_unworkable, source_of, targets_for
from vreid.train.optimise import autocast_dtype, losses_of, rate_at, set_rate
from vreid.train.pruning.controller import progress_of
from vreid.train.recipe import Recipe, side_at
from vreid.train.steps import Step
from vreid.train.student import Student

SWA_BATCHES = 64  # that the batch norms of the mean weights see
FOLDED_BATCHES = 16  # that the batch norms of a folded network see, before it goes on learning


def train(job: Job) -> Checkpoint:
    """Run (or go on with) a training; returns the checkpoint in out/best.pt: the best by validation mAP, or of a student that is
    compressed the newest.

    out/ holds best.pt, last.pt (with the optimiser, for --resume) and log.jsonl. On CPU a resumed run equals an
    uninterrupted one bit for bit: batches and augmentation are pure functions of seed, epoch and place. With other epochs
    than before it goes on with the learning rates of a training of that many.
    With several processes the files are rank 0's, running statistics of the batch norms included; `out` must be on a
    disk that all of them see. Raises Refused for data or settings that cannot work, as far as it is known before.
    """
    recipe, place = job.recipe, job.place
    items = join((*job.training, *job.undistilled))
    vehicles = sorted({item.vehicle for item in items})
    refuse_unworkable(job, vehicles)
    refuse_starved(job, items)
    folder = open_folder(job.out, job.resume)
    begun = job.start
    student = Student(
        recipe,
        len(vehicles) if recipe.labels else 0,
        place.device,
        job.seed,
        job.weights,
        job.teacher,
        job.costs,
        None if begun is None else begun.network,
        begun is None or begun.numbers(digest_of(vehicles)),
        sets_of(cameras_of(items)),
    )
    source = source_of(job, items)
    note = "" if begun is None or begun.classes is None else _begun(recipe, begun, digest_of(vehicles))
    if state := state_in(folder, recipe, student.network.config, job.seed, source, job.change_epochs):
        try:
            student.restore(state)
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise unfit(folder) from error
        note = _going_on(recipe, student.epoch, state["epochs"])
        if (missing := missing_of(state, source)) and place.leads:
            job.on_missing(missing)
    with locked_folder(folder, student.epoch) if place.leads else nullcontext():
        targets = targets_for(job, items)
        source["answers"] = targets.digest
        refuse_other(folder, state, source)
        if note and place.leads:
            job.on_note(note)
        before = (None if begun is None else begun.trained, None if state is None else state["trained"])
        trained = np.unique(np.concatenate([keys_of(items), *(keys.numpy() for keys in before if keys is not None)]))
        return _learnt(job, student, folder, items, vehicles, targets.rows, source, torch.from_numpy(trained), note)


def _begun(recipe: Recipe, start: Start, classes: str) -> str:
    """A sentence on what a training takes of the checkpoint that it begins as."""
    shape = recipe.network
    whole = f"the checkpoint's network ({shape.body}, {shape.height}x{shape.width} pixels, {shape.dim} dimensions)"
    if not recipe.labels:
        return f"the training begins as {whole}, without a classifier, since there are no labels"
    if start.numbers(classes):
        return f"the training begins as {whole}, its classifier too, since the vehicles are the same"
    why = "the vehicles are others" if start.network.config.classes else "it has none"
    return f"the training begins as {whole}, with a new classifier, since {why}"


def _going_on(recipe: Recipe, done: int, before: int) -> str:
    """A sentence on a resumed training that is done, or has other epochs than before; "" for one that just goes on."""
    if recipe.epochs != before:
        return (
            f"the training goes on after epoch {done} to epoch {recipe.epochs} instead of {before}; its learning rate is from "
            f"here on that of a training of {recipe.epochs} epochs, {rate_at(recipe, done):.3g} at the start of epoch {done + 1}"
        )
    if done >= recipe.epochs:
        return f"the training is done, {done} of {recipe.epochs} epochs; to train longer give --resume and a higher --epochs"
    return ""


def _learnt(
    job: Job,
    student: Student,
    folder: Folder,
    items: Sequence[Item],
    vehicles: Sequence[str],
    targets: Sequence[Tensor],
    source: Mapping[str, str | Tensor],
    trained: Tensor,
    note: str,
) -> Checkpoint:
    """The epochs that are left, the first of them with `note` in its record; returns the best checkpoint. `trained` (N,) are the
    keys of all pictures that the network has learnt from then."""
    recipe, place = job.recipe, job.place
    numbers = {vehicle: number for number, vehicle in enumerate(vehicles)}
    places = {camera: number for number, camera in enumerate(cameras_of(items))}
    labels = torch.tensor([[numbers[item.vehicle], places[item.camera]] for item in items])
    most = 2 * max(recipe.network.height, recipe.network.width)
    pictures = Pictures(items, recipe.augmentation, job.seed, most)
    draw = drawing(recipe, items, targets, job.seed, mix_of(job))
    _refuse_short(recipe, recipe.epochs * len(draw(0)))
    if student.epoch == 0 and (job.start is not None or recipe.inherit):
        pictures.start(0, side_at(recipe, student.at(0)))
        student.measure_folded(loader_of(pictures, draw(0)[:FOLDED_BATCHES], 0, job.workers))
    network = _runner(student, place)
    for epoch in range(student.epoch, recipe.epochs):
        record, pixels = _epoch(job, student, network, pictures, labels, targets, draw, epoch)
        if note:
            record["note"], note = note, ""
        student.epoch = epoch + 1
        if student.epoch < recipe.epochs and student.shrink(pixels):
            network = _runner(student, place)
        if place.leads:
            if recipe.swa:
                student.average_epoch(loader_of(pictures, draw(epoch)[:SWA_BATCHES], 0, job.workers))
            _keep(job, student, folder, record, epoch, digest_of(vehicles), source, trained)
            job.on_epoch(record)
        wait(place)
    return load_checkpoint(folder.best)


def _refuse_short(recipe: Recipe, steps: int) -> None:
    """Raises Refused for a training of so few steps that none of them meets the recipe's budget."""
    budget = None if recipe.capacity is None else recipe.capacity.budget
    if budget is not None and 0 <= steps - 1 < budget.until * steps:
        raise Refused(
            f"the budget is met at {budget.until:.0%} of the training, after the last of its {steps} steps; give more --epochs or "
            "data, or a lower capacity.budget.until"
        )


def _runner(student: Student, place: Place) -> TrainingGraphRunner:
    without_hooks = student.teacher is None or not student.teacher.pools
    return TrainingGraphRunner(in_step(student.network, place), capturable=place.world == 1 and without_hooks)


def _epoch(
    job: Job,
    student: Student,
    network: TrainingGraphRunner,
    pictures: Pictures,
    labels: Tensor,
    targets: Sequence[Tensor],
    draw: Draw,
    epoch: int,
) -> tuple[dict[str, Any], Tensor]:
    """One epoch over this process's share of the batches; returns its record and the pixels of its last batch. `network`
    is the student's, in step; `draw` gives an epoch's batches; labels (N, 2) are the items' vehicles and cameras."""
    recipe, device = job.recipe, job.place.device
    began = time.monotonic()
    batches = share_of(draw(epoch), job.place)
    if not batches:
        raise Refused(f"an epoch has no batch for each of {job.place.world} processes; add data or start fewer")
    pictures.start(epoch, side_at(recipe, student.at(epoch)))
    network.network.train()
    first = job.place.rank * len(batches) * recipe.p * recipe.k
    totals: dict[str, float] = {}
    half = autocast_dtype(device, job.bfloat16)
    for step, (batch, pixels) in enumerate(zip(batches, loader_of(pictures, batches, first, job.workers), strict=True)):
        set_rate(student.optimiser, rate_at(recipe, epoch + step / len(batches)))
        pixels, (truth, cameras) = pixels.to(device), labels[batch].to(device).T
        same = torch.tensor(batch, device=device)
        with torch.autocast(device.type, half, enabled=half is not None):
            features = network(pixels)
            online = {} if student.teacher is None else student.teacher.losses(features, pixels, same)
        cached = [rows[batch].to(device) for rows in targets]
        chance = torch.Generator().manual_seed(((job.seed * 100_003 + epoch) * 1_000_003 + first + step) % 2**63)
        parts = losses_of(recipe, features, truth, cached, same, chance, cameras, student.means) | online
        each = torch.stack(list(parts.values()))
        loss = each.sum()
        student.optimiser.zero_grad(set_to_none=True)
        student.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if recipe.clip or student.compression is not None:
            student.scaler.unscale_(student.optimiser)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(student.network.parameters(), recipe.clip)
        if student.compression is not None:
            at = student.at(epoch + step / len(batches))
            student.compression.after_backward(at, at / recipe.epochs)
        student.scaler.step(student.optimiser)
        student.scaler.update()
        values = each.tolist()  # the last wait for the device in a step, when all of it is on its way
        if not np.isfinite(values).all():
            raise Refused(f"the loss is NaN or infinite in epoch {epoch + 1}; start again with a lower --lr")
        for name, value in zip(parts, values, strict=True):
            totals[name] = totals.get(name, 0.0) + value
        if job.place.leads:  # the average of the others is never looked at
            if recipe.average or step + 1 == len(batches):  # the average of decay 0 is the network itself
                student.average.update_parameters(student.network)
            many = len(batch) * job.place.world
            losses = dict(zip(parts, values, strict=True))
            rate, took = rate_at(recipe, epoch + step / len(batches)), time.monotonic() - began
            job.on_step(Step(epoch + 1, step + 1, len(batches), losses, rate, many, took))
    seconds = time.monotonic() - began
    student.seconds += seconds
    record = {
        "epoch": epoch + 1,
        "size": pictures.size[0],
        "lr": rate_at(recipe, epoch),
        "losses": {name: round(total / len(batches), 4) for name, total in totals.items()},
        "seconds": round(seconds, 1),
    }
    return record, pixels


def _keep(
    job: Job,
    student: Student,
    folder: Folder,
    record: dict[str, Any],
    epoch: int,
    classes: str,
    source: Mapping[str, str | Tensor],
    trained: Tensor,
) -> None:
    """Validate where it is due, and write the epoch; adds the validation to `record`. `classes` is the digest of the vehicles,
    `source` those of the pictures and of the teachers' embeddings, `trained` (N,) the pictures' keys."""
    recipe, size = job.recipe, side_at(job.recipe, student.at(epoch))
    metrics: dict[str, Any] = {
        "recipe": plain(recipe), "seed": job.seed, "epoch": epoch + 1, "classes": classes,
    }  # fmt: skip
    network = student.deployable()
    if student.compression is not None:
        record |= progress_of(student.compression, network)
    score = -1.0
    if job.validation and ((epoch + 1) % recipe.validate_every == 0 or epoch + 1 == recipe.epochs):
        record["validation"] = metrics["validation"] = validated(network, job.validation, size)
        # a score at a smaller input does not compete with one at the final size
        if size == (recipe.network.height, recipe.network.width):
            score = float(np.mean([part["map"] for part in metrics["validation"].values()]))
    # until there is a score, the newest; and of a network that shrinks, the newest, since the best would be the widest
    best = score > student.best or student.best < 0 or student.compression is not None
    student.best = max(student.best, score)
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    write_epoch(
        folder,
        Checkpoint(network.config, weights, metrics, trained=trained),
        {**student.state(), **source},
        record,
        best,
    )
