"""The report of a training: one HTML page made from its log.jsonl, no script, nothing fetched, all text escaped."""

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.files import write_atomic
from vreid.report.charts import Drawing, Line
from vreid.train.checking import SKIPPED
from vreid.train.epochs import Epoch, epochs_in
from vreid.train.figures import UNITS, drawings_of

_ROWS = 8  # of the table
_NAMED = 100  # pictures that were left out
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #16191d; --soft: #5b6470; --rule: #e1e5ea;
  --bar: #3b76d6; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #181c22; --ink: #e8ebef; --soft: #98a2af;
  --rule: #2a3038; --bar: #5c93ee; } }
* { box-sizing: border-box; } html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", Arial, sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; } h2 { font-size: 19px; margin: 32px 0 10px; }
p { margin: 0; } .soft, .tiles span, figcaption span, footer { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 10px; margin: 20px 0 0; }
.tiles div, .panel { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 11px 14px; }
.tiles b { display: block; font-size: 21px; line-height: 1.3; white-space: nowrap; } .tiles span { font-size: 13px; }
.tiles .main { border-color: var(--bar); }
.plots { columns: 2 400px; column-gap: 12px; } figure { margin: 0 0 12px; break-inside: avoid; }
figcaption { font-size: 13px; margin-bottom: 8px; } figcaption b { display: block; font-size: 15px; }
ul { display: flex; flex-wrap: wrap; gap: 0 14px; margin: 4px 0 0; padding: 0; list-style: none; }
li i { display: inline-block; width: 18px; margin-right: 6px; vertical-align: middle; border-top: 3px solid; }
svg { display: block; width: 100%; height: auto; } svg text { font-family: system-ui, sans-serif !important; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: 6px 12px; border-top: 1px solid var(--rule); font-weight: 400; }
td { white-space: nowrap; } thead th { border: 0; color: var(--soft); font-size: 13px; vertical-align: bottom; }
code { font: 13px ui-monospace, Menlo, Consolas, monospace; } footer { margin-top: 28px; font-size: 13px; }
@media (max-width: 560px) { main { padding: 18px 12px 36px; } h1 { font-size: 22px; } .panel { padding: 10px; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(104px, 1fr)); gap: 8px; }
  .tiles div { padding: 9px 11px; } .tiles b { font-size: 18px; } }
"""


def report_of(log: Path) -> str:
    """The page of a training's log.jsonl; it is named after the folder that the log lies in.

    A plot without data is left out. The same log in a folder of the same name gives the same page, with one version of
    matplotlib. Raises Refused for a log that is missing or holds no epoch, and without matplotlib.
    """
    epochs = epochs_in(log)
    body = f"""<p class="soft">Training report</p>
{_tiles(epochs)}
<h2>Over the epochs</h2>
<div class="plots">
{"".join(figure_of(drawing) for drawing in drawings_of(epochs))}</div>
<h2>The last epochs</h2>
{_table(epochs)}
{_left_out(log.with_name(SKIPPED))}<footer>Made by vreid from <code>{escape(log.name)}</code>, which holds every epoch.</footer>"""
    return page_of(log.absolute().parent.name, "a training with vreid", body)


def _left_out(skipped: Path) -> str:
    """The pictures that --skip-broken left out, from the list beside the log; nothing without one."""
    try:
        lines = skipped.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    rows = "<br>\n".join(escape(line) for line in lines[:_NAMED])
    more = f"<br>\nand {len(lines) - _NAMED:,} more, in {escape(skipped.name)}" if len(lines) > _NAMED else ""
    return f"<h2>{len(lines):,} broken pictures were left out</h2>\n<p>{rows}{more}</p>\n"


def page_of(name: str, kind: str, body: str) -> str:
    """The page around a report's body, which is HTML already; `name` and `kind` are not."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{escape(name)} - {escape(kind)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(name)}</h1>
{body}
</main>
</body>
</html>
"""


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html, whole or not at all; returns its path. Raises Refused as `report_of`."""
    return write_page(folder / "report.html", report_of(folder / "log.jsonl"))


def write_page(path: Path, page: str) -> Path:
    """Write the page, whole or not at all. Raises Refused where that cannot be."""
    try:
        write_atomic(path, page)
    except OSError as error:
        raise Refused(f"cannot write {path} ({error.strerror}); make room or give rights to the folder") from error
    return path


