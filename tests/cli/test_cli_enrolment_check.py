"""`vreid gallery enrol` looks at its pictures first: size, sharpness, how many vehicles, and who is known already."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from gallery_verbs import document, refused

from vreid.cli.main import main
from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import detail_of
from vreid.runtime.detectors.table import open_detector
from vreid.runtime.enrolment_check import LEAST_DETAIL, LEAST_SIDE, detector_at_hand, fault_of_picture, look_alikes
from vreid.runtime.gallery import read_gallery
from vreid.runtime.records import Detections, Frame, no_detections


def sharp(colour: tuple[int, int, int], height: int = 60, width: int = 80) -> Image:
    """A picture of that mean colour, full of edges."""
    noise = np.random.default_rng(0).integers(-60, 61, (height, width, 1))
    return np.asarray(np.clip(np.array(colour) + noise, 0, 255), np.uint8)


def vehicles(*boxes: tuple[float, float, float, float]) -> Detections:
    return Detections(np.array(boxes, np.float32), np.ones(len(boxes), np.float32), np.full(len(boxes), 2, np.int64))


def test_what_is_wrong_with_a_picture() -> None:
    picture = sharp((120, 60, 60))
    assert fault_of_picture(picture, None) is None and fault_of_picture(picture, no_detections()) is None
    assert fault_of_picture(picture, vehicles((5, 5, 75, 55))) is None
    assert fault_of_picture(picture, vehicles((5, 5, 75, 55), (0, 0, 20, 20))) is None  # a small one behind it
    assert "shows 2 vehicles" in str(fault_of_picture(picture, vehicles((0, 0, 38, 60), (42, 0, 80, 60))))
    assert "on only 8 % of its area" in str(fault_of_picture(picture, vehicles((0, 0, 20, 20))))
    small = sharp((120, 60, 60), LEAST_SIDE - 1)
    assert f"is too small (80 x {LEAST_SIDE - 1})" in str(fault_of_picture(small, None))
    blurred = np.asarray(cv2.GaussianBlur(picture, (0, 0), 8), np.uint8)
    assert detail_of(blurred) < LEAST_DETAIL < detail_of(picture)
    assert "is blurred" in str(fault_of_picture(blurred, None))


def test_the_nearest_of_the_gallery_and_of_the_same_call_are_said() -> None:
    one, near, far = (np.array([row], np.float32) for row in ([1, 0, 0], [0.96, 0.28, 0], [0, 0, 1]))
    found = look_alikes(None, {"a": one, "b": near, "c": far}, 0.9)
    assert [(alike.name, alike.other, round(alike.score, 2)) for alike in found] == [("b", "a", 0.96)]
    assert look_alikes(None, {"a": one, "b": near, "c": far}, 0.97) == []


def test_a_picture_that_is_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    db, good, bad = tmp_path / "known.db", tmp_path / "taxi.png", tmp_path / "van.png"
    cv2.imwrite(str(good), sharp((60, 60, 120)))
    cv2.imwrite(str(bad), np.full((60, 80, 3), 90, np.uint8))
    to = ("--gallery", db, "--model", tiny_model)
    printed = refused(capsys, "enrol", good, bad, *to)
    assert f"{bad} is blurred" in printed and "add --force" in printed
    assert not db.exists()
    done = document(capsys, "enrol", good, *to)
    assert (done["faults"], done["alike"]) == ([], [])
    again = tmp_path / "cab.png"
    shutil.copy(good, again)
    assert main(["gallery", "enrol", str(again), str(bad), *map(str, to), "--force"]) == 0
    said = capsys.readouterr().err
    assert "checked for size and sharpness only" in said
    assert "'cab' is nearly the same as 'taxi' (cosine 1.00)" in said and f"enrolled although {bad} is blurred" in said
    with read_gallery(db) as gallery:
        assert gallery.size()[0] == 3
    assert "there is no" in refused(capsys, "enrol", good, *to, "--detector", "model:nowhere.onnx", "--name", "x")


def test_a_real_detector_counts_vehicles(
    tmp_path: Path, tiny_model: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frame of a motorway shows many, and a crop of it one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    network = shared / "models" / "yolox_nano.onnx"
    film = cv2.VideoCapture(str(shared / "data" / "motorway" / "traffic.mp4"))
    read, frame = film.read()
    film.release()
    assert read
    [found] = open_detector(f"model:{network}").detect([_frame(frame)])
    assert found is not None and len(found) > 2
    x1, y1, x2, y2 = (
        round(float(edge)) for edge in found.boxes[np.prod(found.boxes[:, 2:] - found.boxes[:, :2], 1).argmax()]
    )
    road, car = tmp_path / "road.png", tmp_path / "car.png"
    cv2.imwrite(str(road), frame)
    cv2.imwrite(str(car), frame[max(0, y1) : y2, max(0, x1) : x2])
    to = ("--gallery", tmp_path / "known.db", "--model", tiny_model, "--detector", f"model:{network}")
    printed = refused(capsys, "enrol", road, *to)
    assert f"{road} shows " in printed or f"{road} has its vehicle on" in printed
    assert main(["gallery", "enrol", str(car), *map(str, to)]) == 0
    assert f"model:{network} counted the vehicles in each picture" in capsys.readouterr().err.replace("\n", "")


def test_a_detector_is_at_hand_once_it_is_fetched(tmp_path: Path, shared: Path) -> None:
    for name in ("yolox_nano", "yolox_tiny"):
        (tmp_path / name).mkdir()
    assert detector_at_hand(tmp_path) is None
    (tmp_path / "yolox_nano" / "yolox_nano.onnx").write_bytes(b"cut short")  # which does not open
    shutil.copy(shared / "models" / "yolox_nano.onnx", tmp_path / "yolox_tiny" / "yolox_tiny.onnx")
    found = detector_at_hand(tmp_path)
    assert found is not None and found[0] == "yolox_tiny"


def _frame(image: Image) -> Frame:
    return Frame("road", 0, 0.0, image)
