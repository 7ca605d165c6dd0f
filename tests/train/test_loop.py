"""The loop learns, resumes bit for bit wherever it was cut off, and refuses what would spoil a training."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vreid.models.checkpoint import load_checkpoint, network_from, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.data.pictures import Augmentation
from vreid.train.data.records import Dataset, Item
from vreid.train.data.sampler import pk_batches
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import embed_with, evaluate
from vreid.train.folder import Folder, locked_folder
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.steps import Step


class CutOffError(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def whole(begun: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same training, run to its end in one go."""
    torch.set_num_threads(1)
    done = replace(begun, out=tmp_path_factory.mktemp("whole") / "run")
    train(done)
    return done


def stop_after(epoch: int) -> Callable[[dict[str, Any]], None]:
    def say(record: dict[str, Any]) -> None:
        if record["epoch"] == epoch:
            raise CutOffError

    return say


def log_of(job: Job) -> list[dict[str, Any]]:
    """The records of the log without the time they took."""
    lines = (job.out / "log.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def equal(one: Any, other: Any) -> bool:
    """Bit for bit, through dicts and lists."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one if key != "seconds")
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def same_training(one: Job, other: Job) -> bool:
    found = [[load_checkpoint(job.out / name) for name in ("last.pt", "best.pt")] for job in (one, other)]
    return log_of(one) == log_of(other) and all(
        equal(vars(first), vars(second)) for first, second in zip(*found, strict=True)
    )


def test_it_learns_to_find_vehicles_it_never_saw(job: Job, mild: Augmentation) -> None:
    said: list[dict[str, Any]] = []
    steps: list[tuple[int, int, int]] = []
    recipe = replace(job.recipe, augmentation=mild)
    kept = train(
        replace(
            job,
            recipe=recipe,
            on_epoch=said.append,
            on_step=lambda step: steps.append((step.epoch - 1, step.number, step.steps)),
        )
    )
    totals = [sum(record["losses"].values()) for record in said]
    assert totals[-1] < 0.8 * totals[0]
    scores = [record["validation"]["shapes"]["map"] for record in said if "validation" in record]
    random = np.random.default_rng(0)

    def guess(images: Any) -> NDArray[np.float32]:
        return random.standard_normal((len(images), 32)).astype(np.float32)

    chance = float(np.mean([evaluate(job.validation[0], guess).map for _ in range(20)]))
    assert 20 < chance < 35 and max(scores) > 1.5 * chance
    assert [record["epoch"] for record in said if "validation" in record] == [2, 4]
    items = job.training[0].train
    batches = [len(pk_batches(items, recipe.p, recipe.k, job.seed, epoch)) for epoch in range(4)]
    assert steps == [(epoch, step, of) for epoch, of in enumerate(batches) for step in range(1, of + 1)]
    # best.pt is what was scored: config, weights and metrics, and nothing of the training
    assert kept.metrics["validation"]["shapes"]["map"] == max(scores) and kept.training is None
    assert (kept.metrics["recipe"]["lr"], kept.metrics["seed"], kept.config.classes) == (1e-2, 0, 8)
    again = evaluate(job.validation[0], embed_with(network_from(kept)))
    assert round(again.map, 2) == max(scores)


def test_a_resumed_training_goes_on_with_the_cameras_means(job: Job, tmp_path: Path) -> None:
    job = replace(job, recipe=replace(job.recipe, cameras=5.0))
    other = replace(job, out=tmp_path / "whole")
    train(other)
    with pytest.raises(CutOffError):
        train(replace(job, on_epoch=stop_after(2)))
    train(replace(job, resume=True))
    assert same_training(job, other) and all("cameras" in record["losses"] for record in log_of(job))


@pytest.mark.parametrize("moment", [(0, 2), (2, 3), None])
def test_a_training_cut_off_and_resumed_equals_one_that_was_not(
    job: Job, whole: Job, moment: tuple[int, int] | None
) -> None:
    """In the first epoch, within the third, and right after the second."""

    def on_step(step: Step) -> None:
        if (step.epoch - 1, step.number) == moment:
            raise KeyboardInterrupt

    with pytest.raises((CutOffError, KeyboardInterrupt)):
        train(replace(job, on_step=on_step, on_epoch=stop_after(2 if moment is None else 9)))
    train(replace(job, resume=True))
    assert same_training(job, whole)
    assert {path.name for path in job.out.iterdir()} == {"best.pt", "last.pt", "log.jsonl"}


def test_the_log_of_a_resumed_training_holds_no_epoch_twice(job: Job, whole: Job) -> None:
    with pytest.raises(CutOffError):
        train(replace(job, on_epoch=stop_after(3)))
    with (job.out / "log.jsonl").open("a") as log:  # cut off after the log was written and before last.pt
        log.write(json.dumps({"epoch": 4, "losses": {}}) + '\n{"epoch": 4, "los')
    train(replace(job, resume=True))
    assert [record["epoch"] for record in log_of(job)] == [1, 2, 3, 4]
    assert same_training(job, whole)


def test_another_seed_is_another_training(job: Job, whole: Job) -> None:
    train(replace(job, seed=1, recipe=replace(job.recipe, epochs=1)))
    assert log_of(job)[0]["losses"] != log_of(whole)[0]["losses"]


def test_resuming_a_finished_training_gives_its_best(job: Job) -> None:
    short = replace(job, recipe=replace(job.recipe, epochs=1))
    best = train(short)
    before = (job.out / "last.pt").read_bytes()
    assert equal(vars(train(replace(short, resume=True))), vars(best))
    assert (job.out / "last.pt").read_bytes() == before and len(log_of(job)) == 1


def test_another_start_never_overwrites(job: Job) -> None:
    short = replace(job, recipe=replace(job.recipe, epochs=1))
    train(short)
    with pytest.raises(Refused, match="already holds a training; continue it with --resume"):
        train(short)
    (job.out / "last.pt").unlink()
    for resume in (False, True):
        with pytest.raises(Refused, match=r"holds best\.pt and no last\.pt"):
            train(replace(short, resume=resume))
    (job.out / "best.pt").unlink()
    train(replace(short, resume=True))  # nothing to go on from: a first start
    assert [record["epoch"] for record in log_of(job)] == [1]
    with pytest.raises(Refused, match="cannot write in the folder"):
        train(replace(short, out=job.out / "log.jsonl" / "run"))


def test_another_recipe_seed_or_data_is_refused_on_resuming(job: Job) -> None:
    train(replace(job, recipe=replace(job.recipe, epochs=1)))
    again = replace(job, recipe=replace(job.recipe, epochs=1), resume=True)
    mine = job.training[0]
    everything = read_dataset(mine.train[0].path.parent)
    for other, says in (
        (replace(again, recipe=replace(again.recipe, lr=1e-3, p=5)), "another lr, p; resume with the flags"),
        (replace(again, recipe=replace(again.recipe, network=replace(job.recipe.network, dim=16))), "another dim"),
        (
            replace(again, recipe=replace(again.recipe, augmentation=replace(job.recipe.augmentation, blur=0))),
            "another blur",
        ),
        (replace(again, seed=1), "another seed"),
        (replace(again, training=[everything]), "other data; resume with the --data of the first start"),
        (
            replace(again, training=[replace(mine, train=mine.train[::2])]),
            "other data: of its 48 pictures 24 are missing",
        ),
        (
            replace(again, training=[replace(mine, train=tuple(replace(i, camera="c9") for i in mine.train))]),
            "48 are new or have changed",
        ),
    ):
        with pytest.raises(Refused, match=says):
            train(other)
    save_checkpoint(load_checkpoint(job.out / "best.pt"), job.out / "last.pt")
    with pytest.raises(Refused, match="other data"):
        train(again)


def test_a_training_goes_on_without_a_few_pictures_and_says_so(job: Job) -> None:
    mine = job.training[0]
    with pytest.raises(CutOffError):
        train(replace(job, on_epoch=stop_after(1)))
    heard: list[int] = []
    train(replace(job, training=[replace(mine, train=mine.train[1:])], resume=True, on_missing=heard.append))
    assert heard == [1] and [record["epoch"] for record in log_of(job)] == [1, 2, 3, 4]


def test_a_training_goes_on_after_its_data_moved(job: Job, whole: Job, tmp_path: Path) -> None:
    """Other folder, other file names: the same pictures and labels are the same data."""
    with pytest.raises(CutOffError):
        train(replace(job, on_epoch=stop_after(2)))

    def moved(dataset: Dataset) -> Dataset:
        def at(items: tuple[Item, ...]) -> tuple[Item, ...]:
            for item in items:
                shutil.copy(item.path, tmp_path / f"other-{item.path.name}")
            return tuple(
                Item(tmp_path / f"other-{item.path.name}", f"00{item.vehicle}", item.camera.replace("c", "cam0"))
                for item in items
            )

        return Dataset("renamed", at(dataset.train), at(dataset.query), at(dataset.gallery))

    parts = {"training": [moved(job.training[0])], "validation": [moved(job.validation[0])]}
    train(replace(job, **parts, resume=True))
    resumed, uninterrupted = (load_checkpoint(one.out / "last.pt") for one in (job, whole))
    assert equal(resumed.weights, uninterrupted.weights)


def test_only_one_process_trains_in_a_folder(job: Job) -> None:
    """The second opens the folder for itself, as a process of its own would."""

    def say(record: dict[str, Any]) -> None:
        with pytest.raises(Refused, match="another process is training in"):
            train(replace(short, resume=True))

    short = replace(job, recipe=replace(job.recipe, epochs=2))
    train(replace(short, on_epoch=say))
    assert [record["epoch"] for record in log_of(job)] == [1, 2]


def test_a_training_that_another_process_has_ended_since_is_not_overwritten(job: Job, whole: Job) -> None:
    shutil.copytree(whole.out, job.out)
    with pytest.raises(Refused, match="already holds a training; continue it"), locked_folder(Folder(job.out), 0):
        pass
    assert log_of(job) == log_of(whole)


@pytest.mark.parametrize(
    "wrong",
    [{"training": {}}, {"training": {"marks": 5}}, {"metrics": {"recipe": 5}}, {"optimiser": None}, {"network": {}}],
)
def test_a_state_that_no_training_left_is_refused(wrong: dict[str, Any], job: Job, whole: Job) -> None:
    shutil.copytree(whole.out, job.out)
    stored = load_checkpoint(job.out / "last.pt")
    known = {"training", "metrics"} & wrong.keys()
    changed = replace(stored, **wrong) if known else replace(stored, training={**(stored.training or {}), **wrong})
    save_checkpoint(changed, job.out / "last.pt")
    longer = replace(job, recipe=replace(job.recipe, epochs=6), resume=True, change_epochs=True)
    with pytest.raises(Refused, match="not a state that a training can go on from; start anew"):
        train(longer)


def test_what_was_cut_off_while_it_was_written_does_not_stay(job: Job, whole: Job) -> None:
    shutil.copytree(whole.out, job.out)
    for name in (".last.7-7.tmp.pt", ".best.7-7.tmp.pt", ".log.7-7.tmp.jsonl"):
        (job.out / name).touch()
    train(replace(job, resume=True))
    assert sorted(path.name for path in job.out.iterdir()) == sorted(path.name for path in whole.out.iterdir())


def test_a_log_of_something_else_is_made_anew(job: Job, whole: Job) -> None:
    shutil.copytree(whole.out, job.out)
    log = job.out / "log.jsonl"
    log.write_bytes(log.read_bytes() + b"\xff\x00{\n" + b"[" * 100_000 + b'\n{"epoch": 1e999}\n')
    train(replace(job, resume=True))
    assert log_of(job) == log_of(whole)


def test_until_the_final_size_is_scored_the_newest_is_kept(job: Job) -> None:
    recipe = replace(job.recipe, sizes=((0.0, 16), (0.75, 32)), validate_every=1)
    epochs: list[int] = []
    best = job.out / "best.pt"
    train(replace(job, recipe=recipe, on_epoch=lambda _: epochs.append(load_checkpoint(best).metrics["epoch"])))
    assert epochs == [1, 2, 3, 4]
    assert [record["size"] for record in log_of(job)] == [16, 16, 16, 32]
    assert train(replace(job, recipe=replace(recipe, epochs=2), validation=[], out=job.out / "b")).metrics["epoch"] == 2


def test_what_cannot_work_is_refused_before_anything_is_written(job: Job) -> None:
    one = Dataset("one", tuple(item for item in job.training[0].train if item.camera == "c0"), (), ())
    teacher = ReidNetwork(job.recipe.network)
    out = job.out / "never"
    for wrong, says in (
        (replace(job, recipe=replace(job.recipe, p=9)), "needs 9 vehicles and 8 are not held out"),
        (replace(job, recipe=replace(job.recipe, classification=0.0, triplet=0.0)), "learns from nothing"),
        (replace(job, recipe=replace(job.recipe, epochs=0)), "at least one epoch, not 0"),
        (replace(job, validation=[cut(one, 0.5)[1]]), "is seen by two cameras"),
        (replace(job, teacher=teacher), "does not learn from a teacher"),
        (replace(job, training=[Dataset("bare", (), (), ())]), "'bare' has no training part"),
    ):
        with pytest.raises(Refused, match=says):
            train(replace(wrong, out=out))
    assert not out.exists()


def test_a_loss_that_is_no_number_ends_the_training(job: Job) -> None:
    with pytest.raises(Refused, match="the loss is NaN or infinite in epoch"):
        train(replace(job, recipe=replace(job.recipe, optimiser="sgd", lr=1e30)))
    assert not job.out.exists() or (job.out / "best.pt").exists()
