"""What each part of identity brings alone: pooling, thresholds by pair of cameras, bias, neighbourhood, times of travel, doubt.

    python bench/identity_parts.py ../shared/data/roadside-video made/s11 made/s12 [--topology TOPOLOGY]

Each folder holds cam*.mp4 and gt_cam*.txt with the true boxes, which are the detector's. Their tracks are made once, and then
identified jointly (unless a row says otherwise), at 5 % false matches, with one part changed at a time. IDF1 is over tracks, each
weighted by its frames. Of the answers "known" and "new" it is said how many were right, and how many of these were called
doubtful; that a track may be of a vehicle of the same joint decision is never called doubtful. Rows in
bench/results/identity_parts.json.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from rows import RESULTS
from scipy.optimize import linear_sum_assignment

import vreid
from vreid.runtime import camera_bias, score_norm, score_space
from vreid.runtime.camera_pipeline import quality_of
from vreid.runtime.gallery import open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.mot import corners, read_mot
from vreid.runtime.records import FinishedTrack, Floats, Match, Trace, cut_out, overlaps
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.threshold import FixedThreshold, Threshold
from vreid.runtime.topology import Topology, read_topology
from vreid.runtime.travel_times import Way

Track = tuple[FinishedTrack, Trace, int]  # and its true vehicle
POOLINGS: dict[str, Callable[[Floats, Floats], Floats]] = {  # features (N, D) and qualities (N,) of a track -> (D,)
    "first crop": lambda features, qualities: features[0],
    "best crop": lambda features, qualities: features[int(qualities.argmax())],
    "mean": lambda features, qualities: features.mean(axis=0),
    "by quality": lambda features, qualities: (features * qualities[:, None] ** 2).sum(axis=0),
}


def tracks_of(folder: Path, model: vreid.Model) -> list[Track]:
    """The tracks of true boxes, with the vehicle on which most of their boxes lie."""
    videos = sorted(folder.glob("cam*.mp4"))
    truth = {video.stem: read_mot(folder / f"gt_{video.stem}.txt") for video in videos}
    found = []
    for seen in vreid.track([str(video) for video in videos], model, detector=f"replay:{folder}", threshold=0.99):
        table, owners = truth[seen.camera], []
        for frame, box in zip(seen.frames, seen.boxes, strict=True):
            now = table.rows(table.frames == frame + 1)
            shared = overlaps(box[None], corners(now.boxes))[0]
            owners.append(int(now.ids[shared.argmax()]))
        track = FinishedTrack(
            seen.camera, seen.track, int(seen.frames[0]), int(seen.frames[-1]), seen.first_time, seen.last_time, 2,
            seen.feature, 1, 0.8, seen.picture,
        )  # fmt: skip
        trace = Trace(seen.frames, seen.boxes, np.ones(len(seen.frames), np.float32))
        found.append((track, trace, max(set(owners), key=owners.count)))
    return found


def pooled(folder: Path, tracks: Sequence[Track], model: vreid.Model) -> Iterator[tuple[str, list[Track]]]:
    """The same tracks by each way of pooling the features of all of their boxes."""
    crops: dict[int, list[tuple[Floats, float]]] = {row: [] for row in range(len(tracks))}
    for video in sorted(folder.glob("cam*.mp4")):
        due: dict[int, list[tuple[int, Floats]]] = {}
        for row, (track, trace, _) in enumerate(tracks):
            if track.camera == video.stem:
                for frame, box in zip(trace.frames, trace.boxes, strict=True):
                    due.setdefault(int(frame), []).append((row, box))
        capture, index = cv2.VideoCapture(str(video)), 0
        while True:
            more, image = capture.read()
            if not more:
                break
            rows = due.get(index, [])
            pictures = [cut_out(image, box, 0.0) for _, box in rows]
            size = (image.shape[1], image.shape[0])
            if pictures:
                for (row, box), picture, feature in zip(rows, pictures, model.embed(pictures), strict=True):
                    crops[row].append((feature, quality_of(picture, box, size)))
            index += 1
    for name, pool in POOLINGS.items():
        changed = []
        for row, (track, trace, vehicle) in enumerate(tracks):
            feature = pool(np.stack([one for one, _ in crops[row]]), np.array([quality for _, quality in crops[row]]))
            unit = np.asarray(feature / np.linalg.norm(feature), np.float32)
            changed.append((FinishedTrack(**{**vars(track), "feature": unit}), trace, vehicle))
        yield name, changed


@contextmanager
def only(bias: bool = True, neighbourhood: bool = True, times: bool = True) -> Iterator[None]:
    """The site's threshold without the parts that are off."""
    with ExitStack() as off:
        if not bias:
            off.enter_context(patch.object(camera_bias, "SHRINKAGE", 1e9))
        if not neighbourhood:
            off.enter_context(patch.object(score_norm, "WEIGHT", 0.0))
            off.enter_context(patch.object(score_space, "WEIGHT", 0.0))
        if not times:
            off.enter_context(patch.object(Way, "weights", lambda self, places, own=False: np.ones(len(places))))
        yield


