"""Vehicles found again and vehicles falsely known, by the manifest's fixed threshold and by the one that a site learns.

    python bench/site_threshold.py --data ../shared/data

Videos of one-way roads on which nobody comes back (`motorway`, boxes from a detector): whoever is known more than two seconds
after its vehicle was last seen is somebody else. Pictures of two cameras (`highway2cam`): a road is played with them, in which
vehicles come at random, three a minute and a lane, pass the first camera for four seconds, and half of them the second one
30 to 90 seconds later; the others pass one of the two only. Each passage is identified when it ends, as in a live run. Three
cameras with ground truth (`roadside-video`, and synthetic scenes that are drawn here): a run with true boxes, and its IDF1.
Rows in bench/results/site_threshold.json.

    python bench/site_threshold.py --data ../shared/data --judged 20 50 200 --made runs/open-set-openset-FINGERPRINT.npz

plays the first half of a road, lets somebody who knows the vehicles judge so many of its doubtful sightings, and counts on the
second half: without that, with the gallery corrected, and with the thresholds calibrated too (`vreid gallery calibrate`); with
and without a topology that says who is a stranger of whom across the cameras. `--made`: tracks that bench/open_set.py has kept.

    python bench/site_threshold.py --data ../shared/data --bias 5

plays as many roads of highway2cam, lets all doubtful sightings of the first half be judged and the thresholds be calibrated, and
counts on the second half: with the cameras' bias taken off, with raw features, and as the calibration decided.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rows import RESULTS

from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import Gallery, edit_gallery, open_gallery
from vreid.runtime.gallery.doubts import calibrate, confirm, doubtful, reject
from vreid.runtime.identify import Identifier
from vreid.runtime.judged_pairs import FEWEST
from vreid.runtime.records import FinishedTrack, Floats, Trace
from vreid.runtime.run import run_session
from vreid.runtime.score_norm import stretched
from vreid.runtime.session import Session
from vreid.runtime.site_evidence import evidence_of
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.threshold import FixedThreshold
from vreid.runtime.topology import CameraPair, Layout, Topology
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset

RATES = (0.01, 0.05, 0.1)
SCENES = (11, 12, 13, 14)
VIEW_S, LEAST_S, MOST_S = 4.0, 30.0, 90.0
PER_SECOND = 0.15
LANES = 3
APART = Topology(Layout(pair=(CameraPair(cameras=("cam1", "cam2"), least_s=LEAST_S - VIEW_S),)))


def embedded(data: Path, embedder: Embedder, held_out: float | None = None) -> dict[str, dict[str, Floats]]:
    """vehicle -> camera -> feature (D,), of a CSV of pictures; of a share held out only these vehicles."""
    with (data / "train.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if held_out:
        held = {item.vehicle for item in cut(read_dataset(data), held_out)[1].query}
        rows = [row for row in rows if row["vehicle"] in held]
    found: dict[str, dict[str, Floats]] = {}
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        pictures = [cv2.imread(str(data / row["path"])) for row in part]
        for row, feature in zip(part, embedder.embed(pictures), strict=True):
            found.setdefault(row["vehicle"], {})[row["camera"]] = feature
    return found


def views_of(kept: Path) -> dict[str, dict[str, Floats]]:
    """vehicle -> camera -> feature (D,), of the tracks that bench/open_set.py has kept, of two cameras."""
    tracks = np.load(kept)
    found: dict[str, dict[str, Floats]] = {}
    for vehicle, camera, feature in zip(tracks["vehicles"], tracks["cameras"], tracks["features"], strict=True):
        found.setdefault(str(vehicle), {})[f"cam{camera + 1}"] = feature
    return {vehicle: views for vehicle, views in found.items() if {"cam1", "cam2"} <= views.keys()}


def tail_of(features: dict[str, dict[str, Floats]]) -> dict[str, float]:
    """s = -log(1 - cosine) that a share of the pairs of different vehicles in two cameras reaches."""
    cameras = [np.stack([views[camera] for views in features.values()]) for camera in ("cam1", "cam2")]
    cosines = (cameras[0] @ cameras[1].T)[~np.eye(len(features), dtype=bool)]
    return {
        f"{share:g}": round(float(np.quantile(stretched(cosines), 1 - share)), 2)
        for share in (0.1, 0.01, 0.001, 0.0001)
    }


def passages(vehicles: Sequence[str], rng: np.random.Generator) -> list[tuple[float, str, str, int]]:
    """(time, camera, vehicle, lane) of a road's passages, by time."""
    came = np.cumsum(rng.exponential(1 / PER_SECOND, len(vehicles)))
    lanes = rng.integers(0, LANES, len(vehicles))
    found = []
    for number, (vehicle, time, lane) in enumerate(zip(vehicles, came.tolist(), lanes.tolist(), strict=True)):
        if number % 4 != 3:  # a quarter passes the second camera only
            found.append((time, "cam1", vehicle, lane))
        if number % 4 != 2:  # a quarter the first
            found.append((time + float(rng.uniform(LEAST_S, MOST_S)), "cam2", vehicle, lane))
    return sorted(found)


