"""The report's numbers as HTML: the headline, and the tables of stages, cameras and the model."""

from collections.abc import Mapping
from html import escape
from typing import Any

_NOTHING = "&ndash;"


def headline(summary: Mapping[str, Any]) -> str:
    """The figures that a reader wants first; the identity scores where the run had a ground truth."""
    cameras = summary.get("cameras") or {}
    frames = sum(int(camera.get("frames") or 0) for camera in cameras.values())
    counts = [
        ("cameras", number(len(cameras)), ""),
        ("frames", number(frames), ""),
        ("vehicles", number(summary.get("vehicles")), ""),
        ("seen by &ge; 2 cameras", number(summary.get("seen_by_several")), "main"),
        ("known", number(summary.get("known")), ""),
        ("newly enrolled", number(summary.get("enrolled")), ""),
        ("unknown", number(summary.get("unknown")), ""),
        ("frames a second", number(summary.get("frames_per_second"), 1), ""),
    ]
    identity = summary.get("identity")
    return _figures(counts) + (_identity(identity) if identity else "")


def _identity(identity: Mapping[str, Any]) -> str:
    vehicles = number(identity.get("vehicles"))
    scores = [
        ("IDF1", _percent(identity.get("idf1")), "main"),
        ("ID precision", _percent(identity.get("idp")), ""),
        ("ID recall", _percent(identity.get("idr")), ""),
        ("right ids on boxes", _percent(identity.get("accuracy")), ""),
        (f"of {vehicles} kept over cameras", _percent(identity.get("kept_over_cameras")), ""),
    ]
    return f"<h2>Against the ground truth</h2>{_figures(scores)}"


def latency_table(summary: Mapping[str, Any]) -> str:
    """Stages in the order they are given; the bar is p50 in p99, all on one scale."""
    stages: Mapping[str, Mapping[str, Any]] = summary.get("stages") or {}
    if not stages:
        return '<p class="soft">No stage was timed.</p>'
    longest = max((float(stage.get("p99_ms") or 0) for stage in stages.values()), default=0) or 1.0
    rows = [
        [
            escape(str(name)),
            number(stage.get("count")),
            *(number(stage.get(key), 2) for key in ("p50_ms", "p90_ms", "p99_ms")),
            '<span class="meter">'
            + "".join(f'<i style="width:{100 * float(stage.get(key) or 0) / longest:.2f}%"></i>' for key in _BARS)
            + "</span>",
        ]
        for name, stage in stages.items()
    ]
    note = '<p class="note">A time is of one step, in which the cameras give a frame each; that of search is of one track.</p>'
    return note + _table(["stage", "count", "p50 ms", "p90 ms", "p99 ms", "p50 within p99"], rows, wide=True)


_BARS = ("p99_ms", "p50_ms")


def camera_table(summary: Mapping[str, Any]) -> str:
    """One row a camera."""
    rows = [
        [
            escape(str(name)),
            number(camera.get("frames")),
            f"{number(camera.get('width'), group=False)} &times; {number(camera.get('height'), group=False)}",
            number(camera.get("frame_rate") or None, 1),
            number(camera.get("dropped")),
            number(camera.get("tracks")),
            number(camera.get("seconds"), 1),
        ]
        for name, camera in (summary.get("cameras") or {}).items()
    ]
    return _table(["camera", "frames", "size", "frames/s of source", "dropped", "tracks", "seconds"], rows)


def warnings_of(summary: Mapping[str, Any]) -> str:
    """What was wrong with the cameras' films or pictures, and what is worth knowing of them; nothing where all was well."""
    lines = [
        f"<li><b>{escape(str(name))}</b>: {escape(str(text))}</li>"
        for name, camera in (summary.get("cameras") or {}).items()
        for text in [*(camera.get("warnings") or ()), *(camera.get("notes") or ())]
    ]
    return f'<h2>Warnings</h2><div class="panel"><ul>{"".join(lines)}</ul></div>' if lines else ""


def model_table(summary: Mapping[str, Any]) -> str:
    """The model and its cost; MACs and FLOPs are both named."""
    model = summary.get("model") or {}
    threshold, memory = summary.get("threshold"), summary.get("peak_memory_mb")
    pairs = [
        ("name", _text(model.get("name"))),
        ("parameters", _large(model.get("params"))),
        ("MACs", f"{_large(model.get('macs'))} an image"),
        ("FLOPs", f"{_large(model.get('flops'))} an image (2 &times; MACs)"),
        ("precision", _text(model.get("precision"))),
        ("backend", _text(model.get("backend"))),
        ("fingerprint", f"<code>{_text(model.get('fingerprint'))}</code>"),
        ("known from score", number(threshold, 3)),
        ("peak memory", _NOTHING if memory is None else f"{number(memory, 0)} MB"),
    ]
    rows = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in pairs)
    return f'<div class="panel scroll"><table class="pairs"><tbody>{rows}</tbody></table></div>'


def number(value: Any, digits: int = 0, group: bool = True) -> str:
    """1234.5 -> 1,234.5; a dash, as HTML, where there is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _NOTHING
    return f"{value:{',' if group else ''}.{digits}f}"


def _text(value: Any) -> str:
    return _NOTHING if value is None else escape(str(value))


def _large(value: Any) -> str:
    """1912345 -> 1.91 M (1,912,345)."""
    if not isinstance(value, int | float):
        return _NOTHING
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.2f} {letter} ({number(value)})"
    return number(value)


def _percent(value: Any) -> str:
    """A share of 1 -> percent."""
    return f"{100 * value:.1f} %" if isinstance(value, int | float) else _NOTHING


def _figures(items: list[tuple[str, str, str]]) -> str:
    cells = "".join(f'<div class="{style}"><b>{value}</b><span>{name}</span></div>' for name, value, style in items)
    return f'<div class="figures">{cells}</div>'


def _table(heads: list[str], rows: list[list[str]], wide: bool = False) -> str:
    """`rows` hold HTML, the first cell names the row; `wide` gives the last column the room."""
    last = len(heads) - 1
    head = "".join(f"<th{_wide(wide and i == last)}>{escape(text)}</th>" for i, text in enumerate(heads))
    body = "".join(
        f"<tr><th>{row[0]}</th>"
        + "".join(f"<td{_wide(wide and i == last)}>{cell}</td>" for i, cell in enumerate(row[1:], start=1))
        + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="panel scroll">{table}</div>'


def _wide(yes: bool) -> str:
    return ' class="wide"' if yes else ""
