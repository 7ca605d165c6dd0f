"""The timeline as inline SVG: one lane a camera, one bar a sighting, a thread from camera to camera."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from vreid.report.formats import clock, colour_of, hex_of, ink_on
from vreid.report.page import render

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
    moment: Callable[[float], str]

    @property
    def number(self) -> str:
        return "?" if self.bar.vehicle is None else str(self.bar.vehicle)

    @property
    def title(self) -> str:
        name = "unknown" if self.bar.vehicle is None else f"#{self.bar.vehicle}"
        return f"{name} · {self.bar.camera} · {self.moment(self.bar.first_time)}–{self.moment(self.bar.last_time)}"  # noqa: RUF001

    @property
    def label(self) -> str:
        """The class of the number on it; empty where it has no room."""
        needed = _ROOM * (len(self.number) + 0.5)
        return "" if self.width <= needed / 3 else "id" if self.width > needed else "id roomy"

    @property
    def ink(self) -> str:
        return hex_of(ink_on(colour_of(self.bar.vehicle)))


class _Tick(NamedTuple):
    x: float  # percent
    anchor: str
    text: str


def timeline(
    bars: Iterable[Bar], cameras: Sequence[str], linked: Iterable[int], moment: Callable[[float], str] = clock
) -> Markup:
    """The bars of `cameras`, lanes in their order; bars of the vehicles in `linked` lead to their card (#v7); empty without bars.

    `moment` writes a time. Lengths are percentages of the page's width, so that it fits a telephone and the letters stay readable.
    """
    bars = sorted(bars, key=lambda bar: bar.first_time)
    if not bars:
        return Markup()
    start, end = bars[0].first_time, max(bar.last_time for bar in bars)
    span = max(end - start, 1e-3)
    height, lanes = 4, []
    placed: list[_Placed] = []
    for camera in cameras:
        lane = _packed([bar for bar in bars if bar.camera == camera], start, span, height + _LABEL, moment)
        lanes.append((camera, height))
        rows = max((item.top for item in lane), default=height + _LABEL) + _ROW
        placed, height = placed + lane, rows + 6
    return render(
        "timeline.svg.j2",
        height=height,
        axis=_AXIS,
        bar=_BAR,
        ticks=_ticks(start, span, moment),
        lanes=lanes,
        threads=_threads(placed),
        placed=placed,
        linked=set(linked),
    )


def _packed(bars: Sequence[Bar], start: float, span: float, top: int, moment: Callable[[float], str]) -> list[_Placed]:
    """Bars by their start -> each in the first row that is free by then."""
    free: list[float] = []
    lane = []
    for bar in bars:
        row = next((i for i, until in enumerate(free) if until <= bar.first_time), len(free))
        if row == len(free) and row == _MOST_ROWS:
            row = free.index(min(free))
        free[row : row + 1] = [bar.last_time + span * 0.003]
        left = 100 * (bar.first_time - start) / span
        lane.append(_Placed(bar, left, 100 * (bar.last_time - bar.first_time) / span, top + row * _ROW, moment))
    return lane


def _threads(placed: Sequence[_Placed]) -> Iterator[tuple[_Placed, _Placed]]:
    """Each bar of a vehicle with its next one, where that is at another camera."""
    routes: dict[int, list[_Placed]] = {}
    for item in sorted(placed, key=lambda item: item.bar.first_time):
        if item.bar.vehicle is not None:
            routes.setdefault(item.bar.vehicle, []).append(item)
    return ((a, b) for route in routes.values() for a, b in pairwise(route) if a.bar.camera != b.bar.camera)


def _ticks(start: float, span: float, moment: Callable[[float], str]) -> list[_Tick]:
    """At most six round times."""
    days = max(1, -(-span // (6 * _DAY))) * _DAY
    step = next((step for step in _STEPS if span / step <= 6), days)
    first = -(-start // step)
    times = [time for i in range(8) if (time := (first + i) * step) <= start + span]
    places = [100 * (time - start) / span for time in times]
    anchors = ["start" if x < 4 else "end" if x > 96 else "middle" for x in places]
    return [
        _Tick(x, anchor, moment(time).removesuffix(".0"))
        for x, anchor, time in zip(places, anchors, times, strict=True)
    ]
