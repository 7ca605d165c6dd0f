"""A share that falls as a threshold rises, as an inline SVG without matplotlib, for pages that a device writes."""

import math
from collections.abc import Sequence
from dataclasses import replace

from vreid.report.charts import Drawing
from vreid.report.page import render

_LEFT, _TOP, _WIDTH, _HEIGHT = 46, 8, 306, 150  # of the axes, in units of the drawing
_LOWEST = 1e-3  # share at the foot of the axis, unless a lower one is marked


def falling_curve(drawing: Drawing, points: Sequence[tuple[float, float]], threshold: float, share: float) -> Drawing:
    """`drawing` with the curve of `points`, (threshold, share) with rising thresholds up to 1, on a logarithmic axis of shares;
    dashed lines mark the `share` and the `threshold` that it leads to. Shares are above 0 and at most 1."""
    lowest = min(_LOWEST, 10 ** math.floor(math.log10(share)))
    inside = [(x, y) for x, y in points if lowest <= y <= 1 and x <= 1]
    left = math.floor(10 * min(threshold, *(x for x, _ in inside))) / 10 if inside else math.floor(10 * threshold) / 10
    left = min(left, 0.9)
    decades = round(-math.log10(lowest))
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.5) if (1 - left) / step <= 6)

    def across(x: float) -> float:
        return round(_LEFT + _WIDTH * (min(max(x, left), 1.0) - left) / (1 - left), 1)

    def down(y: float) -> float:
        return round(_TOP + _HEIGHT * -math.log10(min(max(y, lowest), 1.0)) / decades, 1)

    first = math.ceil(left / step - 1e-9)
    thresholds = [number * step for number in range(first, math.floor(1 / step + 1e-9) + 1)]
    svg = render(
        "curve.svg.j2",
        title=drawing.title,
        box=(_LEFT, _TOP, _LEFT + _WIDTH, _TOP + _HEIGHT),
        path=" ".join(f"{across(x)},{down(y)}" for x, y in inside),
        columns=[(across(x), f"{x:.2f}" if step < 0.1 else f"{x:.1f}") for x in thresholds],
        rows=[(down(10.0**-decade), f"{100 * 10.0**-decade:g} %") for decade in range(decades + 1)],
        mark=(across(threshold), down(share)),
    )
    return replace(drawing, svg=svg)
