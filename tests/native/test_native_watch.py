"""The parts of a run in two languages: what Python says is written down, and the tests of C++ are held against it."""

import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.boxes import strongest
from vreid.runtime.clusters import clustered
from vreid.runtime.crops import EMBEDDING, ceiling_of, cut_out, deserves, quality_of
from vreid.runtime.detectors import yolox
from vreid.runtime.kalman import Motion, corrected, predicted, started, surprise
from vreid.runtime.mot import read_mot
from vreid.runtime.records import Detections, Match, Sighting, Trace
from vreid.runtime.sinks.jsonl import fields_of, json_text
from vreid.runtime.sources.address import address_of
from vreid.runtime.tracker import Tracker

Built = Callable[[str], Path]


@pytest.fixture
def hold(built: Built, tmp_path: Path) -> Callable[..., None]:
    """Writes down what Python says, by file, and runs a test of C++ against it."""

    def held(test: str, **says: Any) -> None:
        for name, value in says.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(_plain(value), ensure_ascii=False))
        done = subprocess.run(
            [built("vreid-tests"), f"--gtest_filter={test}"],
            env={**os.environ, "VREID_GOLDEN": str(tmp_path)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
        assert "[  PASSED  ] 1 test" in done.stdout, done.stdout[-2000:]

    return held


def _plain(value: Any) -> Any:
    """Of JSON alone; what is not finite as text."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def test_the_filters(hold: Callable[..., None]) -> None:
    rng, steps = np.random.default_rng(1), list[dict[str, Any]]()

    def told(motion: Motion, **what: Any) -> Motion:
        columns = {name: getattr(motion, name)[0] for name in ("place", "speed", "pp", "pv", "vv")}
        steps.append({**what, **columns})
        return motion

    for _ in range(20):
        corner, size = rng.uniform(-50, 900, 2), rng.uniform(2, 300, 2)
        box = np.concatenate([corner, corner + size])[None].astype(np.float32)
        motion = told(started(box), do="started", box=box[0])
        for _ in range(15):
            dt = float(rng.uniform(0.01, 1.0))
            motion = told(predicted(motion, dt), do="predicted", dt=dt)
            box = (box + rng.normal(0, 5, 4)).astype(np.float32)
            box[:, 2:] = np.maximum(box[:, 2:], box[:, :2] + 1)
            steps.append({"do": "surprise", "box": box[0], "is": surprise(motion, box)[0, 0]})
            motion = told(corrected(motion, box), do="corrected", box=box[0])
    hold("Kalman.GoldenStepsAreEqual", kalman=steps)


def test_the_assignment_also_where_several_are_equally_good(hold: Callable[..., None]) -> None:
    rng, cases = np.random.default_rng(2), list[dict[str, Any]]()
    for number in range(1500):
        rows, columns = rng.integers(1, 9, 2)
        gain = rng.uniform(0, 1, (rows, columns))
        if number % 3:
            gain = np.round(gain * (4 if number % 3 == 1 else 1)) / 4  # ties
        gain[rng.uniform(size=gain.shape) < 0.4] = 0.0
        pairs = np.full(rows, -1)
        a, b = linear_sum_assignment(gain, maximize=True)
        pairs[a] = b
        cases.append({"rows": rows, "columns": columns, "gain": gain.ravel(), "pairs": pairs})
    hold("Assignment.GoldenMatricesGiveTheSamePairs", assignment=cases)


def traffic(seed: int, frames: int, vehicles: int) -> list[tuple[float, Detections]]:
    """Vehicles that cross a picture, with noise, gaps, weak and false boxes, broken ones, and a clock that lies."""
    rng = np.random.default_rng(seed)
    start = rng.uniform((-100, 50), (1000, 480), (vehicles, 2))
    speed = rng.uniform((-400, -60), (400, 60), (vehicles, 2))
    size = rng.uniform(20, 160, (vehicles, 2))
    born = rng.uniform(-1, frames / 10, vehicles)
    seen, time = [], 0.0
    for _ in range(frames):
        time += float(
            rng.choice([0.1, 0.1, 0.1, 0.2, 0.04, 0.0, -0.3, 3.0], p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.02, 0.02, 0.01])
        )
        there = (time > born) & (time < born + 4) & (rng.uniform(size=vehicles) > 0.12)
        middle = start[there] + speed[there] * (time - born[there])[:, None] + rng.normal(0, 2, (int(there.sum()), 2))
        half = size[there] / 2 * rng.normal(1, 0.03, (int(there.sum()), 1))
        boxes = np.concatenate([middle - half, middle + half], axis=1)
        false = rng.uniform((0, 0, 5, 5), (900, 500, 90, 90), (int(rng.integers(0, 3)), 4))
        boxes = np.concatenate([boxes, np.concatenate([false[:, :2], false[:, :2] + false[:, 2:]], axis=1)])
        if len(boxes) and rng.uniform() < 0.05:
            boxes[0, 2] = rng.choice([np.nan, np.inf, boxes[0, 0] - 1])
        scores = rng.choice([0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9], len(boxes), p=[0.05, 0.05, 0.1, 0.1, 0.1, 0.3, 0.3])
        kinds = rng.choice([2, 5, 7], len(boxes))
        now = time if rng.uniform() > 0.01 else float("nan")
        seen.append((now, Detections(boxes.astype(np.float32), scores.astype(np.float32), kinds.astype(np.int64))))
    return seen


def test_the_tracker_id_for_id(hold: Callable[..., None]) -> None:
    scenes = []
    for seed, rules in enumerate([(0.5, 0.1, 2, 1.0), (0.5, 0.1, 1, 0.5), (0.3, 0.1, 3, 2.0), (0.0, 0.0, 2, 1.0)] * 3):
        strong, weak, hits, age = rules
        tracker = Tracker(strong=strong, weak=weak, confirm_hits=hits, max_age=age)
        picture = (960, 540) if seed % 2 else None
        steps = []
        for time, found in traffic(seed, 120, 20):
            tracks = tracker.update(time, found, picture)
            rows = [[*box, score, int(kind)] for box, score, kind in zip(
                found.boxes.tolist(), found.scores.tolist(), found.kinds, strict=True)]  # fmt: skip
            steps.append({
                "time": time, "seen": rows, "ids": tracks.ids, "boxes": tracks.boxes.ravel(),
                "born": sorted(tracker.births()), "ended": tracker.finished(),
            })  # fmt: skip
        scenes.append({"name": f"scene {seed}", "rules": rules, "picture": picture, "steps": steps})
    hold("Tracker.GoldenScenesGiveTheSameIds", tracker=scenes)


def picture() -> Image:
    """Something with edges, noise and flat parts, 960 x 540."""
    rng = np.random.default_rng(3)
    small = rng.integers(0, 255, (34, 60, 3), np.uint8)
    image = cv2.resize(small, (960, 540), interpolation=cv2.INTER_CUBIC).astype(np.int64)
    image[:, 480:] += rng.normal(0, 25, (540, 480, 3)).astype(np.int64)
    image[:200, :300] = 90
    return np.clip(image, 0, 255).astype(np.uint8)


def test_the_crops(hold: Callable[..., None], tmp_path: Path) -> None:
    rng, frame = np.random.default_rng(4), picture()
    cv2.imwrite(str(tmp_path / "crops.png"), frame)
    boxes = []
    for _ in range(150):
        corner = rng.uniform(-40, (940, 520))
        box = np.concatenate([corner, corner + rng.uniform(1, 250, 2)]).astype(np.float32)
        margin = float(rng.choice([0.0, 0.0, 0.1]))
        crop = cut_out(frame, box, margin)
        left = (crop.__array_interface__["data"][0] - frame.__array_interface__["data"][0]) // 3
        boxes.append({
            "box": box, "margin": margin, "pixels": [left % 960, left // 960, crop.shape[1], crop.shape[0]],
            "ceiling": ceiling_of(crop, box, (960, 540)), "quality": quality_of(crop, box, (960, 540)),
        })  # fmt: skip
    rules = []
    for _ in range(400):
        box = np.array([0, 0, *rng.choice([15.9, 16.0, 30.0], 2)], np.float32)
        embedded, since = int(rng.choice([0, 1, 99, 100, 5000])), float(rng.choice([0.0, 0.1, 0.3, 0.31, np.inf]))
        quality, best, name = float(rng.uniform()), float(rng.uniform()), str(rng.choice(["smart", "every"]))
        rules.append({
            "every": name == "every", "box": box, "embedded": embedded, "since": since, "quality": quality, "best": best,
            "is": bool(deserves(EMBEDDING[name], box, embedded, since, quality, best)),
        })  # fmt: skip
    hold("Crops.GoldenQualitiesAreEqual", crops={"boxes": boxes, "deserves": rules})


def test_what_goes_into_a_yolox(hold: Callable[..., None], tmp_path: Path) -> None:
    views = []
    for height, width, tiles in [(540, 960, 1), (540, 960, 2), (1080, 1920, 3), (331, 517, 4), (720, 1280, 8)]:
        found = [[v.left, v.top, v.right, v.bottom, *map(int, v.inner)] for v in yolox.views_of(height, width, tiles)]
        views.append({"height": height, "width": width, "tiles": tiles, "views": found})
    hold("Yolox.GoldenViewsAreEqual", views=views)
    frame, letters = picture(), []
    cv2.imwrite(str(tmp_path / "crops.png"), frame)
    for number, (x, y, w, h) in enumerate(
        [(0, 0, 960, 540), (10, 20, 416, 416), (300, 100, 77, 391), (0, 0, 549, 309)]
    ):
        planes, scale = yolox.letterboxed(frame[y : y + h, x : x + w], 320, 416)
        cv2.imwrite(str(tmp_path / f"letter{number}.png"), planes.transpose(1, 2, 0).astype(np.uint8))
        letters.append(
            {"part": [x, y, w, h], "height": 320, "width": 416, "scale": scale, "file": f"letter{number}.png"}
        )
    hold("Yolox.GoldenLettersAreEqual", letters=letters)


def test_what_comes_out_of_a_yolox(hold: Callable[..., None]) -> None:
    rng, cases = np.random.default_rng(5), []
    grid = yolox.grid_of(64, 96)

    def rows_of(found: Detections) -> list[list[float]]:
        return np.concatenate(
            [found.boxes, found.scores[:, None], found.kinds[:, None]], axis=1, dtype=np.float64
        ).tolist()  # type: ignore[no-any-return]

    for number in range(20):
        output = rng.uniform(0, 1, (len(grid), yolox.COLUMNS)).astype(np.float32)
        output[:, :2] = rng.normal(0, 1, (len(grid), 2))
        output[:, 2:4] = rng.normal(0.5, 1, (len(grid), 2))
        output[rng.integers(len(grid)), 2] = 500.0  # a width that has no number
        inner = tuple(bool(side) for side in rng.integers(0, 2, 4))
        view = yolox.View(100, 40, 100 + 480, 40 + 300, inner)  # type: ignore[arg-type]
        found = yolox.decoded(output, grid, 0.3)
        inside = yolox.placed(found, view, 0.2)
        kept = inside.rows(strongest(inside.boxes, inside.scores, yolox.SAME))
        cases.append({
            "rows": output.ravel(), "width": 96, "height": 64, "min_score": 0.3, "scale": 0.2,
            "view": [view.left, view.top, view.right, view.bottom, *map(int, inner)],
            "decoded": rows_of(found), "placed": rows_of(inside), "strongest": rows_of(kept),
        })  # fmt: skip
        assert number or len(kept) > 3
    hold("Yolox.GoldenRowsGiveTheSameVehicles", yolox=cases)


def test_numbers_as_python_writes_them(hold: Callable[..., None]) -> None:
    rng = np.random.default_rng(6)
    values = [0.0, -0.0, 1.0, 0.5, 0.25, 0.125, 2.675, 1e-9, -1e-9, 123456789.987654, 0.00005, 0.00015, 99.995]
    values += rng.uniform(-2, 2, 1000).tolist() + (10 ** rng.uniform(-6, 9, 1000)).tolist() + [1.79e9 + 0.0005]
    numbers = [[value, places, repr(round(value, places))] for value in values for places in (2, 3, 4)]
    hold("Watch.GoldenNumbersAreWrittenAlike", numbers=numbers)


def test_lines_sign_by_sign(hold: Callable[..., None]) -> None:
    rng, lines = np.random.default_rng(7), []
    for number in range(60):
        fields: dict[str, Any] = {
            "camera": ["gate", "Tor Süd", 'a"b\\c', "tab\there", "new\nline\x1f", "門"][number % 6],
            "track": int(rng.integers(1, 9999)), "first_frame": int(rng.integers(0, 99)), "last_frame": 10**number % 10**9,
            "first_time": float(rng.uniform(0, 99)), "last_time": float(np.float64(rng.uniform(0, 1e5))),
            "kind": int(rng.choice([-1, 2, 3, 5, 7, 11])), "crops": int(rng.integers(1, 99)), "quality": float(rng.uniform()),
            "plate": [None, "B-XY 12"][number % 2], "seen": [0.0, 1.79e9 + float(rng.uniform())][number % 3 > 0],
        }  # fmt: skip
        score = [float(rng.uniform(-1, 1)), -math.inf][number % 5 == 0]
        vehicle, name = (int(rng.integers(1, 9999)), f"vehicle-{number:04d}") if number % 4 else (None, None)
        sighting = Sighting(**fields, feature=np.zeros(3, np.float32), picture=np.zeros((1, 1, 3), np.uint8))
        box = rng.uniform(-5, 2000, 4).astype(np.float32)
        trace = Trace(np.zeros(1, np.int64), box[None], np.zeros(1, np.float32))
        match = Match(vehicle, name, score, bool(number % 2))
        lines.append({
            "sighting": fields, "vehicle": vehicle, "name": name, "score": score, "known": match.known, "box": box,
            "line": json_text(fields_of(sighting, match, trace)),
        })  # fmt: skip
    hold("Watch.GoldenLinesAreWrittenAlike", lines=lines)


def test_addresses(hold: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "some folder").mkdir()
    texts = [
        "cam1.mp4", "gate=cam1.mp4", "./a=b.mp4", "a/b c/film 1.MP4", "0", "007", "v4l2://0", "v4l2:///dev/v4l/by-id/x",
        "/dev/video3", "rtsp://user:word@host:8554/a/b?c", "RTSP://Host/", "rtsps://host:554/live/x", "rtsp://[::1]:8554/x",
        "rtsp://me:p@ss/w#rd@10.0.0.1/s", "csi://0", "csi://", "csi://1", "gst:videotestsrc", "gst: v4l2src ! tee ",
        f"{tmp_path}/some folder", f"{tmp_path}/some folder/", "yard=pictures/", "img_%04d.jpg", "shots/%06d.png",
        "one.PNG", "photo.jpeg", "file:///srv/x.mp4", "noname", "..=x.mp4", "", "  ", "x=", "ftp://host/x", "rtsp:///x",
        "rtsp://host:99999/x", " spaced.mp4 ", "Tür.mp4",
    ]  # fmt: skip
    says = []
    for text in texts:
        try:
            found = address_of(text)
            says.append({"text": text, "kind": found.kind, "camera": found.camera})
        except Refused:
            says.append({"text": text, "kind": None})
    hold("Watch.GoldenAddressesMeanTheSame", addresses=says)


def test_mot_text(hold: Callable[..., None], tmp_path: Path) -> None:
    good = "1,1,10,20,30,40\n\n 2 , -1 , 1.5 ,2.25,3,4,0.5\n3,2,0,0,1,1,-1,-1,-1\n4,7,0.1,0.2,9,9,0.9,2,0.25,extra\n"
    texts = [good, "\ufeff" + good, good.replace("\n", "\r\n"), "", "\n \n", "1,1,1,1,+5,5e0"]
    texts += [f"1,1,0,0,5,5\n{line}\n" for line in (
        "1,1,0,0,5", "x,1,0,0,5,5", "0,1,0,0,5,5", "1.5,1,0,0,5,5", "1,-2,0,0,5,5", "1,1,nan,0,5,5", "1,1,0,0,0,5",
        "1,1,0,0,5,-5", "1,1,0,0,5,5,1,2.5", "1,99999999999,0,0,5,5", "1,1,0,0,5,5,0x1",
    )]  # fmt: skip
    says: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        path = tmp_path / f"mot{number}.txt"
        path.write_bytes(text.encode())
        try:
            table = read_mot(path)
            columns = zip(
                table.frames, table.ids, table.boxes, table.scores, table.kinds, table.visibility, strict=True
            )
            rows = [[float(f), float(i), *map(float, b), float(s), float(k), float(v)] for f, i, b, s, k, v in columns]
            says.append({"file": path.name, "rows": rows})
        except Refused as refused:
            text = str(refused)
            says.append({"file": path.name, "rows": None, "refused": text[text.index(", line") :]})
    assert sum(one["rows"] is None for one in says) == 11
    hold("Watch.GoldenMotTextIsReadAlike", mot=says)


def test_clusters(hold: Callable[..., None]) -> None:
    rng, says = np.random.default_rng(8), []
    for count in [0, 1, 2, 7, 30, 60]:
        for threshold in (0.3, 0.6, 0.9):
            centres = rng.normal(size=(max(1, count // 4), 8))
            features = centres[rng.integers(0, len(centres), count)] + rng.normal(0, 0.35, (count, 8))
            features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
            apart = rng.uniform(size=(count, count)) < 0.15
            apart = np.triu(apart, 1) | np.triu(apart, 1).T
            says.append({
                "count": count, "dim": 8, "features": features.ravel(), "apart": np.argwhere(np.triu(apart)),
                "threshold": threshold, "clusters": clustered(features, apart, threshold),
            })  # fmt: skip
    hold("Watch.GoldenClustersAreEqual", clusters=says)
