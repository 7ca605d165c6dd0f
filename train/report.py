"""The report of a training: one HTML page made from its log.jsonl."""

from collections.abc import Sequence
from pathlib import Path

from vreid.report.page import render, write_page
from vreid.train.data.checking import SKIPPED
from vreid.train.epochs import Epoch, epochs_in
from vreid.train.figures import UNITS, drawings_of

_ROWS = 8  # of the table


def report_of(log: Path) -> str:
    """The page of a training's log.jsonl; it is named after the folder that the log lies in.

    A chart without data is left out. The same log in a folder of the same name gives the same page, with one version of
    matplotlib. Raises Refused for a log that is missing or holds no epoch, and without matplotlib.
    """
    epochs = epochs_in(log)
    head, rows = _table(epochs)
    return render(
        "training.html.j2",
        name=log.absolute().parent.name,
        log=log.name,
        found=_figures(epochs),
        drawings=drawings_of(epochs),
        head=head,
        rows=rows,
        broken=_left_out(log.with_name(SKIPPED)),
        broken_file=SKIPPED,
    )


def write_report(folder: Path) -> Path:
    """Write `folder`/report.html, whole or not at all; returns its path. Raises Refused as `report_of`."""
    return write_page(folder / "report.html", report_of(folder / "log.jsonl"))


def _left_out(skipped: Path) -> list[str]:
    """The pictures that --skip-broken left out, a line each, from the list in the log's folder; empty without one."""
    try:
        return skipped.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _figures(epochs: Sequence[Epoch]) -> list[tuple[str, str]]:
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
    return found


def _table(epochs: Sequence[Epoch]) -> tuple[list[str], list[tuple[str, ...]]]:
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
    return list(filled), list(zip(*filled.values(), strict=True))


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
