"""Each type of detector, as a made graph of its shape, against a plain decoding; and how type and classes are recognised."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_detector import constant_graph
from numpy.typing import NDArray

from vreid.models.errors import MissingExtra, Refused
from vreid.runtime.detectors.heads import HEADS
from vreid.runtime.detectors.pictures import COLOURS, FITS, PIXELS, Form, fitted, tiles_of
from vreid.runtime.detectors.table import open_detector
from vreid.runtime.records import Detections, Frame, overlaps

Array = NDArray[Any]
Box = tuple[list[float], float, int]
SIDE, HEIGHT, WIDTH = 64, 45, 90  # of the network's input, of the picture
CELLS = 8 * 8 + 4 * 4 + 2 * 2
NAMES = "{0: 'person', 1: 'car', 2: 'Bus', 3: 'pickup_truck'}"
KINDS = {1: 2, 2: 5, 3: -1}
RNG = np.random.default_rng


def picture() -> Frame:
    return Frame("a", 0, 0.0, np.zeros((HEIGHT, WIDTH, 3), np.uint8))


def boxes_of(text: str, least: float = 0.5) -> Detections:
    (found,) = open_detector(text, min_score=least).detect([picture()])
    assert found is not None
    return found


def centres(rng: np.random.Generator, rows: int) -> Array:
    """(rows, 4) cx cy w h in pixels of the input."""
    return np.concatenate([rng.uniform(10, 54, (rows, 2)), rng.uniform(6, 30, (rows, 2))], axis=1)


def scores(rng: np.random.Generator, *shape: int) -> Array:
    """Mostly low, none within 1e-3 of 0.5."""
    found = rng.random(shape) ** 3
    return np.where(np.abs(found - 0.5) < 1e-3, 0.6, found)


def yolox() -> tuple[dict[str, Array], list[Box]]:
    rng = RNG(4)
    output = np.concatenate(
        [rng.normal(0.5, 0.5, (CELLS, 2)), rng.normal(0.5, 0.4, (CELLS, 2)), scores(rng, CELLS, 5) ** 0.5], axis=1
    ).astype(np.float32)
    cells = [(stride, x, y) for stride in (8, 16, 32) for y in range(SIDE // stride) for x in range(SIDE // stride)]
    plain = []
    for (stride, x, y), (dx, dy, w, h, objectness, *classes) in zip(cells, output.tolist(), strict=True):
        label = max(KINDS, key=lambda k: classes[k])
        half_w, half_h = np.exp(w) * stride / 2, np.exp(h) * stride / 2
        cx, cy = (x + dx) * stride, (y + dy) * stride
        box = [cx - half_w, cy - half_h, cx + half_w, cy + half_h]
        plain.append((box, objectness * classes[label], KINDS[label]))
    return {"output": output[None]}, plain


def yolov5(rows: int) -> tuple[dict[str, Array], list[Box]]:
    rng = RNG(5)
    output = np.concatenate([centres(rng, rows), scores(rng, rows, 1) ** 0.3, scores(rng, rows, 4)], axis=1)
    plain = []
    for cx, cy, w, h, objectness, *classes in output.astype(np.float32).tolist():
        label = max(KINDS, key=lambda k: classes[k])
        plain.append(([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], objectness * classes[label], KINDS[label]))
    return {"output0": output.astype(np.float32)[None]}, plain


def yolov8() -> tuple[dict[str, Array], list[Box]]:
    rng = RNG(8)
    output = np.concatenate([centres(rng, CELLS), scores(rng, CELLS, 4)], axis=1).astype(np.float32)
    plain = []
    for cx, cy, w, h, *classes in output.tolist():
        label = max(KINDS, key=lambda k: classes[k])
        plain.append(([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], classes[label], KINDS[label]))
    return {"output0": np.ascontiguousarray(output.T)[None]}, plain


def corner_rows(rng: np.random.Generator, rows: int) -> tuple[Array, Array, Array]:
    """Boxes (rows, 4), scores (rows,) and labels (rows,)."""
    middle = centres(rng, rows)
    boxes = np.concatenate([middle[:, :2] - middle[:, 2:] / 2, middle[:, :2] + middle[:, 2:] / 2], axis=1)
    return boxes.astype(np.float32), scores(rng, rows).astype(np.float32), rng.integers(0, 4, rows)


def plain_list(boxes: Array, found: Array, labels: Array) -> list[Box]:
    return [
        (box, score, KINDS[label])
        for box, score, label in zip(boxes.tolist(), found.tolist(), labels.tolist(), strict=True)
        if label in KINDS
    ]


def yolov10() -> tuple[dict[str, Array], list[Box]]:
    boxes, found, labels = corner_rows(RNG(10), 30)
    output = np.concatenate([boxes, found[:, None], labels[:, None]], axis=1).astype(np.float32)
    return {"output0": output[None]}, plain_list(boxes, found, labels)


def detr(boxes_name: str, logits_name: str, columns: int) -> tuple[dict[str, Array], list[Box]]:
    rng = RNG(columns)
    boxes = (centres(rng, 30) / SIDE).astype(np.float32)
    logits = rng.normal(-1, 2, (30, columns)).astype(np.float32)
    plain = []
    for (cx, cy, w, h), row in zip((boxes * SIDE).tolist(), logits.tolist(), strict=True):
        label = max(KINDS, key=lambda k: row[k])
        score = 1 / (1 + np.exp(-row[label]))
        plain.append(([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], float(score), KINDS[label]))
    return {logits_name: logits[None], boxes_name: boxes[None]}, plain


def detr_post() -> tuple[dict[str, Array], list[Box]]:
    boxes, found, labels = corner_rows(RNG(3), 30)
    return {"labels": labels[None], "boxes": boxes[None], "scores": found[None]}, plain_list(boxes, found, labels)


def ssd() -> tuple[dict[str, Array], list[Box]]:
    boxes, found, labels = corner_rows(RNG(7), 30)
    rows = np.concatenate([np.zeros((30, 1)), labels[:, None], found[:, None], boxes / SIDE], axis=1)
    rows[25:, 0] = -1  # the end of the list
    return {"detection_out": rows.astype(np.float32)[None, None]}, plain_list(boxes[:25], found[:25], labels[:25])


def atss() -> tuple[dict[str, Array], list[Box]]:
    boxes, found, labels = corner_rows(RNG(6), 30)
    output = np.concatenate([boxes, found[:, None]], axis=1).astype(np.float32)
    return {"boxes": output, "labels": labels}, plain_list(boxes, found, labels)


def suppressed(found: list[Box], same: float) -> list[Box]:
    """The strongest first, without those that overlap one before by more than `same`."""
    kept: list[Box] = []
    for box in sorted(found, key=lambda one: -one[1]):
        overlap = overlaps(np.array([box[0]]), np.array([other for other, _, _ in kept]).reshape(-1, 4))
        if not (overlap > same).any():
            kept.append(box)
    return kept


def in_picture(found: list[Box], fit: str) -> list[Box]:
    """From pixels of the input to those of the picture, clipped; boxes outside are gone."""
    scale = SIDE / WIDTH, SIDE / (HEIGHT if fit == "stretch" else WIDTH)
    shift = (SIDE - HEIGHT * SIDE // WIDTH) // 2 if fit == "middle" else 0
    moved = []
    for (x1, y1, x2, y2), score, kind in found:
        xs = [min(max(x / scale[0], 0), WIDTH) for x in (x1, x2)]
        ys = [min(max((y - shift) / scale[1], 0), HEIGHT) for y in (y1, y2)]
        if xs[0] < xs[1] and ys[0] < ys[1]:
            moved.append(([xs[0], ys[0], xs[1], ys[1]], score, kind))
    return moved


TYPES: dict[str, tuple[str, Callable[[], tuple[dict[str, Array], list[Box]]]]] = {
    "YOLOX of four classes": ("yolox", yolox),
    "v5, three boxes a cell": ("yolov5", lambda: yolov5(3 * CELLS)),
    "v6, one box a cell": ("yolov5", lambda: yolov5(CELLS)),
    "v8": ("yolov8", yolov8),
    "v10": ("yolov10", yolov10),
    "RT-DETR, D-FINE": ("detr", lambda: detr("pred_boxes", "logits", 4)),
    "RF-DETR": ("rfdetr", lambda: detr("dets", "labels", 5)),
    "with postprocessing": ("detr-post", detr_post),
    "ssd": ("ssd", ssd),
    "atss": ("atss", atss),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("named", [False, True], ids=["by its graph", "by name"])
def test_a_graph_of_each_type_is_read_as_a_plain_decoding_does(tmp_path: Path, kind: str, named: bool) -> None:
    head, make = TYPES[kind]
    answers, plain = make()
    file = constant_graph(tmp_path / "made.onnx", answers, names=NAMES, sizes=head == "detr-post")
    found = boxes_of(f"{head if named else 'model'}:{file}")
    strong = [box for box in plain if box[1] >= 0.5]
    wanted = suppressed(in_picture(strong, HEADS[head].form.fit), HEADS[head].same)
    assert len(found) == len(wanted) > 3 and len(plain) > len(strong)
    np.testing.assert_allclose(found.boxes, [box for box, _, _ in wanted], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.scores, [score for _, score, _ in wanted], rtol=1e-5)
    assert found.kinds.tolist() == [kind for _, _, kind in wanted]
    assert len(set(found.kinds.tolist())) > 1


def test_types_whose_scores_run_low_begin_tracks_with_less(tmp_path: Path) -> None:
    for kind, first, least in (("v8", 0.5, 0.3), ("ssd", 0.5, 0.3), ("atss", 0.3, 0.2)):
        file = constant_graph(tmp_path / "made.onnx", TYPES[kind][1]()[0], names=NAMES)
        usual, strict = open_detector(f"model:{file}"), open_detector(f"model:{file}", min_score=0.45)
        assert usual.first_score == first and strict.first_score == min(first, 0.45)
        (found,) = usual.detect([picture()])
        assert found is not None and least <= found.scores.min() < first


@pytest.mark.parametrize("kind", ["v5, three boxes a cell", "v8", "v10", "RF-DETR", "with postprocessing"])
def test_an_open_batch_takes_several_pictures_at_once(tmp_path: Path, kind: str) -> None:
    head, make = TYPES[kind]
    single, many = (
        open_detector(
            f"model:{constant_graph(tmp_path / f'{batch}.onnx', make()[0], batch=batch, names=NAMES, sizes=head == 'detr-post')}"
        )
        for batch in (1, "n")
    )
    wide = Frame("b", 0, 0.0, np.zeros((30, 120, 3), np.uint8))
    for one, other in zip(single.detect([picture(), wide]), many.detect([picture(), wide]), strict=True):
        assert one is not None and other is not None and len(one) > 3
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_rows_and_columns_exchanged_are_read_where_the_classes_are_known(tmp_path: Path) -> None:
    answers, _ = yolov8()
    usual = boxes_of(f"model:{constant_graph(tmp_path / 'usual.onnx', answers, names=NAMES)}")
    turned = {"output0": np.ascontiguousarray(answers["output0"].transpose(0, 2, 1))}
    found = boxes_of(f"model:{constant_graph(tmp_path / 'turned.onnx', turned, names=NAMES)}")
    np.testing.assert_array_equal(found.boxes, usual.boxes)
    unknown = constant_graph(tmp_path / "unknown.onnx", turned)
    with pytest.raises(Refused, match="classes"):  # 8 columns might be 3 classes and an objectness
        open_detector(f"model:{unknown}")


def test_a_graph_that_fits_two_types_is_refused_with_their_names(tmp_path: Path) -> None:
    boxes, found, labels = corner_rows(RNG(1), CELLS)
    six = np.concatenate([boxes, found[:, None], np.zeros_like(labels)[:, None]], axis=1).astype(np.float32)
    file = constant_graph(tmp_path / "six.onnx", {"output0": six[None]}, names="['car']")
    with pytest.raises(Refused, match=r"fits yolov5 and yolov10; say which it is: yolov5:.*six.onnx or yolov10:"):
        open_detector(f"model:{file}")
    assert len(boxes_of(f"yolov10:{file}")) > 3
    answers, _ = detr("a", "b", 5)
    file = constant_graph(tmp_path / "two.onnx", answers, names=NAMES)
    with pytest.raises(Refused, match="fits detr and rfdetr"):
        open_detector(f"model:{file}")
    np.testing.assert_array_equal(boxes_of(f"detr:{file}").boxes, boxes_of(f"rfdetr:{file}").boxes)


def test_boxes_and_logits_of_four_columns_are_known_by_their_names(tmp_path: Path) -> None:
    answers, _ = detr("b", "a", 4)
    file = constant_graph(tmp_path / "four.onnx", answers, names=NAMES)
    with pytest.raises(Refused, match="gives a 1 x 30 x 4, b 1 x 30 x 4, and a detector of 4 classes"):
        open_detector(f"detr:{file}")


def test_what_is_no_detector_is_refused(tmp_path: Path) -> None:
    answers, _ = yolov8()
    file = constant_graph(tmp_path / "half.onnx", {"output0": answers["output0"][:, :, :50]}, names=NAMES)
    with pytest.raises(Refused, match=r"gives output0 1 x 8 x 50.*export it again so"):
        open_detector(f"model:{file}")
    with pytest.raises(Refused, match=r"yolov10: N x rows x 6"):
        open_detector(f"yolov10:{constant_graph(tmp_path / 'eight.onnx', answers, names=NAMES)}")
    with pytest.raises(Refused, match=r"has no weights; put seen.bin next to it"):
        (tmp_path / "seen.xml").write_text("<net/>")
        pytest.importorskip("openvino")
        open_detector(f"model:{tmp_path / 'seen.xml'}")


@pytest.mark.parametrize(
    ("names", "query", "kinds"),
    [
        (NAMES, "", {2, 5, -1}),
        (NAMES, "?classes=person,dog,cat,bus", {5}),
        (NAMES, "?vehicles=car,Bus", {2, 5}),
        (NAMES, "?vehicles=0,3", {-1}),
        ("", "?vehicles=1", {-1}),
        ("['car', 'car', 'car', 'car']", "", {2}),
    ],
)
def test_which_classes_count(tmp_path: Path, names: str, query: str, kinds: set[int]) -> None:
    answers, _ = yolov8()
    file = constant_graph(tmp_path / "made.onnx", answers, names=names)
    assert set(boxes_of(f"model:{file}{query}", 0.3).kinds.tolist()) == kinds


@pytest.mark.parametrize(
    ("names", "query", "said"),
    [
        ("['person', 'dog', 'cat', 'bird']", "", r"none of the classes .* is a vehicle \(person, dog, cat, bird\)"),
        ("", "", "does not name its 4 classes; write .classes=NAME,NAME"),
        ("{1: 'car'}", "", "does not name its 4 classes"),
        ("os.remove('x')", "", "does not name its 4 classes"),
        (NAMES, "?classes=car,bus", "of 2 classes"),
        (NAMES, "?vehicles=lorry", "no class 'lorry' for vehicles=lorry; the classes are person, car, Bus"),
        ("", "?vehicles=4", "has 4 classes from 0 on, and no class 4"),
        ("", "?vehicles=car", "the file names no classes"),
        (NAMES, "?fit=round", "fit of the detector 'model' is one of corner, middle, stretch"),
        (
            NAMES,
            "?tile=2",
            "no option 'tile'; it has: classes, colour, every, fit, height, pixels, tiles, vehicles, width",
        ),
        (NAMES, "?height=32", "takes pictures of height 64, not 32"),
        (NAMES, "?every=0", "every of the detector 'model' lies between 1 and 100"),
    ],
)
def test_wrong_classes_and_options_are_refused(tmp_path: Path, names: str, query: str, said: str) -> None:
    answers, _ = yolov8()
    file = constant_graph(tmp_path / "made.onnx", answers, names=names)
    with pytest.raises(Refused, match=said):
        open_detector(f"model:{file}{query}")


def test_the_classes_of_coco_are_known_by_their_count(tmp_path: Path) -> None:
    rng = RNG(0)
    for columns, label, kind in ((80, 7, 7), (91, 8, 7), (91, 3, 2)):
        logits = np.full((1, 30, columns), -5, np.float32)
        logits[0, 4, label] = logits[0, 5, 1] = 3
        boxes = (centres(rng, 30) / SIDE).astype(np.float32)
        file = constant_graph(tmp_path / "coco.onnx", {"dets": boxes[None], "labels": logits})
        assert boxes_of(f"model:{file}").kinds.tolist() == [kind]


def test_a_list_without_names_is_taken_for_coco_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers, _ = yolov10()
    answers["output0"][..., 5] = 2
    assert set(boxes_of(f"model:{constant_graph(tmp_path / 'ten.onnx', answers)}").kinds.tolist()) == {2}
    assert "taken for the 80 of COCO" in caplog.text


def test_sides_that_are_open_are_given(tmp_path: Path) -> None:
    answers, _ = yolov8()
    onnx = pytest.importorskip("onnx")
    file = constant_graph(tmp_path / "open.onnx", answers, names=NAMES)
    model = onnx.load(file)
    for place in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_param = f"side{place}"
    onnx.save(model, file)
    with pytest.raises(Refused, match=r"leaves the size of its picture open; write \?height="):
        open_detector(f"model:{file}")
    assert len(boxes_of(f"model:{file}?height=64&width=64")) > 3


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("pixels", PIXELS)
def test_the_picture_goes_in_as_the_form_says(fit: str, colour: str, pixels: str) -> None:
    """A flat picture keeps its colour; where it lies and what fills the rest, the slow way."""
    bgr = np.array([30, 90, 200])
    image = np.broadcast_to(bgr.astype(np.uint8), (HEIGHT, WIDTH, 3))
    (tile,) = tiles_of(HEIGHT, WIDTH, 1)
    found, place = fitted(np.ascontiguousarray(image), tile, SIDE, SIDE, Form(fit, colour, pixels))
    tall = SIDE if fit == "stretch" else SIDE * HEIGHT // WIDTH
    top = (SIDE - tall) // 2 if fit == "middle" else 0
    wanted = np.full((SIDE, SIDE, 3), 114.0)
    wanted[top : top + tall] = bgr
    if colour == "rgb":
        wanted = wanted[..., ::-1]
    wanted = wanted if pixels == "255" else wanted / 255
    if pixels == "imagenet":
        mean, spread = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        wanted = (wanted - (mean if colour == "rgb" else mean[::-1])) / (spread if colour == "rgb" else spread[::-1])
    np.testing.assert_allclose(found, wanted.transpose(2, 0, 1), rtol=1e-5, atol=1e-6)
    assert place.shift == (0, top) and place.scale[0] == SIDE / WIDTH


@pytest.mark.parametrize("kind", ["v8", "ssd", "atss"])
def test_openvino_ir_equals_its_onnx(tmp_path: Path, kind: str) -> None:
    openvino = pytest.importorskip("openvino")
    answers, _ = TYPES[kind][1]()
    file = constant_graph(tmp_path / "made.onnx", answers, names=NAMES)
    openvino.save_model(openvino.Core().read_model(file), tmp_path / "made.xml", compress_to_fp16=False)
    classes = "?classes=person,car,Bus,pickup_truck"
    one, other = boxes_of(f"model:{file}"), boxes_of(f"model:{tmp_path / 'made.xml'}{classes}")
    assert len(one) > 3
    np.testing.assert_allclose(one.boxes, other.boxes, rtol=1e-5)
    np.testing.assert_array_equal(one.kinds, other.kinds)
    (tmp_path / "vehicle-detection-9.xml").write_bytes((tmp_path / "made.xml").read_bytes())
    (tmp_path / "vehicle-detection-9.bin").write_bytes((tmp_path / "made.bin").read_bytes())
    if kind != "v8":  # the zoo's networks by their file's name: class 0 is a vehicle
        assert set(boxes_of(f"model:{tmp_path / 'vehicle-detection-9.xml'}", 0.3).kinds.tolist()) == {-1}
        with pytest.raises(Refused, match="does not name its classes"):
            open_detector(f"model:{tmp_path / 'made.xml'}")


def test_without_openvino_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("detectors.openvino_graph", "engines.openvino"):
        monkeypatch.delitem(sys.modules, f"vreid.runtime.{name}", raising=False)
    (tmp_path / "made.xml").write_text("<net/>")
    with pytest.raises(MissingExtra, match=r"needs the package 'openvino': pip install 'vreid\[openvino\]'"):
        open_detector(f"model:{tmp_path / 'made.xml'}")


ONE_BY_ONE = "del first; del second"
IN_A_THREAD = "thread = threading.Thread(target=second.clear); thread.start(); thread.join()"


@pytest.mark.parametrize("release", [ONE_BY_ONE, IN_A_THREAD])
def test_a_signal_is_survived_after_detectors_were_released(tmp_path: Path, release: str) -> None:
    """OpenVINO gives the thread that loads its plugin a stack for signals, and leaves it a stale one when unloaded so."""
    openvino = pytest.importorskip("openvino")
    file = constant_graph(tmp_path / "made.onnx", TYPES["v8"][1]()[0], names=NAMES)
    openvino.save_model(openvino.Core().read_model(file), tmp_path / "made.xml")
    opened = f"[open_detector({f'model:{tmp_path}/made.xml?classes=person,car,Bus,pickup_truck'!r})]"
    lines = [
        "import os, signal, threading",
        "from vreid.runtime.detectors.table import open_detector",
        "signal.signal(signal.SIGTERM, lambda number, frame: print('handled'))",
        f"first = {opened}",
        f"second = {opened}",
        release,
        "os.kill(os.getpid(), signal.SIGTERM)",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
