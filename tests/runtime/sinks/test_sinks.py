"""What a run writes line by line and frame by frame: the files are read back as a stranger would."""

import json

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.report.formats import colour_of
from vreid.runtime.mot import read_mot
from vreid.runtime.records import FinishedTrack, Frame, Match, Trace, kind_name
from vreid.runtime.sinks.annotate import annotate, label_of
from vreid.runtime.sinks.jsonl import json_text
from vreid.runtime.sinks.table import SINKS, open_sink
from vreid.runtime.sources.table import open_source

EVIL = "<b>\"'&</script>"


def sighted(
    camera="a", track=1, vehicle=1, known=False, *, first=0, frames=10, quality=0.5, name=None, score=0.8, kind=2
):
    """A sighting of a vehicle that moves 2 pixels a frame, ten frames a second; its picture is 90 x 240 noise."""
    picture = np.random.default_rng(track).integers(0, 256, (240, 90, 3), dtype=np.uint8)
    times = first / 10, (first + frames - 1) / 10
    feature = np.ones(4, np.float32) / 2
    sighting = FinishedTrack(camera, track, first, first + frames - 1, *times, kind, feature, 3, quality, picture)
    boxes = np.array([[10, 20, 50, 40]], np.float32) + 2 * np.arange(frames, dtype=np.float32)[:, None]
    trace = Trace(np.arange(first, first + frames), boxes, np.full(frames, 0.9, np.float32))
    return sighting, Match(vehicle, name, score, known), trace


def summary(*cameras):
    return {"cameras": {camera: {"frames": 100} for camera in cameras}, "vehicles": 2, "stages": {}, "identity": None}


# --- the seam ---


def test_every_sink_opens_and_an_unknown_one_is_refused(tmp_path):
    for name in SINKS:
        open_sink(name, tmp_path).close(summary("a"))
    with pytest.raises(Refused, match="choose one of: jsonl, mot, report"):
        open_sink("video", tmp_path)


def test_kinds_have_the_names_of_coco():
    assert [kind_name(kind) for kind in (2, 3, 5, 7, -1, 0)] == ["car", "motorcycle", "bus", "truck"] + ["vehicle"] * 2


# --- jsonl ---


def test_a_line_is_on_the_disk_as_soon_as_it_is_decided(tmp_path):
    sink = open_sink("jsonl", tmp_path)
    for number in (1, 2, 3):
        sink.sighting(*sighted(EVIL, number, None if number == 3 else 7, first=number, name="a\nb", score=-np.inf))
        lines = (tmp_path / "sightings.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["track"] for line in lines] == list(range(1, number + 1))
    sink.close(summary())
    assert json.loads(lines[0]) == {
        **{"camera": EVIL, "track": 1, "vehicle": 7, "name": "a\nb", "known": False, "score": None},
        **{"first_frame": 1, "last_frame": 10, "first_time": 0.1, "last_time": 1.0, "kind": "car", "crops": 3},
        **{"seen": None, "plate": None, "zones": [], "kept": None},
        **{"quality": 0.5, "box": [28.0, 38.0, 68.0, 58.0], "threshold": 1.0, "calibrated": "manifest"},
        **{"answer": "new", "maybe": None, "withheld": None},
    }
    assert json.loads(lines[2])["vehicle"] is None


def test_json_is_what_every_reader_takes():
    value = {
        "a": np.float32(0.5),
        "b": [np.int64(3), float("nan")],
        4: np.array([1.0, np.inf]),
        "c": {"d": (True, None)},
    }
    assert json.loads(json_text(value)) == {"a": 0.5, "b": [3, None], "4": [1.0, None], "c": {"d": [True, None]}}


# --- mot ---


def test_mot_ids_are_vehicles_shared_over_cameras(tmp_path):
    sink = open_sink("mot", tmp_path)
    sink.sighting(*sighted("a", 5, 12, first=20))
    sink.sighting(*sighted("b", 9, 12, first=3))
    sink.sighting(*sighted("a", 6, 4, first=15))
    sink.sighting(*sighted("a", 7, None))
    sink.close(summary("a", "b", "c"))
    assert sorted(path.name for path in (tmp_path / "mot").iterdir()) == ["a.txt", "b.txt", "c.txt"]
    a, b, c = (read_mot(tmp_path / "mot" / f"{camera}.txt") for camera in "abc")
    assert len(c) == 0 and set(a.ids) == {4, 12} and set(b.ids) == {12}
    keys = list(zip(a.frames, a.ids, strict=True))
    assert keys == sorted(set(keys)) and a.frames[0] == 16 and b.frames[0] == 4
    np.testing.assert_allclose(a.boxes[0], [10, 20, 40, 20])
    line = (tmp_path / "mot" / "b.txt").read_text().splitlines()[0].split(",")
    assert [float(field) for field in line] == pytest.approx([4, 12, 10, 20, 40, 20, 0.9, 2, -1])


def test_one_vehicle_has_one_box_in_a_frame_the_surer(tmp_path):
    sink = open_sink("mot", tmp_path)
    for score, shift in ((0.4, 0), (0.7, 100), (0.5, 200)):
        sighting, match, trace = sighted("a", 1, 3, frames=4)
        sink.sighting(sighting, match, Trace(trace.frames, trace.boxes + shift, trace.scores * 0 + score))
    sighting, match, trace = sighted("a", 2, 4, frames=4)
    sink.sighting(sighting, match, Trace(trace.frames, trace.boxes * 0, trace.scores))  # no box at all
    sink.close(summary("a"))
    rows = read_mot(tmp_path / "mot" / "a.txt")
    assert list(rows.frames) == [1, 2, 3, 4] and rows.boxes[0, 0] == 110


def test_a_camera_cannot_write_outside_its_folder(tmp_path):
    sink = open_sink("mot", tmp_path)
    sink.sighting(*sighted("../../x", 1, 1))
    sink.close(summary())
    assert [path.name for path in tmp_path.rglob("*.txt")] == [".._.._x.txt"]
    assert [path.parent.name for path in tmp_path.rglob("*.txt")] == ["mot"]


# --- annotate ---


def write_grey(path, frames=12, size=(161, 121)):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, size)
    for _ in range(frames):
        writer.write(np.full((size[1], size[0], 3), 90, np.uint8))
    writer.release()
    return path