def played_road(
    features: dict[str, dict[str, Floats]], embedder: Embedder, vehicles: Sequence[str], rate: float | None, seed: int
) -> dict[str, int]:
    """Counts: vehicles that came back, those found again, passages of new vehicles, and those falsely known."""
    with tempfile.TemporaryDirectory() as folder:
        road = passages(vehicles, np.random.default_rng(seed))
        return played(Path(folder) / "road.db", features, embedder, list(enumerate(road)), rate, {})


def played(
    path: Path,
    features: dict[str, dict[str, Floats]],
    embedder: Embedder,
    road: Sequence[tuple[int, tuple[float, str, str, int]]],
    rate: float | None,
    ids: dict[str, int | None],
    topology: Topology = APART,
) -> dict[str, int]:
    """Counts over passages with their numbers, in the gallery at `path`; `ids`: of the vehicles that came before."""
    match, manifest = embedder.match, embedder.manifest
    counts = dict.fromkeys(("back", "found", "new", "false", "doubtful"), 0)
    with open_gallery(
        path, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name, write=True
    ) as gallery:
        kept = gallery.site_threshold()
        rule = FixedThreshold(match.threshold) if rate is None else SiteThreshold(match, rate, topology, kept)
        identifier = Identifier(gallery, rule, enrol_unknown=True, topology=topology)
        with gallery.transaction():
            for number, (time, camera, vehicle, lane) in road:
                track, trace = passage(number, time, camera, features[vehicle][camera], lane)
                identifier.observe(track, trace)
                given = identifier.identify(track)
                counts["doubtful"] += given.answer == "doubtful"
                if vehicle in ids:
                    counts["back"] += 1
                    counts["found"] += given.known and given.vehicle == ids[vehicle]
                else:
                    counts["new"] += 1
                    counts["false"] += given.known
                    ids[vehicle] = given.vehicle
        identifier.keep()
    return counts


def passage(number: int, time: float, camera: str, feature: Floats, lane: int) -> tuple[FinishedTrack, Trace]:
    """A vehicle that passes a camera on one of the lanes."""
    frames = np.arange(round(10 * time), round(10 * (time + VIEW_S)))
    boxes = np.tile(np.array([200.0 * lane, 0, 200.0 * lane + 100, 80], np.float32), (len(frames), 1))
    boxes[:, [1, 3]] += 10 * np.arange(len(frames), dtype=np.float32)[:, None]
    track = FinishedTrack(
        camera, number, int(frames[0]), int(frames[-1]), time, time + VIEW_S, 2, feature, 1, 0.8,
        np.zeros((8, 8, 3), np.uint8),
    )  # fmt: skip
    return track, Trace(frames, boxes, np.ones(len(frames), np.float32))


def answer(gallery: Gallery, who: Sequence[str], ids: dict[str, int | None], most: int) -> int:
    """Judge the first doubtful sightings as somebody does who knows `who` passed by number; how many. Those that
    get another vehicle so have it in `ids`."""
    first: dict[int, str] = {}  # of each vehicle, whom it was made of
    name: dict[int, str] = {}  # of each sighting
    for vehicle in gallery.vehicles(thumbnails=False):
        seen = sorted(gallery.sightings(vehicle.id), key=lambda one: one.id)
        name |= {one.id: who[one.track] for one in seen}
        first[vehicle.id] = name[seen[0].id]
    for done in range(most):
        if not (waiting := doubtful(gallery)):
            return done
        doubt = waiting[0]
        own, wrong = name[doubt.sighting], doubt.vehicle
        right = [one.vehicle for one in doubt.candidates if one.vehicle != wrong and first[one.vehicle] == own]
        if right:
            ids[own] = confirm(gallery, doubt.sighting, right[0]).vehicle
        elif first[wrong] == own:
            confirm(gallery, doubt.sighting)
        else:
            new = reject(gallery, doubt.sighting).vehicle
            first[new] = own
            ids[own] = new if ids[own] == wrong else ids[own]
    return most


