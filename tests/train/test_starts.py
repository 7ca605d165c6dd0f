"""A training begins as a whole checkpoint: its weights, its classifier where the vehicles are the same, and what it has learnt."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vreid.models.checkpoint import Checkpoint, is_classifier, load_checkpoint, network_from
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.job import Job, Start
from vreid.train.loop import train
from vreid.train.online import OnlineDistillation

STILL = {"lr": 1e-30, "epochs": 1, "average": 0.0, "weight_decay": 0.0}  # what is kept is what the training began as


@pytest.fixture(scope="module")
def first(begun: Job, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """What is begun as: two epochs of the training."""
    torch.set_num_threads(1)
    done = replace(begun, recipe=replace(begun.recipe, epochs=2), out=tmp_path_factory.mktemp("first") / "run")
    train(done)
    return load_checkpoint(done.out / "last.pt")


def start_of(checkpoint: Checkpoint, classes: str | None) -> Start:
    return Start(network_from(checkpoint, classifier=True), classes, checkpoint.trained)


def learnt(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights that a gradient changes, by name; not the norms' running statistics."""
    names = dict(network_from(checkpoint, classifier=True).named_parameters())
    return {name: checkpoint.weights[name] for name in names}


@pytest.mark.slow
def test_the_same_vehicles_keep_their_classifier(job: Job, first: Checkpoint) -> None:
    heard: list[str] = []
    recipe = replace(job.recipe, **STILL)
    kept = train(replace(job, recipe=recipe, start=start_of(first, first.metrics["classes"]), on_note=heard.append))
    assert all(torch.equal(value, learnt(first)[name]) for name, value in learnt(kept).items())
    network = "the training begins as the checkpoint's network (resnet18, 32x32 pixels, 32 dimensions)"
    assert heard == [f"{network}, its classifier too, since the vehicles are the same"]
    assert '"note"' in (job.out / "log.jsonl").read_text().splitlines()[0]


@pytest.mark.parametrize("classes", ["", "0.1.0", "feedfeedfeedfeed"])
def test_other_vehicles_get_a_new_classifier(job: Job, first: Checkpoint, classes: str) -> None:
    heard: list[str] = []
    fewer = [replace(part, train=tuple(item for item in part.train if item.vehicle != "1")) for part in job.training]
    for number, training in enumerate((job.training, fewer)):  # as many classes and fewer
        recipe = replace(job.recipe, **STILL)
        out = job.out / str(number)
        kept = train(
            replace(
                job, recipe=recipe, training=training, start=start_of(first, classes), out=out, on_note=heard.append
            )
        )
        old = learnt(first)
        same = {name: torch.equal(value, old[name]) for name, value in learnt(kept).items()}
        assert all(same[name] for name in same if not is_classifier(name)) and len(same) > 20
        assert not same["head.classifier.weight"]
    assert len(heard) == 2 and all("with a new classifier, since the vehicles are others" in said for said in heard)


def test_what_it_has_learnt_from_is_kept_over_trainings_and_resumes(
    job: Job, first: Checkpoint, tmp_path: Path
) -> None:
    others = [replace(part, train=tuple(replace(item, key=None) for item in part.train[6:])) for part in job.training]
    again = replace(job, recipe=replace(job.recipe, epochs=2), training=others, start=start_of(first, ""))

    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(again, on_epoch=stop))
    heard: list[str] = []
    kept = train(replace(again, start=None, resume=True, on_note=heard.append))  # its weights are in the folder by now
    assert heard == [] and kept.trained is not None and first.trained is not None
    assert set(kept.trained.tolist()) == set(first.trained.tolist()) and len(kept.trained) == 48
    anew = train(replace(again, start=None, out=tmp_path / "anew"))
    assert anew.trained is not None and len(anew.trained) == 42


def test_without_labels_there_is_no_classifier(job: Job, first: Checkpoint) -> None:
    heard: list[str] = []
    recipe = replace(job.recipe, **STILL, labels=False, distil=1.0)
    teacher = network_from(first, classifier=True)
    kept = train(replace(job, recipe=recipe, start=start_of(first, ""), teacher=teacher, on_note=heard.append))
    assert "head.classifier.weight" not in kept.weights and "there are no labels" in heard[0]
    assert torch.equal(kept.weights["head.embed.weight"], first.weights["head.embed.weight"])
    labelled = replace(job, recipe=replace(job.recipe, **STILL), start=start_of(kept, kept.metrics["classes"]))
    again = train(
        replace(labelled, out=job.out / "labelled", on_note=heard.append)
    )  # the same vehicles, not numbered yet
    assert "with a new classifier, since it has none" in heard[1] and again.config.classes == 8


def test_a_pruned_network_is_learnt_further_as_it_is(job: Job) -> None:
    inner = [[[5], [7]], [[8], [9]], [[10], [11]], [[12], [13]]]
    narrow = NetworkConfig("resnet18", 32, 32, 32, options={"scale": 0.25, "last_stride": 1, "inner": inner})
    torch.manual_seed(1)
    start = Start(ReidNetwork(replace(narrow, classes=3)), "")
    recipe = replace(job.recipe, network=narrow, epochs=2)

    def stop(record: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(job, recipe=recipe, start=start, on_epoch=stop))
    kept = train(replace(job, recipe=recipe, start=start, resume=True))
    assert kept.config.options["inner"] == inner and kept.metrics["epoch"] == 2
    assert not torch.equal(kept.weights["body.conv1.weight"], start.network.state_dict()["body.conv1.weight"])
    wide = ReidNetwork(replace(narrow, classes=8, options={"scale": 0.25, "last_stride": 1}))
    online = replace(
        job, recipe=replace(recipe, online=OnlineDistillation(blocks=0), epochs=1), start=start, teacher=wide
    )
    assert train(replace(online, out=job.out.with_name("online"))).config.options["inner"] == inner
    with pytest.raises(Refused, match="blocks are not as wide as the student's"):
        train(replace(online, recipe=replace(recipe, online=OnlineDistillation()), out=job.out.with_name("never")))
