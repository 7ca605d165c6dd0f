"""The teachers of `vreid train student --teacher`: checkpoints, lowered models, and files of answers."""

from collections.abc import Sequence
from pathlib import Path

import torch

from vreid.cli.model import opened
from vreid.models.bundled import is_checkpoint
from vreid.models.checkpoint import Checkpoint, load_checkpoint
from vreid.models.errors import Refused
from vreid.train.recipe import Recipe
from vreid.train.teachers import Teacher, teacher_of_file


def opened_teachers(
    words: Sequence[str], recipe: Recipe, threads: int, device: str
) -> tuple[Checkpoint | None, list[Teacher]]:
    """(the checkpoint that sits beside the student or None, the teachers that are asked once a picture).

    A recipe that learns beside a teacher takes the first checkpoint for it, and asks it too only where it distils.
    """
    if words and not recipe.distil and recipe.beside is None:
        raise Refused("the recipe does not learn from a teacher (distil is 0); choose a student's or give no --teacher")
    beside: Checkpoint | None = None
    asked = []
    for word in words:
        if recipe.beside is not None and beside is None and is_checkpoint(word):
            beside = load_checkpoint(word)
        if not recipe.distil:
            continue
        if word.endswith(".npz"):
            asked.append(teacher_of_file(Path(word)))
        else:
            model = opened(word, threads or torch.get_num_threads(), device)
            asked.append(Teacher(word, model.space, model.embed))
    for place, teacher in enumerate(asked):
        if twins := [other.name for other in asked[:place] if other.space == teacher.space]:
            raise Refused(f"{twins[0]} and {teacher.name} are one teacher; give each once")
    if recipe.beside is not None and beside is None and words:
        raise Refused("the recipe learns beside a teacher at every step; give a checkpoint .pt with --teacher")
    return beside, asked
