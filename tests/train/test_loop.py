"""The loop learns, resumes bit for bit wherever it was cut off, and refuses what would spoil a training."""

import json
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
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.picture import read_picture
from vreid.train.answers import Answers
from vreid.train.augment import Augmentation
from vreid.train.datasets.records import Dataset
from vreid.train.datasets.table import read_dataset
from vreid.train.evaluate import evaluate
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.losses.alignment import alignment_loss
from vreid.train.losses.similarity import similarity_loss
from vreid.train.parallel import Place
from vreid.train.recipe import Recipe
from vreid.train.reference import embed_with
from vreid.train.rotation import fit_rotation
from vreid.train.validation import cut

NETWORK = NetworkConfig("resnet18", 32, 32, 32, options={"scale": 0.125, "last_stride": 1})
RECIPE = Recipe(NETWORK, epochs=4, lr=1e-2, head_lr=1.0, warmup=1, p=4, k=3, average=0.7, validate_every=2)
MILD = Augmentation(pad=0.05, zoom=0.9, light=0.03, gray=0, blur=0, noise=0, erase=0)
CPU = Place(0, 1, torch.device("cpu"))


class CutOffError(Exception):
    """Stands for a power cut."""


@pytest.fixture
def job(shapes: Callable[..., Path], tmp_path: Path) -> Job:
    """12 vehicles, 4 of them held out."""
    training, validation = cut(read_dataset(shapes()), 1 / 3)
    return Job(RECIPE, [training], [validation], tmp_path / "run", CPU)


