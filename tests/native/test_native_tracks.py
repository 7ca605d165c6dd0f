"""Crops, pooled features and identities of live tracks: tests/data/tracks/tracks.json is what Python makes of them.

tracks_test.cpp holds the C++ class to the same file. It is written anew by: python tests/native/test_native_tracks.py
"""

import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import CameraPipeline, CropRules
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.records import Detections, FinishedTrack, Floats, Frame, Tracks, inside
from vreid.runtime.tracker import Tracker

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "tracks" / "tracks.json"
DIM, WIDTH, HEIGHT = 8, 320, 240
SPACE = {"fingerprint": "aaaaaaaa", "dim": DIM, "model": "small"}
ONE_EACH = {"period": 0.3, "better": 1.25, "margin": 0.0, "least": 16, "most": 100}
USUAL = {"threshold": 0.6, "enrol_unknown": True, "learn": True, "new_below": 0.6, "began": 1e9, "crops": ONE_EACH}
CASES: dict[str, dict[str, Any]] = {
    "enrols": USUAL,
    "unknown between": {**USUAL, "new_below": 0.2},
    "only reads": {**USUAL, "enrol_unknown": False, "learn": False},
    "learns": {**USUAL, "enrol_unknown": False, "began": 0.0},
    "every crop": {**USUAL, "crops": {**ONE_EACH, "period": 0.0, "margin": 0.1, "most": 1000}},
    "few crops": {**USUAL, "crops": {**ONE_EACH, "most": 2, "least": 30, "better": 1.05}},
}


