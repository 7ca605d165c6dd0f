"""Near-duplicate videos as SVD scores them: chamfer similarity of frames, mAP over labelled and unlabelled videos."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.models.errors import Refused
from vreid.train.datasets.records import leads_inside, text_of
from vreid.train.evaluate import Floats, Ints
from vreid.train.protocols.ranks import Doubles, cosines, on_grid, ranks

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
                    f"{path}, line {number} names {name[:80]!a}, which is no video in the folder; do not trust it"
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
    asking, (block, starts) = on_grid(_checked(query), "a query video"), _joined([_checked(video)])
    return float(_chamfers(asking, block, starts, symmetric)[0])


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
    asking = {name: on_grid(_checked(queries[name]), f"the query {name}") for name in truth}
    scores = _labelled_scores(truth, asking, labelled, symmetric, frames)
    right = {query: _picked(scores[query], labels, True) for query, labels in truth.items()}
    ahead = {query: _at_least(_picked(scores[query], labels, False), right[query]) for query, labels in truth.items()}
    seen = 0
    for some in _batches((("", video) for video in distractors), frames):
        block, starts = _joined([video for _, video in some])
        seen += len(some)
        for query, best in right.items():
            if len(best):
                ahead[query] += _at_least(_chamfers(asking[query], block, starts, symmetric), best)
    found = [_precision(ranks(counts)) for counts in ahead.values() if len(counts)]
    if not found:
        raise Refused("no query has a near-duplicate among the labelled videos; give a ground truth where some have")
    videos = len({video for labels in truth.values() for video in labels})
    return VideoScore(100.0 * float(np.mean(found)), len(found), len(truth) - len(found), videos, seen)


def _labelled_scores(
    truth: VideoTruth,
    asking: Mapping[str, Doubles],
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
            found = _chamfers(asking[query], block, starts, symmetric)
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
