"""What a training learns from: its pictures, and what the teachers say of them; and digests, so that it goes on with the same."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vreid.train.data.identity import marks_of
from vreid.train.data.records import Item
from vreid.train.data.split import digest_of
from vreid.train.job import Job
from vreid.train.parallel import wait
from vreid.train.teachers import Targets, Teacher, space_of, targets_of, teacher_of_network


def source_of(job: Job, items: Sequence[Item]) -> dict[str, str | Tensor]:
    """The marks of the pictures (train/data/identity.py), a digest of the vehicles, and the names of the embedding spaces of all
    teachers; nothing is asked."""
    spaces = [teacher.space for teacher in job.teachers if job.recipe.distil]
    if job.teacher is not None:
        spaces.append(space_of(job.teacher))
    vehicles = digest_of({item.vehicle for item in items})
    return {"marks": torch.from_numpy(marks_of(items)), "vehicles": vehicles, "teachers": " ".join(spaces)}


def targets_for(job: Job, items: Sequence[Item]) -> Targets:
    """What each teacher says of every item, rows of zeros where it was not asked; none without teachers."""
    teachers = _asked(job)
    if not teachers:
        return Targets([])
    asked = items[: sum(len(part.train) for part in job.training)]
    if not job.place.leads:
        wait(job.place)  # for the leading process to ask
    answers = job.recipe.answers
    dim = answers.axes(job.recipe.network.dim)
    found = targets_of(teachers, asked, job.out, answers.whiten, dim, job.asking)
    if job.place.leads:
        job.asked(found.queries)
        wait(job.place)
    rows = [torch.cat([told, told.new_zeros(len(items) - len(asked), told.shape[1])]) for told in found.rows]
    return replace(found, rows=rows)


def _asked(job: Job) -> Sequence[Teacher]:
    """The teachers that are asked once a picture: where there are none and the recipe distils, the one beside the student."""
    if not job.recipe.distil:
        return ()
    return job.teachers or (() if job.teacher is None else (teacher_of_network(job.teacher),))
