"""The protocols of Whiten-MTD's own tables, for landmarks and near-duplicate videos; vehicles are measured by `vreid eval`.

python bench/score.py landmarks runs/student/best.pt --truth gnd_roxford5k.json --images jpg
python bench/score.py videos vreid-s --truth test_groundtruth --videos videos
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from exact_ranks import distractor_blocks
from landmarks import embedded_landmarks, landmark_scores, multi_scale, read_landmarks
from near_duplicates import read_video_truth, video_features, video_named, video_scores

from vreid.cli import output
from vreid.cli.main import parsed
from vreid.deploy.model import open_model
from vreid.models.errors import Refused, refuse_batch_size, refuse_threads
from vreid.models.zoo import is_checkpoint


@dataclass(frozen=True)
class Common:
    """Flags of both."""

    model: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt, manifest .json, or the name of a bundled model."""
    truth: Path
    """Landmarks: gnd_roxford5k.json or such, made of the pickle by bench/ground_truth_json.py. Videos: SVD's test_groundtruth."""
    threads: int = 1
    """CPU threads."""
    device: str = "auto"
    """Where a checkpoint runs: auto, cpu or cuda."""
    batch: int = 16
    """Pictures at once."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Landmarks(Common):
    """ROxford5k and RParis6k: mAP and mP@k, Easy, Medium and Hard (Radenovic et al., CVPR 2018)."""

    images: Path = Path("jpg")
    """Folder of the pictures."""
    suffix: str = ".jpg"
    """The ending of the pictures' names."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes that a checkpoint sees every picture at, times the picture's own; 1 0.7071 0.5 in the papers."""
    distractors: tyro.conf.UseAppendAction[list[Path]] = field(default_factory=list)
    """Features of pictures that answer no query, .npy, such as the million; given several times, one after the other."""


@dataclass(frozen=True)
class Videos(Common):
    """Near-duplicate videos: mean AP of frame features by chamfer similarity (SVD, ICCV 2019)."""

    videos: Path = Path("videos")
    """Folder in which every video of the truth is a file, or a folder of frames."""
    every: int = 30
    """Of how many frames one is looked at."""
    distractors: Path | None = None
    """Folder of videos that answer no query."""


Args = Annotated[Landmarks, tyro.conf.subcommand("landmarks")] | Annotated[Videos, tyro.conf.subcommand("videos")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Embed, rank and print; 2 where the request is refused."""
    try:
        _score(parsed(Args, "score.py", sys.argv[1:] if arguments is None else arguments))
    except Refused as refused:
        output.error(str(refused))
        return 2
    return 0


def _score(flags: Landmarks | Videos) -> None:
    refuse_batch_size(flags.batch)
    refuse_threads(flags.threads)
    rows = _landmarks(flags) if isinstance(flags, Landmarks) else _videos(flags)
    if flags.json:
        output.document({"model": flags.model, **rows})
        return
    names = list(next(iter(rows.values())))
    output.table(flags.model, ("", *names), [(name, *row.values()) for name, row in rows.items()])


def _landmarks(flags: Landmarks) -> dict[str, dict[str, Any]]:

    truth, distractors = read_landmarks(flags.truth), distractor_blocks(flags.distractors)
    plain = flags.scales == (1.0,)
    embed = open_model(flags.model, flags.threads, flags.device).embed if plain else _at_scales(flags)
    queries, gallery = embedded_landmarks(truth, flags.images, embed, suffix=flags.suffix, batch=flags.batch)
    found = landmark_scores(truth, queries, gallery, distractors=distractors)
    return {name: asdict(score) for name, score in found.items()}


def _at_scales(flags: Landmarks) -> Any:
    """An embedder of the pictures' own sizes, for a checkpoint; a lowered model has one input size."""
    from vreid.models.checkpoint import load_checkpoint, network_from
    from vreid.train.devices import device_of
    from vreid.train.evaluate import embed_with

    if not is_checkpoint(flags.model):
        raise Refused("a lowered model has one input size; give --scales with a checkpoint .pt")
    network = network_from(load_checkpoint(flags.model)).to(device_of(flags.device, 0))
    return multi_scale(lambda images, size: embed_with(network, size)(images), flags.scales)


def _videos(flags: Videos) -> dict[str, dict[str, Any]]:

    truth = read_video_truth(flags.truth)
    embed = open_model(flags.model, flags.threads, flags.device).embed

    def features(path: Path) -> Any:
        return video_features(path, embed, every=flags.every, batch=flags.batch)

    labelled = sorted({name for labels in truth.values() for name in labels})
    queries = {name: features(video_named(flags.videos, name)) for name in truth}
    others: Sequence[Path] = [] if flags.distractors is None else sorted(flags.distractors.iterdir())
    score = video_scores(
        truth,
        queries,
        ((name, features(video_named(flags.videos, name))) for name in labelled),
        distractors=(features(path) for path in others),
    )
    return {"videos": asdict(score)}


if __name__ == "__main__":
    sys.exit(main())
