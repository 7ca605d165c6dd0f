"""Detectors: YOLOX against a slow version and a toy network that sees white boxes, motion on a moving square, replay."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.detectors.pictures import tiles_of
from vreid.runtime.detectors.table import DETECTORS, FORMS, EveryNth, open_detector
from vreid.runtime.mot import corners, read_mot
from vreid.runtime.records import Detections, Floats, Frame, no_detections, overlaps

SHARED = Path(__file__).parents[4] / "shared"
ROWS_64 = 8 * 8 + 4 * 4 + 2 * 2


def frame_of(image: NDArray[Any], camera: str = "a", index: int = 0) -> Frame:
    return Frame(camera, index, index / 10, image.astype(np.uint8))


def write_graph(
    path: Path, nodes: list[Any], constants: dict[str, NDArray[Any]], batch: int | str, side: int, rows: int
) -> str:
    """An ONNX of `nodes` from images (batch, 3, side, side) to output (batch, rows, 85)."""
    onnx = pytest.importorskip("onnx")
    make, numpy_helper = onnx.helper, onnx.numpy_helper
    graph = make.make_graph(
        nodes,
        "toy",
        [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [batch, 3, side, side])],
        [make.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [batch, rows, 85])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return f"yolox:{path}"


def constant_yolox(path: Path, output: Floats, side: int) -> str:
    """A network that answers `output` (1, rows, 85) to everything."""
    node = pytest.importorskip("onnx").helper.make_node("Identity", ["answer"], ["output"])
    return write_graph(path, [node], {"answer": output}, 1, side, output.shape[1])


def white_box_yolox(path: Path, batch: int | str) -> str:
    """A network of input 64 x 64 that finds one car: the box around all white pixels."""
    node = pytest.importorskip("onnx").helper.make_node
    nodes = [
        node("ReduceMin", ["images", "one"], ["grey"], keepdims=0),  # (N, H, W)
        node("Greater", ["grey", "white"], ["is_white"]),
        node("Cast", ["is_white"], ["mask"], to=1),
    ]
    for axis, over in (("x", "one"), ("y", "two")):
        nodes += [
            node("ReduceMax", ["mask", over], [f"line_{axis}"], keepdims=0),  # (N, 64)
            node("ArgMax", [f"line_{axis}"], [f"first_{axis}"], axis=1),
            node("ArgMax", [f"line_{axis}"], [f"last_{axis}"], axis=1, select_last_index=1),
            node("Cast", [f"first_{axis}"], [f"low_{axis}"], to=1),
            node("Cast", [f"last_{axis}"], [f"end_{axis}"], to=1),
            node("Add", [f"end_{axis}", "unit"], [f"high_{axis}"]),
            node("Add", [f"low_{axis}", f"high_{axis}"], [f"sum_{axis}"]),
            node("Div", [f"sum_{axis}", "sixteen"], [f"d_{axis}"]),  # centre in cells of 8
            node("Sub", [f"high_{axis}", f"low_{axis}"], [f"size_{axis}"]),
            node("Div", [f"size_{axis}", "eight"], [f"cells_{axis}"]),
            node("Log", [f"cells_{axis}"], [f"log_{axis}"]),
        ]
    nodes += [
        node("ReduceMax", ["line_x", "one"], ["any"], keepdims=1),  # (N, 1)
        node("Mul", ["any", "zero"], ["none"]),
        node("Concat", ["d_x", "d_y", "log_x", "log_y", "any", "none", "none", "any"], ["eight_columns"], axis=1),
        node("Unsqueeze", ["eight_columns", "one"], ["row"]),
        node("Pad", ["row", "pads"], ["output"]),
    ]
    floats = {"white": 200.0, "unit": 1.0, "zero": 0.0, "eight": 8.0, "sixteen": 16.0}
    constants: dict[str, NDArray[Any]] = {name: np.asarray(value, np.float32) for name, value in floats.items()}
    constants |= {"one": np.asarray([1], np.int64), "two": np.asarray([2], np.int64)}
    constants["pads"] = np.asarray([0, 0, 0, 0, ROWS_64 - 1, 85 - 8], np.int64)
    return write_graph(path, nodes, constants, batch, 64, ROWS_64)


def slow_yolox(
    output: Floats, side: int, height: int, width: int, least: float
) -> list[tuple[list[float], float, int]]:
    """Box by box, as the model's README says: decode, undo the letterbox, greedy suppression."""
    found = []
    row = 0
    for stride in (8, 16, 32):
        for gy in range(side // stride):
            for gx in range(side // stride):
                dx, dy, w, h, objectness, *classes = (float(v) for v in output[row])
                row += 1
                kind = max((2, 3, 5, 7), key=lambda k: classes[k])
                score = objectness * classes[kind]
                if score >= least:
                    scale = min(side / height, side / width)
                    cx, cy = (dx + gx) * stride / scale, (dy + gy) * stride / scale
                    w, h = np.exp(w) * stride / scale, np.exp(h) * stride / scale
                    x1, x2 = (min(max(cx + s * w / 2, 0), width) for s in (-1, 1))
                    y1, y2 = (min(max(cy + s * h / 2, 0), height) for s in (-1, 1))
                    if x2 > x1 and y2 > y1:
                        found.append(([x1, y1, x2, y2], score, kind))
    found.sort(key=lambda item: -item[1])
    kept: list[tuple[list[float], float, int]] = []
    for box, score, kind in found:
        if all(iou_of(box, other) <= 0.45 for other, _, _ in kept):
            kept.append((box, score, kind))
    return kept


def iou_of(a: list[float], b: list[float]) -> float:
    w, h = (max(0.0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return w * h / (sum(area) - w * h)


@pytest.mark.parametrize(("side", "height", "width"), [(416, 540, 960), (64, 50, 40), (64, 64, 64)])
def test_yolox_equals_the_slow_version(tmp_path: Path, side: int, height: int, width: int) -> None:
    rng = np.random.default_rng(side)
    rows = sum((side // stride) ** 2 for stride in (8, 16, 32))
    output = rng.random((1, rows, 85), np.float32)
    output[..., :4] = rng.normal(0, 0.7, (1, rows, 4))
    output[..., 5:] *= rng.random((1, rows, 1)) ** 4
    text = constant_yolox(tmp_path / "toy.onnx", output, side)
    found = open_detector(text, min_score=0.5).detect([frame_of(np.zeros((height, width, 3)))])[0]
    slow = slow_yolox(output[0], side, height, width, 0.5)
    assert len(found) == len(slow) > 1
    np.testing.assert_allclose(found.boxes, [box for box, _, _ in slow], rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(found.scores, [score for _, score, _ in slow], rtol=1e-5)
    assert found.kinds.tolist() == [kind for _, _, kind in slow]


def test_yolox_sees_the_picture_at_the_top_left_of_the_letterbox(tmp_path: Path) -> None:
    """The white box comes back where it was, for wide and tall pictures, one batch or one by one."""
    frames = []
    for height, width in ((90, 160), (160, 90), (64, 64)):
        image = np.full((height, width, 3), 30)
        image[20:50, 40:60] = 255
        frames.append(frame_of(image, camera=f"{width}"))
    for batch in (1, "n"):
        detector = open_detector(white_box_yolox(tmp_path / f"{batch}.onnx", batch))
        for found in detector.detect(frames):
            assert found.kinds.tolist() == [2]
            np.testing.assert_allclose(found.boxes, [[40, 20, 60, 50]], atol=2.6)
    assert detector.detect([]) == []


@pytest.mark.parametrize("tiles", [2, 3])
def test_tiles_cover_the_picture_and_overlap(tiles: int) -> None:
    whole, *parts = tiles_of(540, 960, tiles)
    assert (whole.left, whole.top, whole.right, whole.bottom) == (0, 0, 960, 540)
    seen = np.zeros((540, 960), int)
    for part in parts:
        seen[part.top : part.bottom, part.left : part.right] += 1
        assert part.inner == (part.left > 0, part.top > 0, part.right < 960, part.bottom < 540)
    assert len(parts) == tiles**2 and seen.min() == 1 and seen.max() == 4


@pytest.mark.parametrize(
    "box",
    [
        (60, 30, 140, 70),  # across all four tiles, wider than their overlap
        (100, 5, 130, 20),  # cut by the right tiles' neighbour only
        (90, 45, 108, 54),  # inside the overlap of all four
        (5, 5, 25, 15),  # in one tile
        (180, 85, 200, 100),  # cut by the picture itself: stays
        (20, 40, 110, 60),
    ],
)
def test_a_vehicle_cut_by_a_tile_comes_out_whole_and_once(tmp_path: Path, box: tuple[int, int, int, int]) -> None:
    image = np.full((100, 200, 3), 30)
    image[box[1] : box[3], box[0] : box[2]] = 255
    text = white_box_yolox(tmp_path / "toy.onnx", 1)
    found = open_detector(f"{text}?tiles=2").detect([frame_of(image)])[0]
    assert len(found) == 1
    assert overlaps(found.boxes, np.asarray([box], np.float32))[0, 0] > 0.6


def test_yolox_refuses_what_is_not_one(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no YOLOX file"):
        open_detector(f"yolox:{tmp_path / 'none.onnx'}")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(Refused, match="not an ONNX file"):
        open_detector(f"yolox:{tmp_path / 'text.onnx'}")
    for shape, side in (((1, ROWS_64, 6), 64), ((1, ROWS_64 + 1, 85), 64), ((1, ROWS_64, 85), 60)):
        with pytest.raises(Refused, match=r"export it|does not name its 1 classes"):
            text = constant_yolox(tmp_path / "other.onnx", np.zeros((*shape[:2], 85), np.float32), side)
            if shape[2] != 85:
                text = wrong_columns(tmp_path / "columns.onnx", shape[2])
            open_detector(text)


def wrong_columns(path: Path, columns: int) -> str:
    """A network whose output is (1, rows, columns)."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    answer = onnx.numpy_helper.from_array(np.zeros((1, ROWS_64, columns), np.float32), "answer")
    graph = make.make_graph(
        [make.make_node("Identity", ["answer"], ["output"])],
        "toy",
        [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, [1, 3, 64, 64])],
        [make.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, ROWS_64, columns])],
        [answer],
    )
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9), path)
    return f"yolox:{path}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fastest", "there is no detector 'fastest'"),
        ("yolo", "there is no detector 'yolo'; write model:FILE, yolox:FILE, .*, motion, replay:PATH"),
        ("motion:file.txt", "takes no file"),
        ("motion:?speed=1", "no option 'speed'"),
        ("motion:?warm_up=x", "not a number"),
        ("motion:?min_area=nan", "between"),
        ("replay:", "nothing to replay"),
        ("replay:nowhere", "nothing to replay"),
        ("yolox:", "no YOLOX file"),
    ],
)
def test_wrong_texts_are_refused(text: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        open_detector(text)


def test_every_detector_has_the_form_that_is_offered() -> None:
    assert {form.partition(":")[0] for form in FORMS.values()} == set(FORMS) == set(DETECTORS)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(Refused, match="thread"):
        open_detector("motion", threads=0)
    with pytest.raises(Refused, match="least score"):
        open_detector("motion", min_score=2)


class Counting:
    """A detector that finds nothing and notes what it was shown."""

    first_score, least_travel = 0.4, 0.1
    kinds = None

    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        self.shown += [(frame.camera, frame.index) for frame in frames]
        return [no_detections() for _ in frames]

    def forget(self, camera: str) -> None:
        self.shown = [shown for shown in self.shown if shown[0] != camera]


def test_every_third_frame_is_looked_at_and_the_cameras_take_turns() -> None:
    counting = Counting()
    detector = EveryNth(counting, 3)
    blank = np.zeros((4, 4, 3))
    looked = []
    for index in range(10):
        found = detector.detect([frame_of(blank, camera, index) for camera in "abc"])
        looked.append([detections is not None for detections in found])
    for number, camera in enumerate("abc"):
        seen = [index for name, index in counting.shown if name == camera]
        assert [row[number] for row in looked] == [index in seen for index in range(10)]
        assert seen[0] == 0 and set(np.diff(seen[1:])) == {3}
    assert max(sum(row) for row in looked[1:]) == 1  # never two at once
    assert detector.first_score == 0.4 and detector.least_travel == 0.1


def test_every_is_an_option_of_each_detector(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1,1,0,0,2,2\n2,1,0,0,2,2\n")
    detector = open_detector(f"replay:{tmp_path / 'a.txt'}?every=2")
    blank = np.zeros((4, 4, 3))
    first, second = (detector.detect([frame_of(blank, "a", index)])[0] for index in (0, 1))
    assert first is not None and len(first) == 1 and second is None
    assert len(open_detector("motion:?every=1").detect([frame_of(blank)])) == 1


def street(index: int, x: float | None, light: float = 1.0) -> Frame:
    """A noisy street of 240 x 320 with a dark vehicle of 60 x 40 at (x, 100)."""
    rng = np.random.default_rng(index)
    image = np.random.default_rng(99).uniform(110, 150, (240, 320, 3)) + rng.normal(0, 2, (240, 320, 3))
    if x is not None:
        image[100:140, round(x) : round(x) + 60] = 40
    return frame_of((image * light).clip(0, 255), index=index)


def test_motion_finds_what_moves_and_nothing_else() -> None:
    detector = open_detector("motion")
    for index in range(20):
        assert len(detector.detect([street(index, None)])[0]) == 0
    for index in range(20, 45):
        x = 8.0 * (index - 20)
        found = detector.detect([street(index, x)])[0]
        assert len(found) == 1 and found.kinds.tolist() == [-1] and found.scores[0] > 0.9
        assert overlaps(found.boxes, np.asarray([[x, 100, x + 60, 140]]))[0, 0] > 0.8


def test_motion_withstands_exposure_a_flood_of_light_and_another_picture_size() -> None:
    detector = open_detector("motion")
    for index in range(40):
        detector.detect([street(index, None)])
    assert len(detector.detect([street(40, None, light=0.8)])[0]) == 0
    stripes = np.zeros((240, 320, 3))
    stripes[:, ::2] = 255
    assert len(detector.detect([frame_of(stripes)])[0]) == 0
    assert len(detector.detect([frame_of(np.zeros((120, 160, 3)))])[0]) == 0


def test_motion_keeps_cameras_apart() -> None:
    """Camera b is dark and still; together or apart, a's boxes are the same."""
    separate, both = open_detector("motion"), open_detector("motion")
    for index in range(30):
        a = street(index, 6.0 * index)
        b = frame_of(np.full((240, 320, 3), 20), "b", index)
        one, (two, still) = separate.detect([a])[0], both.detect([a, b])
        np.testing.assert_array_equal(one.boxes, two.boxes)
        assert len(still) == 0


def test_replay_shows_the_boxes_of_the_frame(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("2,5,10,20,30,40,0.4,2,1\n1,5,9,20,30,40,0.9,2,1\n2,6,1,2,3,4,1,7,0.05\n")
    (tmp_path / "gt_b.txt").write_text("1,1,0,0,5,5\n")
    blank = np.zeros((4, 4, 3))
    detector = open_detector(f"replay:{tmp_path}")
    a, b, none = detector.detect([frame_of(blank, "a", 1), frame_of(blank, "b", 0), frame_of(blank, "a", 7)])
    assert a.boxes.tolist() == [[10, 20, 40, 60]] and a.kinds.tolist() == [2]
    assert b.boxes.tolist() == [[0, 0, 5, 5]] and len(none) == 0
    everything = open_detector(f"replay:{tmp_path}?min_visibility=0").detect([frame_of(blank, "a", 1)])[0]
    assert len(everything) == 2
    strong = open_detector(f"replay:{tmp_path}", min_score=0.5).detect([frame_of(blank, "a", 1)])[0]
    assert len(strong) == 0
    with pytest.raises(Refused, match="no boxes for camera 'c'"):
        detector.detect([frame_of(blank, "c")])
    one_file = open_detector(f"replay:{tmp_path / 'a.txt'}")
    assert len(one_file.detect([frame_of(blank, "gate")])[0]) == 1
    with pytest.raises(Refused, match="serves camera 'gate'"):
        one_file.detect([frame_of(blank, "yard")])


def film(path: Path, camera: str) -> Iterator[Frame]:
    video = cv2.VideoCapture(str(path))
    index = 0
    while (read := video.read())[0]:
        yield frame_of(read[1], camera, index)
        index += 1
    video.release()


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("yolox:{}/yolox_nano.onnx", 0.65),
        ("model:{}/yolox_nano.onnx?tiles=2", 0.78),
        ("model:{0}/person-vehicle-bike-detection-2003/person-vehicle-bike-detection-2003.xml", 0.8),
        ("model:{0}/vehicle-detection-0202/vehicle-detection-0202.xml", 0.75),
        ("motion", 0.65),
    ],
    ids=["yolox", "tiles", "2003", "0202", "motion"],
)
def test_recall_on_roadside_video_is_what_its_readme_says(text: str, least: float) -> None:
    """Camera 1, every other frame, boxes wider than 40 px and half visible; YOLOX-nano .707, MOG2 .645 in the README."""
    folder, models = SHARED / "data" / "roadside-video", SHARED / "models"
    if not folder.is_dir() or not (models / "yolox_nano.onnx").is_file():
        pytest.skip("needs ../shared")
    if ".xml" in text:
        pytest.importorskip("openvino")
    truth = read_mot(folder / "gt_cam1.txt")
    detector = open_detector(text.format(models))
    hits = boxes = 0
    for frame in film(folder / "cam1.mp4", "cam1"):
        if frame.index % 4 and text != "motion":
            continue
        found = detector.detect([frame])[0]
        rows = truth.rows((truth.frames == frame.index + 1) & (truth.boxes[:, 2] > 40) & (truth.visibility >= 0.5))
        if frame.index % 4 == 0 and len(rows):
            hits += int((overlaps(corners(rows.boxes), found.boxes) >= 0.5).any(axis=1).sum())
            boxes += len(rows)
    assert hits / boxes >= least
