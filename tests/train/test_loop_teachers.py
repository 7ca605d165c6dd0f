"""What a student learns from a teacher in the loop: its similarities, and its own vectors."""

import json
from dataclasses import replace

import numpy as np
import torch

from vreid.models.checkpoint import network_from
from vreid.models.picture import read_picture
from vreid.train.answers import Answers
from vreid.train.augment import Augmentation
from vreid.train.job import Job
from vreid.train.loop import train
from vreid.train.losses.alignment import alignment_loss
from vreid.train.losses.similarity import similarity_loss
from vreid.train.reference import embed_with
from vreid.train.rotation import fit_rotation


def losses_of(job: Job) -> list[dict[str, float]]:
    """The terms of every epoch."""
    return [json.loads(line)["losses"] for line in (job.out / "log.jsonl").read_text().splitlines()]


def test_a_student_beside_a_teacher_comes_to_see_its_similarities(job: Job, mild: Augmentation) -> None:
    gentle = replace(job.recipe, augmentation=mild)
    teacher = network_from(train(replace(job, recipe=gentle, out=job.out.with_name("teacher"))))
    before = [value.clone() for value in teacher.state_dict().values()]
    # of another input size and dimension than the teacher
    network = replace(job.recipe.network, height=24, width=24, dim=16)
    recipe = replace(gentle, network=network, epochs=8, lr=3e-3, distil=10.0, answers=Answers(tau=0.5), triplet=0.0)
    beside = replace(job, recipe=recipe, teacher=teacher)
    alone = replace(job, recipe=recipe, out=job.out.with_name("alone"))
    pictures = [read_picture(item.path) for item in job.training[0].train]
    target = torch.from_numpy(embed_with(teacher)(pictures))
    apart = [
        float(similarity_loss(torch.from_numpy(embed_with(network_from(train(student)))(pictures)), target, 0.5))
        for student in (beside, alone)
    ]
    assert apart[0] < 0.75 * apart[1]
    terms = [losses["distil"] for losses in losses_of(beside)]
    assert np.mean(terms[-2:]) < 0.9 * terms[0]
    assert list(losses_of(alone)[0]) == ["classification"]
    assert all(map(torch.equal, before, teacher.state_dict().values())) and not teacher.training


def test_an_aligned_student_of_fewer_axes_comes_into_its_teachers_space(job: Job, mild: Augmentation) -> None:
    gentle = replace(job.recipe, augmentation=mild)
    teacher = network_from(train(replace(job, recipe=gentle, out=job.out.with_name("teacher"))))
    network = replace(job.recipe.network, dim=job.recipe.network.dim // 2)
    answers = Answers(by="ranking", form="kl", tau=0.5, mixed=8, align=5.0)
    recipe = replace(gentle, network=network, epochs=12, distil=1.0, labels=False, answers=answers)
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
