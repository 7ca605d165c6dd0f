"""The report of a training: one HTML page made from its log.jsonl."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.report.page import render, write_page
from vreid.train.data.checking import SKIPPED
from vreid.train.figures import UNITS, drawings_of


@dataclass(frozen=True)
class Epoch:
    """One record of log.jsonl; what it does not hold is None or empty.

    validation: (mAP, Rank-1) in percent by data set. share: MACs kept, from 0 to 1. target: (unit, share).
    masked: channels dropped or masked, by stage. widths, whole: channels of "layer1.0 conv1", now and before the training.
    """

    number: int
    losses: Mapping[str, float]
    seconds: float
    size: float | None
    lr: float | None
    validation: Mapping[str, tuple[float, float]]
    params: float | None
    macs: float | None
    share: float | None
    target: tuple[str, float] | None
    masked: tuple[int, ...]
    widths: Mapping[str, int]
    whole: Mapping[str, int]

    @property
    def map(self) -> float | None:
        """The mean over the data sets, by which the training chooses too."""
        scores = [score for score, _ in self.validation.values()]
        return sum(scores) / len(scores) if scores else None


def epochs_in(log: Path) -> list[Epoch]:
    """The epochs of a log.jsonl, first to last; of one that was trained twice, the later record.

    A line that is not a record, such as one cut off while it was written, is passed over, as --resume does it. Raises
    Refused when there is no log, or nothing in it.
    """
    try:
        lines = log.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise Refused(f"cannot read {log} ({error.strerror}); give the folder that `vreid train` wrote") from error
    found = {epoch.number: epoch for epoch in map(_epoch, lines) if epoch is not None}
    if not found:
        raise Refused(f"{log} holds no complete epoch; wait until the training has ended its first")
    return [found[number] for number in sorted(found)]


def _epoch(line: str) -> Epoch | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    number, seconds = _number(record.get("epoch")), _number(record.get("seconds"))
    if number is None or number < 1 or seconds is None:
        return None
    scores = {name: _numbers(part) for name, part in _mapping(record.get("validation")).items()}
    target = _mapping(record.get("target"))
    share = _number(target.get("share"))
    return Epoch(
        number=int(number),
        losses=_numbers(record.get("losses")),
        seconds=seconds,
        size=_number(record.get("size")),
        lr=_number(record.get("lr")),
        validation={name: (part["map"], part["rank1"]) for name, part in scores.items() if {"map", "rank1"} <= {*part}},
        params=_number(record.get("params")),
        macs=_number(record.get("macs")),
        share=_number(record.get("share")),
        target=None if share is None else (str(target.get("unit")), share),
        masked=_masked(record.get("masked")),
        widths=_widths(record.get("widths")),
        whole=_widths(record.get("whole")),
    )


def _number(value: Any) -> float | None:
    """A finite number, else None: json reads NaN and Infinity too."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if number else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {name: part for name, part in _mapping(value).items() if _number(part) is not None}


def _masked(value: Any) -> tuple[int, ...]:
    """One list a stage, or, in the logs of older trainings, one for all of them."""
    if not isinstance(value, list) or not value:
        return ()
    stages = value if all(isinstance(stage, list) for stage in value) else [value]
    return tuple(int(sum(count for count in stage if _number(count) is not None)) for stage in stages)


def _widths(value: Any) -> dict[str, int]:
    """{"layer1.0": {"conv1": 64}} -> {"layer1.0 conv1": 64}, in letters that a drawing has."""
    found = {block: _numbers(part) for block, part in _mapping(value).items()}
    return {_plain(f"{block} {place}"): int(width) for block, part in found.items() for place, width in part.items()}


def _plain(name: str) -> str:
    return name.encode("ascii", "replace").decode()


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
        main="last mAP" if _compressed(epochs) else "best mAP",
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


def _compressed(epochs: Sequence[Epoch]) -> bool:
    return epochs[-1].share is not None


def _figures(epochs: Sequence[Epoch]) -> list[tuple[str, str]]:
    """The figures that a reader wants first; one that the log does not hold is left out."""
    hours = sum(epoch.seconds for epoch in epochs) / 3600
    found = [("epochs", f"{epochs[-1].number:,}"), ("hours", f"{hours:.1f}" if hours >= 10 else f"{hours:.2f}")]
    # a score at a smaller input does not compete with one at the final size, as in the training
    scored = [(epoch.map, epoch) for epoch in epochs if epoch.map is not None]
    if scored:
        last, final = scored[-1]
        best, when = max(((s, e) for s, e in scored if e.size == final.size), key=lambda pair: pair[0])
        if not _compressed(epochs):  # whose best would be of a wider network than best.pt has, which is the newest
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