def picture_of(contrast: int) -> Image:
    """(H, W, 3) uint8, the sharper the more contrast (0-100) it has; tracks_test.cpp makes the same."""
    y, x, c = np.ogrid[:HEIGHT, :WIDTH, :3]
    return np.asarray(128 - contrast + (37 * x + 17 * y + 11 * c) % 64 * contrast // 32, np.uint8)


def unit_rows(rng: np.random.Generator, count: int) -> Floats:
    rows = rng.normal(size=(count, DIM))
    return np.asarray(np.round(rows / np.linalg.norm(rows, axis=1, keepdims=True), 4), np.float32)


def inputs_of(seed: int, rules: dict[str, Any]) -> dict[str, Any]:
    """Vehicles in the gallery, and twelve tracks of eight vehicles in sixty frames; some of them at the same time."""
    rng = np.random.default_rng(seed)
    looks = unit_rows(rng, 8)
    known = [{"name": f"car {row}", "plate": f"B-{row}" if row < 2 else None, "feature": looks[row].tolist()}
             for row in range(4)]  # fmt: skip
    tracks = []
    for number in range(1, 13):
        first = int(rng.integers(0, 45))
        corner, side = rng.uniform([-20, -20], [280, 200]), rng.uniform(12, 110)
        tracks.append({
            "track": number, "look": int(rng.integers(8)), "noise": float(rng.choice([0.05, 0.15, 0.4])),
            "first": first, "last": first + int(rng.integers(0, 16)), "corner": corner, "side": side,
            "speed": rng.uniform(-4, 4, 2), "plate": [None, "B-0", "B-9"][number % 3] if number > 8 else None,
        })  # fmt: skip
    frames = []
    for index in range(60):
        boxes, features = [], {}
        for one in tracks:
            if not one["first"] <= index <= one["last"] or rng.uniform() < 0.1:
                continue
            age = index - one["first"]
            left, top = np.round(one["corner"] + age * one["speed"], 2).tolist()
            side = round(one["side"] * (1 + 0.02 * age), 2)
            right = "inf" if rng.uniform() < 0.02 else round(left + side, 2)
            boxes.append([one["track"], left, top, right, round(top + 0.75 * side, 2), int(rng.choice([2, 2, 7, -1]))])
            feature = looks[one["look"]] + one["noise"] * rng.normal(size=DIM)
            features[one["track"]] = np.round(feature, 4).tolist()
        ended = {one["track"]: one["plate"] for one in tracks if one["last"] == index}
        frames.append({"time": round(0.1 * index, 3), "contrast": int(rng.integers(0, 101)), "boxes": boxes,
                       "features": features, "ended": ended})  # fmt: skip
    return {"rules": rules, "known": known, "part_after": 3600.0, "frames": frames}


class GivenTracks(Tracker):
    """A tracker whose tracks are given from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Tracks(np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.float32),
                          np.zeros(0, np.int64))  # fmt: skip
        self.ended: list[int] = []

    def update(self, time: float, detections: Detections, picture: tuple[int, int] | None = None) -> Tracks:
        return self.now

    def finished(self) -> list[int]:
        return self.ended


def tracks_in(boxes: list[list[Any]]) -> Tracks:
    """The boxes that lie in the picture, clipped to it, as a run has them."""
    rows = [
        (row[0], kept.boxes[0], kept.kinds[0])
        for row in boxes
        if len(kept := inside(Detections(np.array([[float(side) for side in row[1:5]]], np.float32),
                                         np.ones(1, np.float32), np.array([row[5]])), WIDTH, HEIGHT))
    ]  # fmt: skip
    return Tracks(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
        np.ones(len(rows), np.float32),
        np.array([row[2] for row in rows], np.int64),
    )


def made_gallery(path: Path, known: list[dict[str, Any]], write: bool) -> Gallery:
    """A gallery with the known vehicles; those with a plate were seen with it once."""
    with open_gallery(path, **SPACE, write=True) as gallery:
        for one in known:
            feature = np.array(one["feature"], np.float32)
            vehicle = gallery.add_vehicle(one["name"])
            gallery.add_prototype(vehicle, "gate", feature)
            if one["plate"]:
                seen = FinishedTrack("gate", 1, 0, 0, 0.0, 0.0, 2, feature, 1, 1.0, np.zeros((0, 0, 3), np.uint8), 1e8,
                                one["plate"])  # fmt: skip
                gallery.add_sighting(vehicle, seen, 1.0)
    return open_gallery(path, **SPACE, write=write)


def results_of(folder: Path, given: dict[str, Any]) -> dict[str, Any]:
    """What Python makes of it: the crops of each frame, and what each track or part of one is when it ends."""
    rules = given["rules"]
    tracker, frames, writes = GivenTracks(), [], rules["enrol_unknown"] or rules["learn"]
    pipeline = CameraPipeline("yard", CropRules(**rules["crops"]), tracker, 0.0, None, rules["began"])
    with made_gallery(folder / "g.db", given["known"], writes) as gallery:
        identifier = Identifier(gallery, rules["threshold"], rules["enrol_unknown"], learn=rules["learn"],
                                new_below=rules["new_below"], run="live")  # fmt: skip
        for index, frame in enumerate(given["frames"]):
            tracker.now, tracker.ended = tracks_in(frame["boxes"]), [int(track) for track in frame["ended"]]
            image = picture_of(frame["contrast"])
            requests = pipeline.see(Frame("yard", index, frame["time"], image), Detections(
                tracker.now.boxes, tracker.now.scores, tracker.now.kinds))  # fmt: skip
            features = {int(track): np.array(feature, np.float32) for track, feature in frame["features"].items()}
            for request in requests:
                pipeline.learn(request, features[request.track])
            ended = []
            for sighting, _ in pipeline.finished():
                plates = {int(track): plate for track, plate in frame["ended"].items()}
                match = identifier.identify(replace(sighting, plate=plates.get(sighting.track)))
                ended.append({
                    "track": sighting.track, "part": sighting.track not in plates,
                    "span": [sighting.first_frame, sighting.last_frame, sighting.first_time, sighting.last_time],
                    "seen": sighting.seen, "kind": sighting.kind, "crops": sighting.crops,
                    "quality": sighting.quality, "feature": sighting.feature.tolist(),
                    "picture": list(sighting.picture.shape[:2]), "vehicle": match.vehicle, "name": match.name,
                    "score": match.score if math.isfinite(match.score) else None, "known": match.known,
                })  # fmt: skip
            frames.append({"crops": [[request.track, request.quality] for request in requests], "ended": ended})
        totals = gallery.stats()
        stored = [[one.name, one.prototypes, one.sightings] for one in gallery.vehicles(thumbnails=False)]
    return {"frames": frames, "stored": stored, "totals": [totals.vehicles, totals.prototypes, totals.sightings]}


def made() -> dict[str, Any]:
    """Every case with its results; of the features only those of crops."""
    cases = {}
    for seed, (name, rules) in enumerate(CASES.items()):
        given = inputs_of(seed, rules)
        with tempfile.TemporaryDirectory() as folder:
            cases[name] = {"given": given, "results": results_of(Path(folder), given)}
        for frame, results in zip(given["frames"], cases[name]["results"]["frames"], strict=True):
            frame["features"] = {str(track): frame["features"][track] for track, _ in results["crops"]}
    return cases


def same(one: Any, other: Any) -> bool:
    """Equal, numbers within 1e-5."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-5)
    return bool(one == other)


def test_python_makes_what_the_file_holds() -> None:
    stored, now = json.loads(GOLDEN.read_text(encoding="utf-8")), json.loads(json.dumps(made()))
    assert stored.keys() == now.keys()
    for name in stored:
        assert same(stored[name]["given"], now[name]["given"]), name
        for index, (frame, again) in enumerate(
            zip(stored[name]["results"]["frames"], now[name]["results"]["frames"], strict=True)
        ):
            assert same(frame, again), (name, index)
        assert same(stored[name]["results"], now[name]["results"]), name


def test_the_file_has_what_can_go_either_way() -> None:
    """New vehicles, known ones, unknown ones, plates, tracks that are barred, and boxes that are left out."""
    cases = json.loads(GOLDEN.read_text(encoding="utf-8"))
    ended = [one for case in cases.values() for frame in case["results"]["frames"] for one in frame["ended"]]
    assert {(one["vehicle"] is None, one["known"]) for one in ended} == {(True, False), (False, False), (False, True)}
    assert {one["part"] for one in ended} == {False}  # Python ends no track in parts; tracks_test.cpp does
    assert any(
        box[3] == "inf" for case in cases.values() for frame in case["given"]["frames"] for box in frame["boxes"]
    )
    assert any(one["known"] and one["score"] < 0.6 for one in ended)  # by its plate or an earlier part
    threshold = [one for one in ended if one["vehicle"] is None and one["score"] is not None]
    assert threshold and all(one["score"] < 0.6 for one in threshold)


if __name__ == "__main__":
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(json.dumps(made()), parse_float=lambda number: round(float(number), 7)))
    GOLDEN.write_text(text.replace('{"time"', '\n{"time"').replace('{"crops": [[', '\n{"crops": [[') + "\n")
    print(f"{GOLDEN} has {GOLDEN.stat().st_size} bytes", file=sys.stderr)