@pytest.fixture(scope="module")
def whole(shapes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same training, run to its end in one go."""
    torch.set_num_threads(1)
    training, validation = cut(read_dataset(shapes()), 1 / 3)
    done = Job(RECIPE, [training], [validation], tmp_path_factory.mktemp("whole") / "run", CPU)
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
        equal(vars(mine), vars(theirs)) for mine, theirs in zip(*found, strict=True)
    )


def test_it_learns_to_find_vehicles_it_never_saw(job: Job) -> None:
    said: list[dict[str, Any]] = []
    steps: list[tuple[int, int, int]] = []
    recipe = replace(RECIPE, augmentation=MILD)
    kept = train(replace(job, recipe=recipe, say=said.append, watch=lambda *step: steps.append(step)))
    totals = [sum(record["losses"].values()) for record in said]
    assert totals[-1] < 0.8 * totals[0]
    scores = [record["validation"]["shapes"]["map"] for record in said if "validation" in record]
    random = np.random.default_rng(0)

    def guess(images: Any) -> NDArray[np.float32]:
        return random.standard_normal((len(images), 32)).astype(np.float32)

    chance = float(np.mean([evaluate(job.validation[0], guess).map for _ in range(20)]))
    assert 20 < chance < 35 and max(scores) > 1.5 * chance
    assert [record["epoch"] for record in said if "validation" in record] == [2, 4]
    assert steps == [(epoch, step, 4) for epoch in range(4) for step in (1, 2, 3, 4)]
    # best.pt is what was scored: config, weights and metrics, and nothing of the training
    assert kept.metrics["validation"]["shapes"]["map"] == max(scores) and kept.training is None
    assert (kept.metrics["recipe"]["lr"], kept.metrics["seed"], kept.config.classes) == (1e-2, 0, 8)
    again = evaluate(job.validation[0], embed_with(network_from(kept)))
    assert round(again.map, 2) == max(scores)


@pytest.mark.parametrize("moment", [(0, 2), (2, 3), None])
def test_a_training_cut_off_and_resumed_equals_one_that_was_not(
    job: Job, whole: Job, moment: tuple[int, int] | None
) -> None:
    """In the first epoch, within the third, and right after the second."""

    def watch(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == moment:
            raise KeyboardInterrupt

    with pytest.raises((CutOffError, KeyboardInterrupt)):
        train(replace(job, watch=watch, say=stop_after(2 if moment is None else 9)))
    train(replace(job, resume=True))
    assert same_training(job, whole)
    assert {path.name for path in job.out.iterdir()} == {"best.pt", "last.pt", "log.jsonl"}


def test_the_log_of_a_resumed_training_holds_no_epoch_twice(job: Job, whole: Job) -> None:
    with pytest.raises(CutOffError):
        train(replace(job, say=stop_after(3)))
    with (job.out / "log.jsonl").open("a") as log:  # cut off after the log was written and before last.pt
        log.write(json.dumps({"epoch": 4, "losses": {}}) + '\n{"epoch": 4, "los')
    train(replace(job, resume=True))
    assert [record["epoch"] for record in log_of(job)] == [1, 2, 3, 4]
    assert same_training(job, whole)


def test_another_seed_is_another_training(job: Job, whole: Job) -> None:
    train(replace(job, seed=1, recipe=replace(RECIPE, epochs=1)))
    assert log_of(job)[0]["losses"] != log_of(whole)[0]["losses"]


def test_resuming_a_finished_training_gives_its_best(job: Job) -> None:
    short = replace(job, recipe=replace(RECIPE, epochs=1))
    best = train(short)
    before = (job.out / "last.pt").read_bytes()
    assert equal(vars(train(replace(short, resume=True))), vars(best))
    assert (job.out / "last.pt").read_bytes() == before and len(log_of(job)) == 1


def test_another_start_never_overwrites(job: Job) -> None:
    short = replace(job, recipe=replace(RECIPE, epochs=1))
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
    with pytest.raises(Refused, match="cannot make the folder"):
        train(replace(short, out=job.out / "log.jsonl" / "run"))


def test_another_recipe_seed_or_data_is_refused_on_resuming(job: Job) -> None:
    train(replace(job, recipe=replace(RECIPE, epochs=1)))
    again = replace(job, recipe=replace(RECIPE, epochs=1), resume=True)
    everything = read_dataset(job.training[0].train[0].path.parent)
    for other, says in (
        (replace(again, recipe=replace(again.recipe, lr=1e-3, p=5)), "another lr, p; resume with the flags"),
        (replace(again, recipe=replace(again.recipe, network=replace(NETWORK, dim=16))), "another dim"),
        (
            replace(again, recipe=replace(again.recipe, augmentation=replace(RECIPE.augmentation, blur=0))),
            "another blur",
        ),
        (replace(again, seed=1), "another seed"),
        (replace(again, training=[everything]), "other data; resume with the --data of the first start"),
    ):
        with pytest.raises(Refused, match=says):
            train(other)
    save_checkpoint(load_checkpoint(job.out / "best.pt"), job.out / "last.pt")
    with pytest.raises(Refused, match="other data"):
        train(again)


def test_until_the_final_size_is_scored_the_newest_is_kept(job: Job) -> None:
    recipe = replace(RECIPE, sizes=((0.0, 16), (0.75, 32)), validate_every=1)
    epochs: list[int] = []
    best = job.out / "best.pt"
    train(replace(job, recipe=recipe, say=lambda _: epochs.append(load_checkpoint(best).metrics["epoch"])))
    assert epochs == [1, 2, 3, 4]
    assert [record["size"] for record in log_of(job)] == [16, 16, 16, 32]
    assert train(replace(job, recipe=replace(recipe, epochs=2), validation=[], out=job.out / "b")).metrics["epoch"] == 2


def test_a_student_beside_a_teacher_comes_to_see_its_similarities(job: Job) -> None:
    mild = replace(RECIPE, augmentation=MILD)
    teacher = network_from(train(replace(job, recipe=mild, out=job.out.with_name("teacher"))))
    before = [value.clone() for value in teacher.state_dict().values()]
    # of another input size and dimension than the teacher
    network = replace(NETWORK, height=24, width=24, dim=16)
    recipe = replace(mild, network=network, epochs=8, lr=3e-3, distil=10.0, answers=Answers(tau=0.5), triplet=0.0)
    beside = replace(job, recipe=recipe, teacher=teacher)
    alone = replace(job, recipe=recipe, out=job.out.with_name("alone"))
    pictures = [read_picture(item.path) for item in job.training[0].train]
    target = torch.from_numpy(embed_with(teacher)(pictures))
    apart = [
        float(similarity_loss(torch.from_numpy(embed_with(network_from(train(student)))(pictures)), target, 0.5))
        for student in (beside, alone)
    ]
    assert apart[0] < 0.75 * apart[1]
    terms = [record["losses"]["distil"] for record in log_of(beside)]
    assert np.mean(terms[-2:]) < 0.9 * terms[0]
    assert list(log_of(alone)[0]["losses"]) == ["classification"]
    assert all(map(torch.equal, before, teacher.state_dict().values())) and not teacher.training


def test_an_aligned_student_of_fewer_axes_comes_into_its_teachers_space(job: Job) -> None:
    mild = replace(RECIPE, augmentation=MILD)
    teacher = network_from(train(replace(job, recipe=mild, out=job.out.with_name("teacher"))))
    network = replace(NETWORK, dim=NETWORK.dim // 2)
    answers = Answers(by="ranking", form="kl", tau=0.5, mixed=8, align=5.0)
    recipe = replace(mild, network=network, epochs=12, distil=1.0, labels=False, answers=answers)
    pictures = [read_picture(item.path) for item in job.training[0].train]
    target = torch.from_numpy(embed_with(teacher)(pictures))
    apart = []
    for align in (5.0, 0.0):
        out = job.out.with_name(f"aligned{align:g}")
        learning = replace(recipe, answers=replace(answers, align=align))
        student = network_from(train(replace(job, recipe=learning, teacher=teacher, out=out, validation=[])))
        assert (out / "teacher-1.projection.npz").exists() == bool(align)
        turned = fit_rotation(target, network.dim)(target)
        apart.append(alignment_loss(torch.from_numpy(embed_with(student)(pictures)), turned).item())
    assert apart[0] < 0.6 < 0.8 < apart[1]


def test_what_cannot_work_is_refused_before_anything_is_written(job: Job) -> None:
    one = Dataset("one", tuple(item for item in job.training[0].train if item.camera == "c0"), (), ())
    teacher = ReidNetwork(NETWORK)
    out = job.out / "never"
    for wrong, says in (
        (replace(job, recipe=replace(RECIPE, p=9)), "needs 9 vehicles and the training data has 8"),
        (replace(job, recipe=replace(RECIPE, epochs=0)), "at least one epoch, not 0"),
        (replace(job, validation=[cut(one, 0.5)[1]]), "is seen by two cameras"),
        (replace(job, teacher=teacher), "does not learn from a teacher"),
        (replace(job, training=[Dataset("bare", (), (), ())]), "'bare' has no training part"),
    ):
        with pytest.raises(Refused, match=says):
            train(replace(wrong, out=out))
    assert not out.exists()


def test_a_loss_that_is_no_number_ends_the_training(job: Job) -> None:
    with pytest.raises(Refused, match="the loss is no number in epoch"):
        train(replace(job, recipe=replace(RECIPE, optimiser="sgd", lr=1e30)))
