"""Teachers that are asked once a picture, and what they say: networks of ours, black boxes, and files of answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from vreid.models.checkpoint import Checkpoint, fingerprint_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.train.asking import Told, ask
from vreid.train.data.records import Item
from vreid.train.evaluate import Embed, embed_with
from vreid.train.projection import fit_rotation, fit_whitening, load_projection, projection_path, save_projection
from vreid.train.told import digest_of_rows, read_features, rows_of


@dataclass(frozen=True)
class Teacher:
    """`name` as the user calls it, `space` names its embedding space; either `embed` answers, or the file `answers` does."""

    name: str
    space: str
    embed: Embed | None = None
    answers: Path | None = None


@dataclass(frozen=True)
class Targets:
    """`rows` K x (N, E_k) float32, the `queries` that they took now, and a `digest` of the answers as they were given."""

    rows: list[Tensor]
    queries: int = 0
    digest: str = ""


def teacher_of_network(network: ReidNetwork, name: str = "teacher") -> Teacher:
    """A network in memory."""
    return Teacher(name, space_of(network), embed_with(network))


def space_of(network: ReidNetwork) -> str:
    """The name of a network's embedding space, as its checkpoint would tell it."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    return fingerprint_of(Checkpoint(network.config, weights, {}))


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
) -> Targets:
    """What each teacher says of every item, whitened to `whiten` axes, or turned to `dim` where it has more; 0 is for neither.

    Answers are kept in folder/teacher-1.npz, teacher-2.npz ... and are not asked for again; a projection is fitted on
    these answers and kept beside them. `told` hears of (teacher, pictures done, of how many).
    """
    found, digests, queries = [], [], 0
    for place, teacher in enumerate(teachers):
        own = folder / f"teacher-{place + 1}.npz"
        if teacher.answers is not None:
            features = read_features(teacher.answers)
            rows = rows_of(features, items, teacher.answers.name)
        elif teacher.embed is not None:
            features = ask(teacher.embed, teacher.space, items, own, told=_named(told, teacher.name))
            rows = rows_of(features, items, own.name)
        else:
            raise Refused(
                f"the teacher {teacher.name} neither answers nor has answered; give a model or a file of answers"
            )
        queries += features.asked
        digests.append(digest_of_rows(features))
        words = f"{teacher.space} {digests[-1]}"
        found.append(_projected(rows, projection_path(own), words, whiten, dim))
    return Targets(found, queries, " ".join(digests))


def _projected(rows: Tensor, path: Path, words: str, whiten: int, dim: int) -> Tensor:
    if not whiten and not 0 < dim < rows.shape[1]:
        return rows
    words += f" {whiten}" if whiten else f" turned to {dim}"
    if path.exists():
        return load_projection(path, words)(rows)
    projection = fit_whitening(rows, whiten) if whiten else fit_rotation(rows, dim)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_projection(projection, path, words)
    return projection(rows)


def _named(told: Callable[[str, int, int], None], name: str) -> Told:
    return lambda done, of: told(name, done, of)
