"""What a student learns from a teacher in the loop: its similarities, and its own vectors."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from vreid.models.checkpoint import network_from
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.picture import read_picture
from vreid.train.data.pictures import Augmentation
from vreid.train.evaluate import embed_with
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.losses.outputs import alignment_loss
from vreid.train.losses.relations import similarity_loss
from vreid.train.losses.table import CachedDistillation
from vreid.train.projection import fit_rotation
from vreid.train.teacher import teacher_of_network


def losses_of(job: Job) -> list[dict[str, float]]:
    """The terms of every epoch."""
    return [json.loads(line)["losses"] for line in (job.out / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_student_of_a_teacher_comes_to_see_its_similarities(job: Job, mild: Augmentation) -> None:
    gentle = replace(job.recipe, augmentation=mild)
    teacher = network_from(train(replace(job, recipe=gentle, out=job.out.with_name("teacher"))))
    before = [value.clone() for value in teacher.state_dict().values()]
    # of another input size and dimension than the teacher
    network = replace(job.recipe.network, height=24, width=24, dim=16)
    recipe = replace(
        gentle, network=network, epochs=8, lr=3e-3, distil=10.0, cached=CachedDistillation(tau=0.5), triplet=0.0
    )
    online = replace(job, recipe=recipe, teacher=teacher)
    without = replace(job, recipe=recipe, out=job.out.with_name("without"))
    pictures = [read_picture(item.path) for item in job.training[0].train]
    target = torch.from_numpy(embed_with(teacher)(pictures))
    apart = [
        float(similarity_loss(torch.from_numpy(embed_with(network_from(train(student)))(pictures)), target, 0.5))
        for student in (online, without)
    ]
    assert apart[0] < 0.75 * apart[1]
    terms = [losses["distil"] for losses in losses_of(online)]
    assert np.mean(terms[-2:]) < 0.9 * terms[0]
    assert list(losses_of(without)[0]) == ["classification"]
    assert all(map(torch.equal, before, teacher.state_dict().values())) and not teacher.training


@pytest.mark.slow
def test_an_aligned_student_of_fewer_axes_comes_into_its_teachers_space(job: Job, mild: Augmentation) -> None:
    gentle = replace(job.recipe, augmentation=mild)
    teacher = network_from(train(replace(job, recipe=gentle, out=job.out.with_name("teacher"))))
    network = replace(job.recipe.network, dim=job.recipe.network.dim // 2)
    cached = CachedDistillation(by="ranking", form="kl", tau=0.5, mixed=8, align=5.0)
    recipe = replace(gentle, network=network, epochs=12, distil=1.0, labels=False, cached=cached)
    pictures = [read_picture(item.path) for item in job.training[0].train]
    target = torch.from_numpy(embed_with(teacher)(pictures))
    apart = []
    for align in (5.0, 0.0):
        out = job.out.with_name(f"aligned{align:g}")
        learning = replace(recipe, cached=replace(cached, align=align))
        student = network_from(train(replace(job, recipe=learning, teacher=teacher, out=out, validation=[])))
        assert (out / "teacher-1.projection.npz").exists() == bool(align)
        turned = fit_rotation(target, network.dim)(target)
        apart.append(alignment_loss(torch.from_numpy(embed_with(student)(pictures)), turned).item())
    assert apart[0] < 0.6 < 0.8 < apart[1]


def test_other_teachers_or_answers_are_refused_on_resuming(job: Job) -> None:
    """Without labels the number of vehicles does not matter; and the content of a file may change under its name."""
    network = ReidNetwork(job.recipe.network)
    teachers = []
    for place in range(3):
        torch.manual_seed(place)
        teachers.append(teacher_of_network(ReidNetwork(job.recipe.network), f"teacher {place}"))
    recipe = replace(
        job.recipe, epochs=1, labels=False, distil=1.0, cached=CachedDistillation(by="fusion", fusion="mean")
    )
    begun = replace(job, recipe=recipe, validation=[], teachers=teachers[:2])
    train(begun)
    queries: list[int] = []
    again, part = replace(begun, resume=True, on_cached=queries.append), job.training[0]
    train(again)
    assert queries == [0]
    files = sorted(path.name for path in job.out.iterdir())
    for other, says in (
        (replace(again, teachers=teachers[1::-1]), "other teachers"),
        (replace(again, teachers=teachers), "other teachers"),
        (replace(again, teachers=(), teacher=network), "other teachers"),
        (replace(again, teacher=network), "other teachers"),  # of online distillation
        (replace(again, training=[replace(part, train=part.train[:20])]), "other data"),
    ):
        with pytest.raises(Refused, match=says):
            train(other)
    assert queries == [0] and sorted(path.name for path in job.out.iterdir()) == files
    kept = dict(np.load(job.out / "teacher-1.npz"))
    np.savez(job.out / "teacher-1.npz", **{**kept, "features": kept["features"][::-1]})
    with pytest.raises(Refused, match="other teacher embeddings"):
        train(again)


def test_a_projection_of_other_answers_is_not_taken(job: Job) -> None:
    teacher = teacher_of_network(ReidNetwork(job.recipe.network))
    cached = CachedDistillation(by="fusion", fusion="mean", whiten=4)
    recipe = replace(job.recipe, epochs=1, labels=False, distil=1.0, cached=cached)
    begun, part = replace(job, recipe=recipe, validation=[], teachers=[teacher]), job.training[0]
    train(begun)
    for name in ("last.pt", "best.pt", "teacher-1.npz"):
        (job.out / name).unlink()
    with pytest.raises(Refused, match="was fitted on the features"):
        train(replace(begun, training=[replace(part, train=part.train[1:])]))
