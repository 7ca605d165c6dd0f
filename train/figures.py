"""The drawings of a training's report: one function a drawing, which gives None where the log has nothing for it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vreid.report.charts import COLOURS, INK, Drawing, Line, axes_with, drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vreid.train.report import Epoch

UNITS = {"macs": "MACs", "params": "params", "ms": "milliseconds"}
Points = list[tuple[float, float]]


def drawings_of(epochs: "Sequence[Epoch]") -> list[Drawing]:
    """Everything that these epochs have data for. Raises Refused without matplotlib."""
    kinds = (_losses, _pace, _validation, _kept, _trade, _masked, _widths)
    return [drawing for kind in kinds if (drawing := kind(epochs)) is not None]


def _losses(epochs: "Sequence[Epoch]") -> Drawing | None:
    names = dict.fromkeys(name for epoch in epochs for name in epoch.losses)
    lines = _coloured({name: _points((epoch.number, epoch.losses.get(name)) for epoch in epochs) for name in names})
    if not lines:
        return None
    values = [value for line in lines for _, value in line.points]
    logarithmic = min(values) > 0 and max(values) > 20 * min(values)

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        axes = axes_with(figure, lines)
        if logarithmic:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(
                NullFormatter()
            )  # else minor ticks are labelled in TeX, which SVG text cannot show

    return drawn(Drawing("losses", "Losses", "Means of an epoch, weighed as in their sum.", lines), draw)


def _pace(epochs: "Sequence[Epoch]") -> Drawing | None:
    rates = Line("learning rate", _points((epoch.number, epoch.lr) for epoch in epochs))
    times = Line("seconds", [(epoch.number, epoch.seconds) for epoch in epochs], COLOURS[1])
    rows = [line for line in (rates, times) if line.points]

    def draw(figure: "Figure") -> None:
        for row, line in enumerate(rows, start=1):
            axes = axes_with(figure, [line], up=line.label, row=row, rows=len(rows))
            axes.set_ylim(0, 1.1 * max(value for _, value in line.points) or 1)

    title = "Learning rate and seconds of an epoch" if rates.points else "Seconds of an epoch"
    return drawn(Drawing("pace", title), draw, 1.3 * len(rows))


def _validation(epochs: "Sequence[Epoch]") -> Drawing | None:
    lines = []
    for place, name in enumerate(dict.fromkeys(name for epoch in epochs for name in epoch.validation)):
        found = [(epoch.number, *epoch.validation[name]) for epoch in epochs if name in epoch.validation]
        colour = COLOURS[place % len(COLOURS)]
        lines.append(Line(f"{name} mAP", [(number, score) for number, score, _ in found], colour))
        lines.append(Line(f"{name} Rank-1", [(number, rank1) for number, _, rank1 in found], colour, dashed=True))
    if not lines:
        return None
    note = "The mAP at the top of the page is the mean of the sets." if len(lines) > 2 else ""
    drawing = Drawing("validation", "Validation, percent", note, lines)
    return drawn(drawing, lambda figure: axes_with(figure, lines))


def _kept(epochs: "Sequence[Epoch]") -> Drawing | None:
    """In percent of the whole network, or of the first epoch's where the log does not say what the whole one has."""
    macs, first = _of_first(_points((epoch.number, epoch.macs) for epoch in epochs))
    shares = _points((epoch.number, epoch.share) for epoch in epochs)
    params, start = _of_first(_points((epoch.number, epoch.params) for epoch in epochs))
    unshrunk = any(epoch.number == start and epoch.whole and epoch.widths == epoch.whole for epoch in epochs)
    lines = [
        Line("MACs", [(number, 100 * share) for number, share in shares])
        if shares
        else Line(f"MACs, of those of epoch {first}", macs),
        Line("params" if unshrunk else f"params, of those of epoch {start}", params, COLOURS[1]),
    ]
    lines = [line for line in lines if line.points]
    if not lines:
        return None
    target, note, level = next((epoch.target for epoch in reversed(epochs) if epoch.target), None), "", 0.0
    legend = list(lines)
    if target is not None:
        unit, level = UNITS.get(target[0], target[0]), 100 * target[1]
        note = f"The target is {level:g} % of the {unit}."
        for line in lines:
            if line.label == unit:  # it is in percent of the whole network, as the target is
                legend.append(Line(f"target of the {unit}", [], line.colour, dashed=True))

    def draw(figure: "Figure") -> None:
        axes = axes_with(figure, lines)
        for line in legend[len(lines) :]:
            axes.axhline(level, color=line.colour, linestyle=(0, (4, 2)))
        axes.set_ylim(0, max(105.0, *(1.05 * value for line in lines for _, value in line.points)))

    return drawn(Drawing("kept", "MACs and params kept, percent", note, legend), draw)


