"""Charts by matplotlib as SVG that stands in a page: text in the page's colour and font, the same for the same data."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import TYPE_CHECKING

from markupsafe import Markup

from vreid.models.errors import Refused

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#3b76d6", "#e0792f", "#2f9e6b", "#a45fc4", "#d2504f", "#26a3b5", "#b8951a", "#8a8f98")  # on light and dark
INK = "#010203"  # stands for the colour of the page's text until the drawing is done
_WIDTH = 4.4  # inches: narrow, so that the letters can still be read when a phone shrinks it


@dataclass(frozen=True)
class Line:
    """`points` are (x, y). The label is shown by the page, which knows how to escape and to wrap it."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str = COLOURS[0]
    dashed: bool = False


@dataclass(frozen=True)
class Drawing:
    """`key` is its id in the page; title, note and legend stand outside of the SVG."""

    key: str
    title: str
    note: str = ""
    legend: Sequence[Line] = ()
    svg: Markup = field(default_factory=Markup)


def axes_with(
    figure: "Figure", lines: Sequence[Line], across: str = "epoch", up: str = "", row: int = 1, rows: int = 1
) -> "Axes":
    """Axes with the lines on them, in a row (from 1) of `rows`; epochs are whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes: Axes = figure.add_subplot(rows, 1, row)
    axes.set(xlabel=across if row == rows else "", ylabel=up)
    axes.tick_params(labelbottom=row == rows)
    for line in lines:
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        dashes = (0, (4, 2)) if line.dashed else "-"
        marker = "o" if len(xs) <= 40 else ""
        axes.plot(xs, ys, color=line.colour, linestyle=dashes, marker=marker, markersize=2.5)
    if across == "epoch":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10]))
    return axes


def drawn(drawing: Drawing, draw: Callable[["Figure"], object], height: float = 2.5) -> Drawing:
    """`drawing` with what `draw` makes of an empty figure of `height` inches. Raises Refused without matplotlib."""
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Refused("a report is drawn by matplotlib; pip install 'vreid[train]'") from error
    ink = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    look = {"font.size": 8.5, "axes.grid": True, "grid.color": INK, "grid.alpha": 0.13, "lines.linewidth": 1.4}
    plain = {"axes.spines.top": False, "axes.spines.right": False, "axes.formatter.useoffset": False}
    text = {"svg.fonttype": "none", "svg.hashsalt": drawing.key, "text.parse_math": False}
    # "default" first: what a machine has in its own matplotlibrc must not change the page
    with style.context(["default", ink | look | plain | text]):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure)
        into = StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(into, format="svg", transparent=True, metadata=nothing)
    svg = into.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{drawing.key}-", svg)  # an id is the whole page's
    opening = Markup('<svg role="img" aria-label="{}"').format(drawing.title)
    return replace(drawing, svg=opening + Markup(svg.removeprefix("<svg")))  # matplotlib escapes its texts
