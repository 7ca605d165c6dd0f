"""Near-duplicate videos as SVD scores them: frames of a video, chamfer similarity, mAP over labelled and unlabelled videos."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import av.logging
import numpy as np
from exact_ranks import Doubles, cosines, on_grid, ranks
from landmarks import embedded_images

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Embed, Floats, Image
from vreid.train.data.records import leads_inside, text_of
from vreid.train.evaluate import Ints

VideoTruth = Mapping[str, Mapping[str, bool]]
"""Query -> labelled video -> whether it is a near-duplicate. For a query, videos that it does not label do not exist."""

_STEPS = 2.0**30  # of a frame's best cosine: sums over 2^23 frames stay exact


@dataclass(frozen=True)
class VideoScore:
    """mAP 0-100 over the `queries` with a duplicate; `skipped` had none; videos seen: `labelled`, `distractors`."""

    map: float
    queries: int
    skipped: int
    labelled: int
    distractors: int


def read_video_truth(path: Path) -> dict[str, dict[str, bool]]:
    """SVD's test_groundtruth: lines "query video ... 1" (a near-duplicate) or "... 0". Raises Refused for other lines,
    with their number, and for a pair that is labelled both ways."""
    truth: dict[str, dict[str, bool]] = {}
    for number, line in enumerate(text_of(path).splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if len(words) < 3 or words[-1] not in ("0", "1"):
            raise Refused(f"{path}, line {number}: write 'query video 1' for a near-duplicate or 'query video 0'")
        for name in words[:2]:
            if not leads_inside(name):
                raise Refused(
                    f"{path}, line {number} names {name[:80]!a}, which is not a video in the folder; do not trust it"
                )
        same = words[-1] == "1"
        if truth.setdefault(words[0], {}).setdefault(words[1], same) != same:
            raise Refused(f"{path}, line {number}: {words[0]} and {words[1]} are labelled both ways; keep one line")
    if not truth:
        raise Refused(f"{path} labels no videos; give SVD's test_groundtruth")
    return truth


def chamfer(query: Floats, video: Floats, *, symmetric: bool = False) -> float:
    """(F, D), (G, D) of unit length -> the mean over the query's frames of the best cosine with any frame of the video;
    `symmetric`: the mean of that and of the same the other way round (methods.md 4.1; ViSiL, ICCV 2019, section 3)."""
    queries, (block, starts) = on_grid(_checked(query), "a query video"), _joined([_checked(video)])
    return float(_chamfers(queries, block, starts, symmetric)[0])


def video_scores(
    truth: VideoTruth,
    queries: Mapping[str, Floats],
    labelled: Iterable[tuple[str, Floats]],
    *,
    distractors: Iterable[Floats] = (),
    symmetric: bool = False,
    frames: int = 8192,
) -> VideoScore:
    """Ranks for every query its labelled videos and all `distractors`, which count as wrong (SVD, ICCV 2019).

    Every video is a (frames, D) table of unit length; `labelled` and `distractors` are read once, one after the other,
    and about `frames` frames are held at a time, with the scores of the labels: no matrix of all videos. AP is the mean
    precision at the duplicates; among equal scores wrong videos come first. Queries without a duplicate are skipped.
    Raises Refused when a video that the truth names is missing or comes twice, or when no query has a duplicate.
    """
    if missing := sorted(truth.keys() - queries.keys()):
        raise Refused(
            f"{len(missing)} query videos have no features, such as {missing[0]}; embed them or drop their lines"
        )
    queries = {name: on_grid(_checked(queries[name]), f"the query {name}") for name in truth}
    scores = _labelled_scores(truth, queries, labelled, symmetric, frames)
    right = {query: _picked(scores[query], labels, True) for query, labels in truth.items()}
    ahead = {query: _at_least(_picked(scores[query], labels, False), right[query]) for query, labels in truth.items()}
    seen = 0
    for some in _batches((("", video) for video in distractors), frames):
        block, starts = _joined([video for _, video in some])
        seen += len(some)
        for query, best in right.items():
            if len(best):
                ahead[query] += _at_least(_chamfers(queries[query], block, starts, symmetric), best)
    found = [_precision(ranks(counts)) for counts in ahead.values() if len(counts)]
    if not found:
        raise Refused("no query has a near-duplicate among the labelled videos; give a ground truth where some have")
    videos = len({video for labels in truth.values() for video in labels})
    return VideoScore(100.0 * float(np.mean(found)), len(found), len(truth) - len(found), videos, seen)


def _labelled_scores(
    truth: VideoTruth,
    queries: Mapping[str, Doubles],
    labelled: Iterable[tuple[str, Floats]],
    symmetric: bool,
    frames: int,
) -> dict[str, dict[str, float]]:
    """Query -> labelled video -> similarity, of the pairs in the truth and no others."""
    askers: dict[str, list[str]] = {}
    for query, labels in truth.items():
        for video in labels:
            askers.setdefault(video, []).append(query)
    scores: dict[str, dict[str, float]] = {name: {} for name in truth}
    seen: set[str] = set()
    for some in _batches(((name, video) for name, video in labelled if name in askers), frames):
        for name, _ in some:
            if name in seen:
                raise Refused(f"the labelled video {name} comes twice; give every video once")
            seen.add(name)
        block, starts = _joined([video for _, video in some])
        for query in {query for name, _ in some for query in askers[name]}:
            found = _chamfers(queries[query], block, starts, symmetric)
            for (name, _), score in zip(some, found, strict=True):
                if name in truth[query]:
                    scores[query][name] = float(score)
    if missing := sorted(askers.keys() - seen):
        raise Refused(f"{len(missing)} labelled videos have no features, such as {missing[0]}; embed or drop them")
    return scores


def _picked(scores: Mapping[str, float], labels: Mapping[str, bool], same: bool) -> Doubles:
    return np.array([score for name, score in scores.items() if labels[name] == same], np.float64)


def _chamfers(query: Doubles, block: Doubles, starts: Ints, symmetric: bool) -> Doubles:
    """(F, D), the frames (B, D) of V videos, where each starts (V,) -> (V,). All sums are exact (see `on_grid`)."""
    pairs = cosines(query, block)  # (F, B)
    near = np.round(np.maximum.reduceat(pairs, starts, axis=1) * _STEPS)  # (F, V)
    forth = near.sum(axis=0) / (len(query) * _STEPS)
    if not symmetric:
        return np.asarray(forth, np.float64)
    lengths = np.diff(np.append(starts, len(block)))
    back = np.add.reduceat(np.round(pairs.max(axis=0) * _STEPS), starts) / (lengths * _STEPS)
    return np.asarray((forth + back) / 2, np.float64)


def _at_least(wrong: Doubles, right: Doubles) -> Ints:
    return np.asarray(len(wrong) - np.searchsorted(np.sort(wrong), right), np.int64)


def _precision(places: Ints) -> float:
    return float(np.mean(np.arange(1, len(places) + 1) / places))


def _batches(videos: Iterable[tuple[str, Floats]], frames: int) -> Iterator[list[tuple[str, Floats]]]:
    """Whole videos, as many as have `frames` frames together; a longer one comes alone."""
    some: list[tuple[str, Floats]] = []
    held = 0
    for name, video in videos:
        if some and held + len(video) > frames:
            yield some
            some, held = [], 0
        some.append((name, _checked(video)))
        held += len(video)
    if some:
        yield some


def _joined(videos: Sequence[Floats]) -> tuple[Doubles, Ints]:
    if len({video.shape[1] for video in videos}) > 1:
        raise Refused("videos have features of different widths; embed all with one network")
    lengths = [len(video) for video in videos]
    return on_grid(np.concatenate(videos), "the videos"), np.cumsum([0, *lengths[:-1]], dtype=np.int64)


def _checked(video: Floats) -> Floats:
    if video.ndim != 2 or not len(video):
        raise Refused(f"a video has features of shape {video.shape}; give (frames, D), one frame or more")
    return video


PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
_DAMAGED = "frame {index} of the video {path} is damaged; copy it again or take it off the list"


def video_named(folder: Path, name: str) -> Path:
    """The video `name` in a folder, or the one file of that name and an ending; pictures among the videos are not counted."""
    exact = folder / name
    if exact.exists():
        return exact
    files = exact.parent.iterdir() if exact.parent.is_dir() else ()
    fitting = [path for path in files if path.stem == exact.name and path.suffix.lower() not in PICTURES]
    if len(fitting) != 1:
        count = "no video" if not fitting else "more than one video"
        raise Refused(
            f"there is {count} {name} in {folder}; give its folder with --videos, and names with their endings"
        )
    return fitting[0]


def video_features(path: Path, embed: Embed, *, every: int = 1, batch: int = 32) -> Floats:
    """The frames 0, `every`, 2 `every`, ... of a video -> (F, D) of unit length; holds `batch` frames at a time."""
    return embedded_images(video_frames(path, every), embed, batch)


def video_frames(path: Path, every: int = 1) -> Iterator[Image]:
    """The frames 0, `every`, 2 `every`, ... as (H, W, 3) uint8 BGR: of a folder of pictures, 2.jpg before 10.jpg, or of a
    video file.

    Raises Refused for a folder without pictures, a file that FFmpeg cannot read, and one that holds no frame.
    """
    if every < 1:
        raise Refused(f"a frame in {every} cannot be taken; give 1 for all or more to leave some out")
    if path.is_dir():
        return _from_folder(path, every)
    if not path.is_file():
        raise Refused(f"there is no video {path}; give a file or a folder of pictures")
    return _from_file(path, every)


def _from_folder(folder: Path, every: int) -> Iterator[Image]:
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    if not paths:
        raise Refused(f"the folder {folder} holds no pictures ({', '.join(PICTURES)}); check the path")
    return (read_picture(path) for path in sorted(paths, key=_natural)[::every])


def _natural(path: Path) -> list[str | int]:
    return [int(part) if at % 2 else part for at, part in enumerate(re.split("([0-9]+)", path.name))]


def _from_file(path: Path, every: int) -> Iterator[Image]:
    av.logging.set_level(None)
    index = 0
    try:
        with av.open(f"file:{path.absolute()}") as container:
            for frame in container.decode(video=0):
                if frame.is_corrupt:
                    raise Refused(_DAMAGED.format(index=index, path=path))
                if index % every == 0:
                    yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                index += 1
    except (av.error.FFmpegError, OSError, IndexError) as error:  # IndexError: it has sound alone
        if index:
            raise Refused(_DAMAGED.format(index=index, path=path)) from error
        raise Refused(f"{path} is not a video that FFmpeg can read; replace it or take it off the list") from error
    if not index:
        raise Refused(f"{path} is a video without frames; replace it or take it off the list")
