"""The curve of false matches: inside its axes, at the right places, its marks where the curve has the requested share."""

import re
from itertools import pairwise

import pytest

from vreid.report.charts import Drawing
from vreid.report.curve import falling_curve

POINTS = [(0.5, 1.0), (0.6, 0.4), (0.7, 0.1), (0.8, 0.01), (0.9, 0.001), (0.95, 0.0001)]


def numbers(svg: str, pattern: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, found)) for found in re.findall(pattern, svg)]


def drawn(threshold: float = 0.7, share: float = 0.1, points: list[tuple[float, float]] = POINTS) -> str:
    return str(falling_curve(Drawing("k", "<gate> & yard"), points, threshold, share).svg)


def test_the_points_fall_on_a_logarithmic_axis() -> None:
    svg = drawn()
    (path,) = re.findall(r'points="([^"]*)"', svg)
    places = [tuple(map(float, point.split(","))) for point in path.split()]
    across, down = [x for x, _ in places], [y for _, y in places]
    assert len(places) == 5  # what is under the foot of the axis is left out
    assert down[0] == 8 and down[-1] == 158 and down[2] == pytest.approx(8 + 50) and down[3] == pytest.approx(8 + 100)
    steps = [right - left for left, right in pairwise(across)]
    assert across[0] == 46 and steps == pytest.approx([steps[0]] * 4, abs=0.2)
    marks = numbers(svg, r'class="mark" x1="([\d.]+)" x2="([\d.]+)" y1="([\d.]+)" y2="([\d.]+)"')
    assert marks == [(46, 352, places[2][1], places[2][1]), (places[2][0], places[2][0], 8, 158)]
    assert "&lt;gate&gt; &amp; yard" in svg and "<gate>" not in svg
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["100 %", "10 %", "1 %", "0.1 %"]


def test_a_rare_share_has_room_and_no_point_is_no_fault() -> None:
    assert "0.01 %" in drawn(0.95, 0.0001) and "0.01 %" not in drawn()
    assert 'points=""' in drawn(points=[]) and 'points=""' in drawn(threshold=1.0, points=[])
    for threshold in (-1.0, -0.3, 0.0, 0.999, 1.0):
        places = numbers(drawn(threshold), r'x1="([\d.]+)" x2="([\d.]+)"')
        assert all(46 <= x <= 352 for pair in places for x in pair)