def _tiles(epochs: Sequence[Epoch]) -> str:
    """The figures that a reader wants first; one that the log does not hold is left out."""
    hours = sum(epoch.seconds for epoch in epochs) / 3600
    found = [("epochs", f"{epochs[-1].number:,}"), ("hours", f"{hours:.1f}" if hours >= 10 else f"{hours:.2f}")]
    # a score at a smaller input does not compete with one at the final size, as in the training
    scored = [(epoch.map, epoch) for epoch in epochs if epoch.map is not None]
    if scored:
        last, final = scored[-1]
        best, when = max(((s, e) for s, e in scored if e.size == final.size), key=lambda pair: pair[0])
        found.append((f"best mAP, epoch {when.number}", f"{best:.2f} %"))
        found.append((f"last mAP, epoch {final.number}", f"{last:.2f} %"))
    latest = {
        key: next((value for epoch in reversed(epochs) if (value := getattr(epoch, key)) is not None), None)
        for key in ("params", "macs", "share", "target")
    }
    found += [(name, _large(latest[key])) for name, key in (("params", "params"), ("MACs", "macs")) if latest[key]]
    if latest["share"] is not None:
        found.append(("of the MACs kept", _percent(latest["share"])))
    if latest["target"] is not None:
        unit, share = latest["target"]
        found.append((f"target, of the {UNITS.get(unit, unit)}", _percent(share)))
    return tiles_of(found)


def tiles_of(found: Sequence[tuple[str, str]]) -> str:
    """A row of figures, each (name, value)."""
    cells = "".join(
        f"<div{_main(name)}><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in found
    )
    return f'<div class="tiles">{cells}</div>'


def _main(name: str) -> str:
    return ' class="main"' if name.startswith("best") else ""


def figure_of(drawing: Drawing) -> str:
    """The drawing with its title, note and legend."""
    note = f"<span>{escape(drawing.note)}</span>" if drawing.note else ""
    keys = "".join(f"<li>{_swatch(line)}{escape(line.label)}</li>" for line in drawing.legend)
    svg = drawing.svg.replace("<svg", f'<svg role="img" aria-label="{escape(drawing.title)}"', 1)
    return (
        f'<figure class="panel" id="plot-{drawing.key}"><figcaption><b>{escape(drawing.title)}</b>{note}'
        f"{f'<ul>{keys}</ul>' if keys else ''}</figcaption>\n{svg}</figure>\n"
    )


def _swatch(line: Line) -> str:
    return f'<i style="border-top: 3px {"dashed" if line.dashed else "solid"} {line.colour}"></i>'


def _table(epochs: Sequence[Epoch]) -> str:
    """The last epochs, the newest at the end; a column that is empty in all of them is left out."""
    rows = epochs[-_ROWS:]
    losses = dict.fromkeys(name for epoch in rows for name in epoch.losses)
    sets = dict.fromkeys(name for epoch in rows for name in epoch.validation)
    columns: dict[str, list[str]] = {
        "epoch": [str(epoch.number) for epoch in rows],
        "input": ["" if epoch.size is None else f"{epoch.size:g}" for epoch in rows],
        "lr": ["" if epoch.lr is None else f"{epoch.lr:.2g}" for epoch in rows],
        **{f"loss {name}": [_digits(epoch.losses.get(name), 4) for epoch in rows] for name in losses},
        "seconds": [_digits(epoch.seconds, 1) for epoch in rows],
        "MACs": [_large(epoch.macs) for epoch in rows],
        "params": [_large(epoch.params) for epoch in rows],
        "MACs kept": ["" if epoch.share is None else _percent(epoch.share) for epoch in rows],
        "masked": [f"{sum(epoch.masked):,}" if epoch.masked else "" for epoch in rows],
        **{
            f"{name} mAP / Rank-1": [
                " / ".join(f"{part:.2f}" for part in epoch.validation.get(name, ())) for epoch in rows
            ]
            for name in sets
        },
    }
    filled = {head: cells for head, cells in columns.items() if any(cells)}
    return table_of(list(filled), zip(*filled.values(), strict=True))


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain cells under their heads, as HTML that scrolls where it is too wide."""
    first = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows)
    return f'<div class="panel scroll"><table><thead><tr>{first}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def _digits(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _percent(share: float) -> str:
    """A share of 1 -> percent."""
    return f"{100 * share:.4g} %"


def _large(value: float | None) -> str:
    """1912345 -> 1.912 M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value is not None and value >= size:
            return f"{value / size:.4g} {letter}"
    return "" if value is None else f"{value:,.0f}"
