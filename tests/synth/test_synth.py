"""The synthetic scene: the same pixels every time, boxes that hold what was drawn, ids that all cameras share."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.runtime.sources.synth import open_synth, synth_truth
from vreid.runtime.sources.table import open_source
from vreid.synth.body import SHAPES, mesh_of, shape_of
from vreid.synth.city import Scene, city
from vreid.synth.crops import crop, random_place, training_crops, training_vehicle
from vreid.synth.vehicle import SHARES, random_vehicle

FRAMES = range(0, 200, 9)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return city(7)


def test_a_frame_depends_only_on_scene_camera_and_index(scene: Scene) -> None:
    again = city(7)
    later = again.frame(1, 90)  # in another order
    assert np.array_equal(again.frame(1, 20), scene.frame(1, 20))
    assert np.array_equal(scene.frame(1, 90), later)
    assert again.truth(1, 90) == scene.truth(1, 90)
    assert not np.array_equal(scene.frame(1, 20), scene.frame(1, 21))
    assert city(8).passages[0].vehicle != scene.passages[0].vehicle


def test_a_box_holds_all_that_was_drawn_and_no_more(scene: Scene) -> None:
    """Of a single vehicle, without its shadow: the pixels in which the frame differs from the empty road."""
    views = tuple(replace(view, light=replace(view.light, shadow=0.0, blur=0.0)) for view in scene.views)
    bare = replace(scene, views=views, passages=())
    checked, loose = 0, []
    for number, passage in enumerate(scene.passages):
        single = replace(scene, views=views, passages=(passage,))
        for camera in (1, 3):
            single.backdrops[camera] = bare.backdrop(camera)
            for index in range(number, 200, 20):
                for row in single.truth(camera, index):
                    full = single.frame(camera, index).astype(int)
                    changed = (np.abs(full - bare.frame(camera, index)).max(axis=2) > 0).astype(np.uint8)
                    x, y, w, h = cv2.boundingRect(changed)
                    assert x >= row.x - 2.5 and y >= row.y - 2.5, (camera, index)
                    assert x + w <= row.x + row.w + 2.5 and y + h <= row.y + row.h + 2.5, (camera, index)
                    loose.append(w * h / (row.w * row.h))
                    checked += 1
    assert checked > 20
    assert 0.95 < np.mean(loose) < 1.1


def test_most_vehicles_pass_two_cameras_under_one_id_and_are_away_in_between(scene: Scene) -> None:
    seen: dict[int, dict[int, list[int]]] = {}
    for camera in (1, 2, 3):
        for index in range(0, scene.frames, 2):
            for row in scene.truth(camera, index):
                seen.setdefault(row.vehicle, {}).setdefault(camera, []).append(index)
    assert set(seen) <= set(range(1, 13))
    assert sum(len(cameras) >= 2 for cameras in seen.values()) >= 9
    for cameras in seen.values():
        for first, second in ((1, 2), (2, 3)):
            assert not set(cameras.get(first, ())) & set(cameras.get(second, ()))


def test_boxes_lie_in_the_frame_and_are_worth_finding(scene: Scene) -> None:
    rows = [row for camera in (1, 2, 3) for index in FRAMES for row in scene.truth(camera, index)]
    assert all(row.x >= 0 and row.y >= 0 and row.x + row.w <= 960.01 and row.y + row.h <= 540.01 for row in rows)
    assert all(row.w >= 12 and 0 <= row.visibility <= 1 for row in rows)


def test_what_a_nearer_vehicle_hides_is_less_visible() -> None:
    scenes = [city(seed, vehicles=20, seconds=10) for seed in (1, 2)]
    shares = [
        row.visibility
        for scene in scenes
        for camera in (1, 3)
        for index in range(0, 100, 3)
        for row in scene.truth(camera, index)
        if row.x > 1 and row.x + row.w < 958 and row.y > 1 and row.y + row.h < 538
    ]
    assert max(shares) == 1.0 and min(shares) < 0.7


@pytest.mark.parametrize("kind", list(SHARES))
def test_a_body_is_as_large_as_its_kind(kind: str) -> None:
    points = mesh_of(random_vehicle(np.random.default_rng(1), kind)).points  # type: ignore[arg-type]
    length, width, height = np.ptp(points, axis=0)
    assert 3.5 < length < 12 and 1.6 < width < 2.7 and 1.3 < height < 3.8 and points[:, 2].min() >= -0.01


@pytest.mark.parametrize("kind", list(SHARES))
def test_bends_of_a_kind_are_other_bodies_that_could_be_built(kind: str) -> None:
    whole = shape_of(kind, 0)  # type: ignore[arg-type]
    bends = [shape_of(kind, body) for body in range(1, 60)]  # type: ignore[arg-type]
    assert len({whole, *bends}) == 60 and whole is SHAPES[kind]  # type: ignore[index]
    for shape in bends:
        assert (
            0 < shape.bonnet <= shape.roof[0] < shape.roof[1] <= shape.back <= 1
            and shape.nose <= shape.belt < shape.size[2]
        )
        assert all(0.85 < one / other < 1.15 for one, other in zip(shape.size, whole.size, strict=True))
        assert all(shape.wheel / shape.size[0] < axle < 1 - shape.wheel / shape.size[0] for axle in shape.axles)
    vehicle = random_vehicle(np.random.default_rng(1), kind)  # type: ignore[arg-type]
    plain, bent = (mesh_of(replace(vehicle, body=body)).points for body in (0, 7))
    assert not np.allclose(np.ptp(plain, axis=0), np.ptp(bent, axis=0), rtol=0.005)
    assert np.ptp(bent, axis=0)[0] > 3.2 and bent[:, 2].min() >= -0.01


def test_training_vehicles_with_bends_are_else_the_same() -> None:
    plain, bent = ([training_vehicle(0, number, bodies) for number in range(60)] for bodies in (0, 5))
    assert {vehicle.body for vehicle in plain} == {0} and {vehicle.body for vehicle in bent} == {1, 2, 3, 4, 5}
    assert [replace(vehicle, body=0) for vehicle in bent] == plain
    first = [next(training_crops(0, 2, 1, 1, bodies))[2] for bodies in (0, 5, 5)]
    assert np.array_equal(first[1], first[2]) and not np.array_equal(first[0], first[1])


def test_crops_repeat_and_vary_more_between_vehicles_than_within() -> None:
    place = random_place(5)

    def features(number: int) -> list[np.ndarray]:
        rng, mesh = np.random.default_rng(number), mesh_of(training_vehicle(0, number))
        images = [crop(place, mesh, rng) for _ in range(6)]
        return [
            cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).ravel() / 255
            for image in images
            if image is not None
        ]

    groups = [np.array(features(number)) for number in range(12)]
    assert all(np.array_equal(a, b) for a, b in zip(features(0), groups[0], strict=True))
    centres = np.array([group.mean(axis=0) for group in groups])
    within = np.mean([group.std(axis=0).mean() for group in groups])
    assert centres.std(axis=0).mean() > 0.5 * within
    assert len({training_vehicle(0, number) for number in range(50)} | {training_vehicle(1, 0)}) == 51


def test_training_crops_count_vehicles_and_cameras() -> None:
    rows = list(training_crops(3, vehicles=4, cameras=2, per_camera=2))
    assert {vehicle for vehicle, _, _ in rows} == {1, 2, 3, 4} and {camera for _, camera, _ in rows} == {1, 2}
    assert all(image.dtype == np.uint8 and image.ndim == 3 and min(image.shape[:2]) >= 16 for _, _, image in rows)
    with pytest.raises(Refused, match="at least one"):
        training_crops(3, vehicles=0, cameras=2, per_camera=2)


def test_the_source_gives_the_scene_and_its_truth() -> None:
    uri = "synth://city?camera=2&seed=3&seconds=1&fps=5&vehicles=6"
    source = open_synth(uri, "bridge")
    frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert (source.camera, source.live, source.frame_rate, source.size, source.dropped) == (
        "bridge",
        False,
        5.0,
        (960, 540),
        0,
    )
    assert frames[2].camera == "bridge" and frames[2].time == pytest.approx(0.4)
    same = city(3, vehicles=6, seconds=1, cameras=3, fps=5)
    assert np.array_equal(frames[3].image, same.frame(2, 3))
    assert synth_truth(uri) == {index: same.truth(2, index) for index in range(5)}
    source.close()
    assert list(source) == []
    assert open_source(f"gate={uri}").camera == "gate"


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("synth://village", "no synthetic place"),
        ("synth://city/north", "no synthetic place"),
        ("synth://city?colour=red", "no parameter 'colour'"),
        ("synth://city?camera=4", "cameras 1 to 3"),
        ("synth://city?camera=0", "cameras 1 to 3"),
        ("synth://city?camera=one", "camera is a number"),
        ("synth://city?seed=1.5", "seed is a whole number"),
        ("synth://city?seconds=nan", "seconds"),
        ("synth://city?seed=-1", "seed from 0"),
        ("synth://city?fps=0", "1-60 fps"),
        ("synth://city?vehicles=500", "do not fit"),
    ],
)
def test_a_uri_that_makes_no_scene_is_refused(uri: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        open_synth(uri, "cam")
    with pytest.raises(Refused, match=says):
        synth_truth(uri)


def test_vreid_synth_city_writes_videos_and_truth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "city"
    words = ["synth", "city", "--out", str(out), "--seconds", "1", "--cameras", "1", "--vehicles", "6", "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 10
    video = cv2.VideoCapture(str(out / "cam1.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 10 and video.read()[1].shape == (540, 960, 3)
    rows = [line.split(",") for line in (out / "gt_cam1.txt").read_text(encoding="utf-8").splitlines()]
    assert rows and all(len(row) == 9 and 1 <= int(row[0]) <= 10 and row[6] == "1" and row[7] in "257" for row in rows)
    assert main(words) == 2
    assert "not empty" in capsys.readouterr().err


def test_crops_to_measure_on_are_called_test_csv(tmp_path: Path) -> None:
    words = [
        "synth",
        "crops",
        "--out",
        str(tmp_path / "t"),
        "--vehicles",
        "1",
        "--cameras",
        "1",
        "--per-camera",
        "1",
        "--test",
    ]
    assert main(words) == 0
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == ["images", "test.csv"]


def test_vreid_synth_crops_writes_a_data_set(tmp_path: Path) -> None:
    out = tmp_path / "crops"
    assert main(["synth", "crops", "--out", str(out), "--vehicles", "3", "--cameras", "1", "--per-camera", "2"]) == 0
    with (out / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "vehicle", "camera", "type"] and {row["vehicle"] for row in rows} == {
        "1",
        "2",
        "3",
    }
    assert all((out / row["path"]).is_file() and row["type"] in SHARES for row in rows)