def identified(
    tracks: Sequence[Track], model: vreid.Model, rule: Threshold, topology: Topology, live: bool
) -> list[Match]:
    """The matches of tracks in a new gallery: all together, or each when it ends."""
    about = {"fingerprint": model.manifest.fingerprint, "dim": model.dim, "model": model.name}
    with tempfile.TemporaryDirectory() as folder, open_gallery(Path(folder) / "g.db", write=True, **about) as gallery:
        identifier = Identifier(gallery, rule, enrol_unknown=True, topology=topology)
        matches = {}
        for row in sorted(range(len(tracks)), key=lambda row: tracks[row][0].last_time):
            track, trace, _ = tracks[row]
            identifier.observe(track, trace)
            if live:
                matches[row] = identifier.identify(track)
        if live:
            return [match for _, match in sorted(matches.items())]
        return identifier.assign([track for track, _, _ in tracks])


def scored(tracks: Sequence[Track], matches: Sequence[Match]) -> dict[str, Any]:
    """IDF1, and of the known and the new ones how many are right (nobody new was there before) and how many are doubtful."""
    vehicles, owner = np.unique([vehicle for _, _, vehicle in tracks], return_inverse=True)
    ids, given = np.unique([match.vehicle for match in matches], return_inverse=True)
    frames = np.array([len(trace.frames) for _, trace, _ in tracks], float)
    shared = np.zeros((len(vehicles), len(ids)))
    np.add.at(shared, (owner, given), frames)
    best = shared[linear_sum_assignment(-shared)].sum() / frames.sum()
    answers: dict[str, list[bool]] = {name: [] for name in ("known_right", "known_wrong", "new_right", "new_wrong")}
    for row, (track, _, _) in enumerate(tracks):
        before = [one for one in range(len(tracks)) if tracks[one][0].first_time < track.first_time]
        same = [one for one in before if owner[one] == owner[row]]
        right = any(given[one] == given[row] for one in same) if matches[row].known else not same
        kind = ("known" if matches[row].known else "new") + ("_right" if right else "_wrong")
        answers[kind].append(matches[row].maybe is not None)
    counts = {name: f"{len(found)} ({sum(found)} doubtful)" for name, found in answers.items()}
    return {"idf1": round(100 * float(best), 1), **counts}


def measured(folder: Path, topology_file: Path | None, model: vreid.Model) -> Iterator[dict[str, Any]]:
    """The rows of one scene."""
    tracks = sorted(tracks_of(folder, model), key=lambda one: one[0].first_time)
    cameras = sorted({track.camera for track, _, _ in tracks})
    topology = Topology() if topology_file is None else read_topology(topology_file, cameras)

    def row(
        part: str, tracks: Sequence[Track], rule: Threshold | None = None, live: bool = False, **parts: bool
    ) -> dict[str, Any]:
        with only(**parts):
            site = rule or SiteThreshold(model.embedder.match, 0.05, topology)
            found = scored(tracks, identified(tracks, model, site, topology, live))
        return {
            "videos": folder.name,
            "model": model.manifest.fingerprint,
            "part": part,
            **found,
            "date": date.today().isoformat(),
        }

    yield row("all", tracks)
    yield row("all, one at a time", tracks, live=True)
    yield row("fixed threshold", tracks, FixedThreshold(model.threshold))
    yield row("thresholds by pair alone", tracks, bias=False, neighbourhood=False, times=False)
    yield row("without bias", tracks, bias=False)
    yield row("without neighbourhood", tracks, neighbourhood=False)
    yield row("without times of travel", tracks, times=False)
    for name, changed in pooled(folder, tracks, model):
        yield row(f"pooled: {name}", changed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--topology", type=Path)
    parser.add_argument("--model", default="vreid-s", help="manifest .json, or the name of a bundled model")
    flags = parser.parse_args()
    model, rows = vreid.load(flags.model), []
    for folder in flags.folders:
        for row in measured(folder, flags.topology, model):
            rows.append(row)
            print(json.dumps(row), flush=True)
    (RESULTS / "identity_parts.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
