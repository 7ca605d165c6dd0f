"""Teachers that embed every picture once: networks, black boxes, or the files of an earlier run (teacher_cache.py)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from vreid.models.checkpoint import Checkpoint, fingerprint_of
from vreid.models.errors import Refused
from vreid.models.network import ReidNetwork
from vreid.models.preprocess import Embed
from vreid.train.camera_scale import fit_cameras, load_cameras, save_cameras
from vreid.train.data.records import Item
from vreid.train.evaluate import embed_with
from vreid.train.projection import fit_rotation, fit_whitening, load_projection, projection_path, save_projection
from vreid.train.teacher_cache import build_cache, digest_of_rows, read_features, rows_of


@dataclass(frozen=True)
class Teacher:
    """`name` as the user calls it, `space` names its embedding space; it embeds pictures, or has done so in the file `cache`."""

    name: str
    space: str
    embed: Embed | None = None
    cache: Path | None = None


@dataclass(frozen=True)
class Targets:
    """`rows` K x (N, E_k) float32, the `queries` that they took now, and a `digest` of the embeddings as they were given."""

    rows: list[Tensor]
    queries: int = 0
    digest: str = ""


def teacher_of_network(network: ReidNetwork, name: str = "teacher") -> Teacher:
    """A network in memory."""
    return Teacher(name, space_of(network), embed_with(network))


def space_of(network: ReidNetwork) -> str:
    """The name of a network's embedding space, as its checkpoint has it."""
    weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
    return fingerprint_of(Checkpoint(network.config, weights, {}))


def teacher_of_file(path: Path) -> Teacher:
    """A teacher cache; Refused now when the file is not one."""
    return Teacher(path.name, read_features(path).teacher, cache=path)


def targets_of(
    teachers: Sequence[Teacher],
    items: Sequence[Item],
    folder: Path,
    whiten: int = 0,
    dim: int = 0,
    by_camera: bool = False,
    progress: Callable[[str, int, int], None] = lambda name, done, of: None,
) -> Targets:
    """Each teacher's embedding of every item, whitened to `whiten` axes, or turned to `dim` where it has more; 0 is for neither.
    With `by_camera` they are standardised camera by camera before.

    Embeddings are kept in folder/teacher-1.npz, teacher-2.npz ... and not computed again; a projection is fitted on them and
    kept with them. `progress` gets (teacher, pictures done, of how many). Raises Refused for a teacher that can neither embed nor
    has a cache, and where what is kept is of other embeddings.
    """
    found, digests, queries = [], [], 0
    for place, teacher in enumerate(teachers):
        own = folder / f"teacher-{place + 1}.npz"
        if teacher.cache is not None:
            features = read_features(teacher.cache)
            rows = rows_of(features, items, teacher.cache.name)
        elif teacher.embed is not None:
            features = build_cache(teacher.embed, teacher.space, items, own, progress=partial(progress, teacher.name))
            rows = rows_of(features, items, own.name)
        else:
            raise Refused(f"the teacher {teacher.name} has neither a model nor a cache; give one of the two")
        queries += features.queries
        digests.append(digest_of_rows(features))
        words = f"{teacher.space} {digests[-1]}"
        if by_camera:
            rows = _standardised(rows, items, own.with_suffix(".cameras.npz"), words)
            words += " by camera"
        found.append(_projected(rows, projection_path(own), words, whiten, dim))
    return Targets(found, queries, " ".join(digests))


def _standardised(rows: Tensor, items: Sequence[Item], path: Path, words: str) -> Tensor:
    cameras = [item.camera for item in items]
    if path.exists():
        return load_cameras(path, words)(rows, cameras)
    scale = fit_cameras(rows, cameras)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_cameras(scale, path, words)
    return scale(rows, cameras)


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
