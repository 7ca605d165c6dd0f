"""Teachers that are asked once a picture, and what they say: networks of ours, black boxes, and files of answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.datasets.records import Item
from vreid.train.evaluate import Embed
from vreid.train.projection import load_projection, projection_path, save_projection
from vreid.train.reference import embed_with
from vreid.train.rotation import fit_rotation
from vreid.train.told import Told, ask, read_features, rows_of
from vreid.train.whitening import fit_whitening


@dataclass(frozen=True)
class Teacher:
    """`name` as the user calls it, `space` names its embedding space; either `embed` answers, or the file `answers` does."""

    name: str
    space: str
    embed: Embed | None = None
    answers: Path | None = None


def teacher_of_network(network: ReidNetwork, name: str = "teacher") -> Teacher:
    """A network in memory."""
    return Teacher(name, _print_of(network), embed_with(network))


def teacher_of_file(path: Path) -> Teacher:
    """A file made by vreid teach; Refused now when it is none."""
    return Teacher(path.name, read_features(path).teacher, answers=path)


def targets_of(
    teachers: Sequence[Teacher],
    items: Sequence[Item],
    folder: Path,
    whiten: int = 0,
    dim: int = 0,
    told: Callable[[str, int, int], None] = lambda name, done, of: None,
) -> tuple[list[Tensor], int]:
    """K x (N, E_k) float32 what each teacher says of every item, and the queries that it took now.

    It is whitened to `whiten` axes, or turned to `dim` where it has more; 0 is for neither. Answers are kept in
    folder/teacher-1.npz, teacher-2.npz ... and are not asked for again; a projection is fitted on these answers and kept
    beside them. `told` hears of (teacher, pictures done, of how many).
    """
    found, queries = [], 0
    for place, teacher in enumerate(teachers):
        own = folder / f"teacher-{place + 1}.npz"
        if teacher.answers is not None:
            where, features = teacher.answers, read_features(teacher.answers)
        elif teacher.embed is not None:
            where, features = own, ask(teacher.embed, teacher.space, items, own, told=_named(told, teacher.name))
        else:
            raise Refused(
                f"the teacher {teacher.name} neither answers nor has answered; give a model or a file of answers"
            )
        queries += features.asked
        rows = rows_of(features, items, where.name)
        found.append(_projected(rows, projection_path(own), teacher.space, whiten, dim))
    return found, queries


def _projected(rows: Tensor, path: Path, space: str, whiten: int, dim: int) -> Tensor:
    if not whiten and not 0 < dim < rows.shape[1]:
        return rows
    words = f"{space} {len(rows)} {whiten}" if whiten else f"{space} {len(rows)} turned to {dim}"
    if path.exists():
        return load_projection(path, words)(rows)
    projection = fit_whitening(rows, whiten) if whiten else fit_rotation(rows, dim)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_projection(projection, path, words)
    return projection(rows)


def _named(told: Callable[[str, int, int], None], name: str) -> Told:
    return lambda done, of: told(name, done, of)


def _print_of(teacher: ReidNetwork) -> str:
    """Tells one teacher from another: two sums over all its weights."""
    total = sum(float(value.double().sum()) for value in teacher.state_dict().values())
    spread = sum(float(value.double().abs().sum()) for value in teacher.state_dict().values())
    return f"{teacher.config.body} {total!r} {spread!r}"
