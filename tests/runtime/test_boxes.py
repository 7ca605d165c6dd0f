"""Boxes outside of the picture are no vehicles, whatever detector they come from."""

import logging
from pathlib import Path

import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.runtime.detectors.table import open_detector
from vreid.runtime.records import Detections, Frame, inside

PICTURE = np.zeros((180, 320, 3), np.uint8)


def found(*boxes: tuple[float, float, float, float], score: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes, np.float32), np.full(count, score, np.float32), np.full(count, 2, np.int64))


@pytest.mark.filterwarnings("error")
def test_boxes_are_clipped_and_what_is_no_box_in_the_picture_goes() -> None:
    good = [(10.5, 20, 50, 60), (-20, -5, 30, 40), (300, 170, 900, 900), (0, 0, 320, 180), (-9, -9, 999, 999)]
    nan, inf = float("nan"), float("inf")
    bad = [
        (1208, 700, 1368, 790), (-50, 20, -10, 60), (20, -60, 60, -10), (320, 10, 400, 50), (10, 180, 50, 220), (50, 20, 10, 60),
        (50, 60, 90, 60), (nan, 20, 50, 60), (10, nan, 50, 60), (10, 20, inf, 60), (-inf, 20, 50, 60), (nan, nan, nan, nan),
    ]  # fmt: skip
    kept = inside(found(*good, *bad), 320, 180)
    expected = [(10.5, 20, 50, 60), (0, 0, 30, 40), (300, 170, 320, 180), (0, 0, 320, 180), (0, 0, 320, 180)]
    np.testing.assert_array_equal(kept.boxes, np.array(expected, np.float32))
    assert len(kept.scores) == len(kept.kinds) == 5
    assert len(inside(found(*good, score=nan), 320, 180)) == 0
    assert inside(
        Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)), 9, 9
    ).boxes.shape == (0, 4)


def replayed(file: Path, *rows: str) -> Detections:
    file.write_text("\n".join(rows) + "\n")
    return open_detector(f"replay:{file}").detect([Frame("gate", 0, 0.0, PICTURE)])[0]


def test_a_replay_made_for_another_size_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sentence = r"boxes\.txt lie outside of the picture of gate: they reach 1752 x 790, the picture is 320 x 180; give"
    with pytest.raises(Refused, match=sentence):
        replayed(tmp_path / "boxes.txt", "1,1,1208,700,160,90,0.9,2,1", "2,1,1592,700,160,90,0.9,2,1")
    with caplog.at_level(logging.WARNING, "vreid"):
        assert len(replayed(tmp_path / "a.txt", "1,1,10,10,50,40", "2,1,600,10,50,40", "3,1,700,10,50,40")) == 1
        assert "2 of 3 boxes" in caplog.text and "they reach 750 x 50, the picture is 320 x 180" in caplog.text
        caplog.clear()
        assert len(replayed(tmp_path / "b.txt", "1,1,-20,10,50,40", "2,1,10,10,50,40", "3,1,310,10,50,40")) == 1
        assert caplog.text == ""