def judged_rows(
    name: str, features: dict[str, dict[str, Floats]], embedder: Embedder, size: int, rounds: int, judged: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """What so many judged sightings of the first half bring on the second half of a road."""
    for topology, known in ((APART, "topology"), (Topology(), "no topology")):
        totals: dict[tuple[int, str], dict[str, int]] = {}
        for seed in range(rounds):
            vehicles = np.random.default_rng(seed).permutation(sorted(features))[:size].tolist()
            road = list(enumerate(passages(vehicles, np.random.default_rng(seed))))
            who, half = [vehicle for _, (_, _, vehicle, _) in road], len(road) // 2
            with tempfile.TemporaryDirectory() as folder:
                ids: dict[str, int | None] = {}
                played(Path(folder) / "first.db", features, embedder, road[:half], RATES[1], ids, topology)
                for most, arm in [(0, "as it was"), *((n, arm) for n in judged for arm in ("corrected", "calibrated"))]:
                    path, now = Path(folder) / f"{most}-{arm}.db", dict(ids)
                    shutil.copyfile(Path(folder) / "first.db", path)
                    with edit_gallery(path) as gallery:
                        done = answer(gallery, who, now, most)
                        if arm == "calibrated":
                            calibrate(gallery)
                    counts = played(path, features, embedder, road[half:], RATES[1], now, topology)
                    total = totals.setdefault((most, arm), {})
                    for key, count in {"judged": done, **counts}.items():
                        total[key] = total.get(key, 0) + count
        for (most, arm), total in totals.items():
            yield {
                "scene": f"{name}, {size} vehicles x {rounds}, {known}",
                "rate": RATES[1],
                "wanted": most,
                "arm": arm,
                **total,
            }


def bias_rows(
    name: str, features: dict[str, dict[str, Floats]], embedder: Embedder, rounds: int
) -> Iterator[dict[str, Any]]:
    """The second half of a road by each way of comparing, after all doubtful sightings of the first half were judged."""
    for seed in range(rounds):
        vehicles = np.random.default_rng(seed).permutation(sorted(features)).tolist()
        road = list(enumerate(passages(vehicles, np.random.default_rng(seed))))
        who, half = [vehicle for _, (_, _, vehicle, _) in road], len(road) // 2
        with tempfile.TemporaryDirectory() as folder:
            first, ids = Path(folder) / "first.db", dict[str, int | None]()
            played(first, features, embedder, road[:half], RATES[1], ids)
            with edit_gallery(first) as gallery:
                doubts = answer(gallery, who, ids, len(road))
                gain = calibrate(gallery).bias_gain
            given = replace(gain, confirmed=FEWEST, confirmed_raw=0, confirmed_without=0)
            for arm, forced in (
                ("without bias", given),
                ("raw", replace(given, confirmed_raw=1)),
                (f"as decided: {'without bias' if gain.used else 'raw'}", gain),
            ):
                path = Path(folder) / f"{arm}.db"
                shutil.copyfile(first, path)
                with edit_gallery(path) as gallery:
                    evidence = evidence_of(str(gallery.site_threshold()))
                    gallery.keep_site_threshold(replace(evidence, gain=forced).as_text())
                counts = played(path, features, embedder, road[half:], RATES[1], dict(ids), APART)
                yield {
                    "scene": f"{name}, seed {seed}",
                    "rate": RATES[1],
                    "arm": arm,
                    "judged": doubts,
                    **asdict(gain),
                    **counts,
                }


def road_rows(
    name: str, features: dict[str, dict[str, Floats]], embedder: Embedder, size: int, rounds: int
) -> Iterator[dict[str, Any]]:
    """The road with that many vehicles, several times with others where there are more."""
    names = sorted(features)
    for rate in (None, *RATES):
        total = Counter[str]()
        for seed in range(rounds):
            vehicles = np.random.default_rng(seed).permutation(names)[:size].tolist()
            total.update(played_road(features, embedder, vehicles, rate, seed))
        yield {"scene": f"{name}, {size} vehicles x {rounds}", "rate": rate, **total}


def one_way(run: Path) -> dict[str, int]:
    """Counts over sightings.jsonl of a road on which nobody comes back."""
    lines = [json.loads(line) for line in (run / "sightings.jsonl").read_text(encoding="utf-8").splitlines()]
    last: dict[int, float] = {}
    false = 0
    for line in sorted(lines, key=lambda line: float(line["first_time"])):
        seen = last.get(line["vehicle"])
        false += seen is not None and line["first_time"] - seen > 2
        last[line["vehicle"]] = max(line["last_time"], -np.inf if seen is None else seen)
    return {"new": len(lines), "false": false}


def run_rows(
    name: str, model: str, sources: list[str], detector: str, truth: Path | None, topology: Path | None = None
) -> Iterator[dict[str, Any]]:
    """A run of files by each threshold."""
    for rate in (None, *RATES):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            fixed = open_embedder(model).threshold if rate is None else None
            session = Session(
                sources=sources, model=model, detector=detector, out=out, enrol_unknown=True, truth=truth, topology=topology,
                threshold=fixed, false_match_rate=rate or RATES[0],
            )  # fmt: skip
            summary = run_session(session, threading.Event())
            row: dict[str, Any] = {"scene": name, "rate": rate}
            if truth is None:
                row |= one_way(out)
            else:
                row |= {key: round(summary["identity"][key], 3) for key in ("idf1", "kept_over_cameras")}
        yield row


def scene_rows(video: Path, model: str, yolox: str | None) -> Iterator[dict[str, Any]]:
    """Runs with ground truth: the three cameras of `video`, and synthetic scenes that are drawn here."""
    sources = [str(path) for path in sorted(video.glob("cam*.mp4"))]
    with tempfile.TemporaryDirectory() as folder:
        topology = Path(folder) / "cameras.toml"
        topology.write_text(
            '[[pair]]\ncameras = ["cam1", "cam2"]\noverlap = true\n'
            '[[pair]]\ncameras = ["cam2", "cam3"]\nleast_s = 2\n[[pair]]\ncameras = ["cam1", "cam3"]\nleast_s = 2\n'
        )
        yield from run_rows("roadside-video, true boxes", model, sources, f"replay:{video}", video)
        yield from run_rows("roadside-video, true boxes, topology", model, sources, f"replay:{video}", video, topology)
        yield from run_rows("roadside-video, motion", model, sources, "motion", video)
        if yolox:
            yield from run_rows("roadside-video, YOLOX in tiles", model, sources, f"yolox:{yolox}?tiles=2", video)
        for seed in SCENES:
            scene = Path(folder) / str(seed)
            made = ["--out", str(scene), "--seed", str(seed), "--vehicles", "24", "--seconds", "40"]
            subprocess.run(
                [sys.executable, "-m", "vreid.cli.main", "synth", "city", *made], check=True, stdout=subprocess.DEVNULL
            )
            videos = [str(path) for path in sorted(scene.glob("cam*.mp4"))]
            yield from run_rows(f"synthetic scene {seed}, true boxes", model, videos, f"replay:{scene}", scene)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="vreid-s", help="manifest .json, or the name of a bundled model")
    parser.add_argument(
        "--held-out", type=float, metavar="SHARE", help="of highway2cam only those vehicles that vreid train holds out"
    )
    parser.add_argument("--judged", type=int, nargs="+", help="only what so many judged sightings bring")
    parser.add_argument("--made", type=Path, help="with --judged: synthetic vehicles too, tracks of bench/open_set.py")
    parser.add_argument("--yolox", help="a YOLOX file: runs of roadside-video with it, too")
    parser.add_argument(
        "--bias", type=int, metavar="ROADS", help="only what the cameras' bias brings, on so many roads"
    )
    flags = parser.parse_args()
    cv2.setNumThreads(1)
    embedder = open_embedder(flags.model)
    rows: list[dict[str, Any]] = []

    def show(found: Iterator[dict[str, Any]]) -> None:
        for row in found:
            how = "fixed" if row["rate"] is None else f"site, {row['rate']:.0%} requested"
            print(" | ".join([row["scene"], how, *map(str, list(row.values())[2:])]), flush=True)
            rows.append({**row, "model": embedder.manifest.fingerprint, "date": date.today().isoformat()})

    if flags.bias:
        show(
            bias_rows(
                "highway2cam", embedded(flags.data / "highway2cam", embedder, flags.held_out), embedder, flags.bias
            )
        )
        (RESULTS / "camera_bias.json").write_text(json.dumps(rows, indent=2) + "\n")
        return
    if flags.judged:
        features = embedded(flags.data / "highway2cam", embedder, flags.held_out)
        show(judged_rows("highway2cam", features, embedder, len(features), 5, [n for n in flags.judged if n <= 50]))
        if flags.made:
            show(judged_rows("synthetic", views_of(flags.made), embedder, 1500, 2, flags.judged))
        (RESULTS / "judged_pairs.json").write_text(json.dumps(rows, indent=2) + "\n")
        return
    for name in ("traffic", "highway"):
        motorway = flags.data / "motorway"
        show(
            run_rows(
                f"{name}.mp4", flags.model, [str(motorway / f"{name}.mp4")], f"replay:{motorway}/boxes/{name}.txt", None
            )
        )
    features = embedded(flags.data / "highway2cam", embedder, flags.held_out)
    print("highway2cam, s of pairs of two cameras by share:", tail_of(features))
    for size, rounds in ((40, 10), (400, 3)):
        if len(features) >= size:
            show(road_rows("highway2cam", features, embedder, size, rounds))
    show(scene_rows(flags.data / "roadside-video", flags.model, flags.yolox))
    (RESULTS / "site_threshold.json").write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
