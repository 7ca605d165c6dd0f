"""The report's timeline as inline SVG: one lane a camera, one bar a sighting, a thread from camera to camera."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from vreid.report.palette import colour_of, hex_of, ink_on

_LABEL, _ROW, _BAR, _AXIS = 22, 17, 15, 20  # heights in pixels
_MOST_ROWS = 8  # of a lane; what does not fit lies over what is there
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200)
_DAY = 86400
_ROOM = 2.1  # percent of the width that a digit of a bar's number needs on a telephone; "roomy" marks need 1280 pixels


@dataclass(frozen=True)
class Bar:
    """One sighting on the timeline."""

    camera: str
    first_time: float
    last_time: float
    vehicle: int | None


@dataclass(frozen=True)
class _Placed:
    """A bar in its lane: left and width in percent, top in pixels."""

    bar: Bar
    left: float
    width: float
    top: int


def timeline(bars: Iterable[Bar], cameras: Sequence[str], linked: Iterable[int]) -> str:
    """The bars of `cameras`, lanes in their order; bars of the vehicles in `linked` lead to their card (#v7).

    Lengths are percentages of the page's width, so that it fits a telephone and the letters stay readable.
    """
    bars, linked = sorted(bars, key=lambda bar: bar.first_time), set(linked)
    if not bars:
        return ""
    start, end = bars[0].first_time, max(bar.last_time for bar in bars)
    span = max(end - start, 1e-3)
    height, lanes = 4, []
    placed: list[_Placed] = []
    for camera in cameras:
        lane = _packed([bar for bar in bars if bar.camera == camera], start, span, height + _LABEL)
        lanes.append(
            f'<line class="rule" x1="0" x2="100%" y1="{height}" y2="{height}"/>'
            f'<text class="lane" x="0" y="{height + 15}">{escape(camera)}</text>'
        )
        rows = max((item.top for item in lane), default=height + _LABEL) + _ROW
        placed, height = placed + lane, rows + 6
    ticks = "".join(_tick(tick, start, span, height) for tick in _ticks(start, start + span))
    marks = "".join(_rect(item, item.bar.vehicle in linked) for item in placed)
    return (
        f'<svg class="timeline" role="img" aria-label="Timeline of the sightings" width="100%" '
        f'height="{height + _AXIS}">{ticks}{"".join(lanes)}{_threads(placed)}{marks}</svg>'
    )


def clock(seconds: float) -> str:
    """1:02.5 below an hour, 3:01:02 from then on."""
    sign, tenths = "-" if seconds < 0 else "", round(abs(seconds) * 10)
    if tenths < 36000:
        return f"{sign}{tenths // 600}:{tenths % 600 / 10:04.1f}"
    whole = round(abs(seconds))
    return f"{sign}{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def moments(first: float, last: float) -> str:
    """From first to last, as HTML."""
    return f"{clock(first)}&ndash;{clock(last)}"


def _packed(bars: Sequence[Bar], start: float, span: float, top: int) -> list[_Placed]:
    """Bars by their start -> each in the first row that is free by then."""
    free: list[float] = []
    lane = []
    for bar in bars:
        row = next((i for i, until in enumerate(free) if until <= bar.first_time), len(free))
        if row == len(free) and row == _MOST_ROWS:
            row = free.index(min(free))
        free[row : row + 1] = [bar.last_time + span * 0.003]
        left = 100 * (bar.first_time - start) / span
        lane.append(_Placed(bar, left, 100 * (bar.last_time - bar.first_time) / span, top + row * _ROW))
    return lane


def _rect(item: _Placed, linked: bool) -> str:
    bar, colour = item.bar, colour_of(item.bar.vehicle)
    number = "?" if bar.vehicle is None else str(bar.vehicle)
    title = f"{'unknown' if bar.vehicle is None else '#' + number} · {bar.camera}"
    mark = (
        f'<rect x="{item.left:.3f}%" y="{item.top}" width="{item.width:.3f}%" height="{_BAR}" rx="2" '
        f'fill="{hex_of(colour)}" stroke="{hex_of(colour)}">'
        f"<title>{escape(title)} · {moments(bar.first_time, bar.last_time)}</title></rect>"
    )
    needed = _ROOM * (len(number) + 0.5)
    if item.width > needed / 3:
        style = "id" if item.width > needed else "id roomy"
        middle = item.left + item.width / 2
        mark += f'<text class="{style}" x="{middle:.3f}%" y="{item.top + 11}" fill="{hex_of(ink_on(colour))}">{number}</text>'
    return (
        f'<a href="#v{bar.vehicle}">{mark}</a>' if linked else f'<g class="dim">{mark}</g>' if number == "?" else mark
    )


def _threads(placed: Sequence[_Placed]) -> str:
    """A line from each bar of a vehicle to its next one, where that is at another camera."""
    routes: dict[int, list[_Placed]] = {}
    for item in sorted(placed, key=lambda item: item.bar.first_time):
        if item.bar.vehicle is not None:
            routes.setdefault(item.bar.vehicle, []).append(item)
    return "".join(
        f'<line class="thread" x1="{min(a.left + a.width, 100):.3f}%" y1="{a.top + _BAR // 2}" x2="{b.left:.3f}%" '
        f'y2="{b.top + _BAR // 2}" stroke="{hex_of(colour_of(vehicle))}"/>'
        for vehicle, route in routes.items()
        for a, b in pairwise(route)
        if a.bar.camera != b.bar.camera
    )


def _ticks(start: float, end: float) -> list[float]:
    """At most six round times from start to end."""
    days = max(1, -(-(end - start) // (6 * _DAY))) * _DAY
    step = next((step for step in _STEPS if (end - start) / step <= 6), days)
    first = -(-start // step)
    return [(first + i) * step for i in range(8) if (first + i) * step <= end]


def _tick(time: float, start: float, span: float, height: int) -> str:
    x = 100 * (time - start) / span
    anchor = "start" if x < 4 else "end" if x > 96 else "middle"
    return (
        f'<line class="tick" x1="{x:.3f}%" x2="{x:.3f}%" y1="0" y2="{height}"/>'
        f'<text class="time" x="{x:.3f}%" y="{height + 14}" text-anchor="{anchor}">{clock(time).removesuffix(".0")}</text>'
    )