def _trade(epochs: "Sequence[Epoch]") -> Drawing | None:
    found = [(epoch.macs / 1e6, epoch.map, epoch.number) for epoch in epochs if epoch.macs and epoch.map is not None]
    if len(found) < 2:
        return None
    path = Line("", [(macs, score) for macs, score, _ in found])
    wide, high = (max(values) - min(values) for values in zip(*path.points, strict=True))
    labelled: list[tuple[float, float, int]] = []
    for point in [found[-1], *found]:  # the last in any case, then whoever has the room
        if all(abs(point[0] - x) > 0.08 * wide or abs(point[1] - y) > 0.1 * high for x, y, _ in labelled):
            labelled.append(point)

    def draw(figure: "Figure") -> None:
        axes = axes_with(figure, [path], across="million MACs", up="mAP")
        for x, y, number in labelled:
            axes.annotate(f"{number}", (x, y), (3, 4), textcoords="offset points", fontsize=7.5)

    return drawn(Drawing("trade", "mAP against MACs", "One point a validation, numbered by its epoch."), draw)


def _masked(epochs: "Sequence[Epoch]") -> Drawing | None:
    stages = max(len(epoch.masked) for epoch in epochs)
    if not stages:
        return None
    whole: Mapping[str, int] = next((epoch.whole for epoch in epochs if epoch.whole), {})
    names = list(dict.fromkeys(layer.replace(" ", ".").split(".")[0] for layer in whole))
    if len(names) != stages:  # a log of before that names none
        names = [f"stage {stage + 1}" for stage in range(stages)] if stages > 1 else ["all stages"]
    lines = _coloured(
        {
            name: _points((epoch.number, epoch.masked[stage]) for epoch in epochs if len(epoch.masked) > stage)
            for stage, name in enumerate(names)
        }
    )
    drawing = Drawing(
        "masked", "Masked channels", "Channels that are dropped, or that only the lasso still moves.", lines
    )
    return drawn(drawing, lambda figure: axes_with(figure, lines))


def _widths(epochs: "Sequence[Epoch]") -> Drawing | None:
    whole: Mapping[str, int] = next((epoch.whole for epoch in epochs if epoch.whole), {})
    logged = [epoch for epoch in epochs if epoch.widths]
    layers = [name for name in whole if whole[name] > 0 and all(name in epoch.widths for epoch in logged)]
    # without near compactors no block's conv1 can shrink: half of the rows would never change
    kinds = {_kind(name) for name in layers}
    shrunk = {_kind(name) for name in layers if any(epoch.widths[name] != whole[name] for epoch in logged)}
    rows = [name for name in layers if not shrunk or _kind(name) in shrunk]
    if not rows or not logged:
        return None
    first, last = logged[0].number, logged[-1].number
    grid = [[float("nan")] * (last - first + 1) for _ in rows]
    for epoch in logged:
        for row, name in enumerate(rows):
            grid[row][epoch.number - first] = 100 * epoch.widths[name] / whole[name]

    def draw(figure: "Figure") -> None:
        from matplotlib import colormaps

        axes = axes_with(figure, [])
        axes.grid(visible=False)
        around = (first - 0.5, last + 0.5, len(rows) - 0.5, -0.5)
        colours = colormaps["viridis"].resampled(10)
        image = axes.imshow(grid, colours, aspect="auto", interpolation="none", vmin=0, vmax=100, extent=around)
        axes.set_yticks(range(len(rows)), rows, fontsize=7)
        axes.tick_params(axis="y", length=0)
        for row, name in enumerate(rows):
            left = f"{logged[-1].widths[name]} / {whole[name]}"
            axes.text(1.015, row, left, transform=axes.get_yaxis_transform(), va="center", fontsize=7)
            if row and name.split(".")[0] != rows[row - 1].split(".")[0]:
                axes.axhline(row - 0.5, color=INK, linewidth=0.8)
        bar = figure.colorbar(image, ax=axes, location="top", aspect=40, pad=0.01, label="percent of the channels kept")
        bar.outline.set_visible(False)

    note = f"Next to each layer, what is left of it after epoch {last}."
    if shrunk and kinds != shrunk:
        note += f" No {' and no '.join(sorted(kinds - shrunk))} has lost a channel, so none is drawn."
    return drawn(Drawing("widths", "Channels kept in every layer", note), draw, 0.9 + 0.132 * len(rows))


def _kind(layer: str) -> str:
    """layer1.0 conv2 -> conv2."""
    return layer.rpartition(" ")[2]


def _points(values: Iterable[tuple[int, float | None]]) -> Points:
    """(epoch, value) where there is one."""
    return [(number, value) for number, value in values if value is not None]


def _of_first(points: Points) -> tuple[Points, int]:
    """The points in percent of the first, and the epoch of that; nothing where the first is 0."""
    if not points or points[0][1] <= 0:
        return [], 0
    return [(number, 100 * value / points[0][1]) for number, value in points], int(points[0][0])


def _coloured(points: Mapping[str, Points]) -> list[Line]:
    """A colour each; when they are used up, dashed."""
    count = len(COLOURS)
    return [
        Line(name, found, COLOURS[place % count], place >= count) for place, (name, found) in enumerate(points.items())
    ]
