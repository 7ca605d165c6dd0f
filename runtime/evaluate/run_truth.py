"""Ground truth of a run, where there is any, and the run's score against it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.camera_names import file_of
from vreid.runtime.evaluate.mot import MotTable, read_mot
from vreid.runtime.evaluate.tracking import identity_accuracy, idf1
from vreid.runtime.records import Match, Sighting, Trace
from vreid.runtime.sources.address import addresses_of


def truth_of(sources: Sequence[str], folder: Path | None) -> dict[str, MotTable] | None:
    """Camera -> its true boxes: from `folder` (see `truth_file`), or from the synthetic scene itself.

    None where there is neither. Raises Refused when the folder lacks a camera.
    """
    addresses = addresses_of(sources)
    if folder is not None:
        return {address.camera: read_mot(truth_file(folder, address.camera)) for address in addresses}
    if addresses and all(address.kind == "synth" for address in addresses):
        return {address.camera: _scene(address.where) for address in addresses}
    return None


def truth_file(folder: Path, camera: str) -> Path:
    """gt_<camera>.txt, <camera>.txt or, as MOTChallenge has it, <camera>/gt/gt.txt; Refused where there is none."""
    found = file_of(folder, (f"gt_{camera}.txt", f"{camera}.txt", f"{camera}/gt/gt.txt"))
    if found is not None:
        return found
    raise Refused(
        f"{folder} has no truth of camera {camera}: neither gt_{camera}.txt nor {camera}.txt nor {camera}/gt/gt.txt; "
        f"give the folder of the ground truth"
    )


def _scene(uri: str) -> MotTable:
    """The boxes of one synthetic camera."""
    from vreid.runtime.sources.synth import synth_truth

    rows = [(frame + 1, box) for frame, boxes in sorted(synth_truth(uri).items()) for box in boxes]
    return MotTable(
        np.array([frame for frame, _ in rows], np.int64),
        np.array([box.vehicle for _, box in rows], np.int64),
        np.array([(box.x, box.y, box.w, box.h) for _, box in rows], np.float32).reshape(-1, 4),
        np.ones(len(rows), np.float32),
        np.full(len(rows), -1, np.int64),
        np.array([box.visibility for _, box in rows], np.float32),
    )


def table_of(decided: Sequence[tuple[Sighting, Match, Trace]], camera: str) -> MotTable:
    """Every box of one camera's tracks as MOT rows with global vehicle ids; a track without a vehicle has the id -1."""
    mine = [(s, m, t) for s, m, t in decided if s.camera == camera]
    frames = np.concatenate([t.frames + 1 for _, _, t in mine] or [np.zeros(0, np.int64)])
    ids = np.concatenate(
        [np.full(len(t.frames), -1 if m.vehicle is None else m.vehicle) for _, m, t in mine] or [np.zeros(0, np.int64)]
    )
    kinds = np.concatenate([np.full(len(t.frames), s.kind) for s, _, t in mine] or [np.zeros(0, np.int64)])
    boxes = np.concatenate([t.boxes for _, _, t in mine] or [np.zeros((0, 4), np.float32)])
    scores = np.concatenate([t.scores for _, _, t in mine] or [np.zeros(0, np.float32)])
    boxes = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # corners -> x y w h
    order = np.lexsort((ids, frames))
    return MotTable(frames, ids, boxes, scores, kinds, np.ones(len(frames), np.float32)).rows(order)


def identity_of(decided: Sequence[tuple[Sighting, Match, Trace]], truth: Mapping[str, MotTable]) -> dict[str, Any]:
    """The scores of a run, ids global over its cameras."""
    found = {camera: table_of(decided, camera) for camera in truth}
    score, accuracy = idf1(truth, found), identity_accuracy(truth, found)
    return {
        "idf1": round(score.idf1, 4),
        "idp": round(score.idp, 4),
        "idr": round(score.idr, 4),
        "accuracy": round(accuracy.accuracy, 4),
        "kept_over_cameras": round(accuracy.kept_over_cameras, 4),
        "vehicles": accuracy.vehicles_over_cameras,
    }