def test_a_video_is_annotated_frame_by_frame(tmp_path):
    source = open_source(f"a={write_grey(tmp_path / 'a.avi')}")
    sightings = [sighted("a", 1, 2, known=True, first=3, frames=4), sighted("b", 1, 3, frames=12)]
    annotate(source, [(match, trace, sighting) for sighting, match, trace in sightings], tmp_path / "out.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "out.mp4"]
    frames = list(open_source(str(tmp_path / "out.mp4")))
    touched = [bool((np.abs(frame.image.astype(int) - 90) > 40).any()) for frame in frames]
    assert touched == [3 <= index < 7 for index in range(12)]
    box = np.abs(frames[4].image[30:38, 46:56].astype(int) - np.array(colour_of(2)[::-1])).sum(axis=2)
    assert box.min() < 120  # its right edge, as far as a lossy video keeps a colour


def test_labels_say_who_and_how_sure():
    def label(*args, **more):
        sighting, match, _ = sighted(*args, **more)
        return label_of(match, sighting)[0]

    assert label("a", 1, 12, True, name="blue van", score=0.834) == "#12 blue van 0.83"
    assert label("a", 1, 12, True, name="vehicle-0012", kind=7) == "#12 truck 0.80"
    assert label("a", 1, 12, False, score=-np.inf) == "#12 car new"
    assert label("a", 1, None, False, score=0.314, kind=-1) == "unknown vehicle 0.31"


def test_what_cannot_be_annotated_is_refused_and_leaves_nothing(tmp_path):
    class Live:
        camera, live, frame_rate, size, dropped = "a", True, 10.0, (8, 8), 0

    with pytest.raises(Refused, match="live"):
        annotate(Live(), [], tmp_path / "out.mp4")
    with pytest.raises(Refused, match="no folder"):
        annotate(open_source(f"a={write_grey(tmp_path / 'a.avi')}"), [], tmp_path / "no" / "out.mp4")

    class Broken(Live):
        live = False

        def __iter__(self):
            yield Frame("a", 0, 0.0, np.zeros((8, 8, 3), np.uint8))
            raise Refused("it breaks off")

    with pytest.raises(Refused, match="breaks off"):
        annotate(Broken(), [], tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]
