"""What the log of a training says, epoch by epoch: checked here once, so that its report only has to draw."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused


@dataclass(frozen=True)
class Epoch:
    """One record of log.jsonl; what it does not hold is None or empty.

    validation: (mAP, Rank-1) in percent by data set. share: MACs kept, from 0 to 1. target: (unit, share).
    masked: channels left to the lasso, by stage. widths, whole: channels of "layer1.0 conv1", now and before the training.
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

    A line that is no record, such as one cut off while it was written, is passed over, as --resume does it. Raises
    Refused when there is no log, or nothing in it.
    """
    try:
        lines = log.read_bytes().decode("utf-8", "replace").splitlines()
    except OSError as error:
        raise Refused(f"cannot read {log} ({error.strerror}); give the folder that `vreid train` wrote") from error
    found = {epoch.number: epoch for epoch in map(_epoch, lines) if epoch is not None}
    if not found:
        raise Refused(f"{log} holds no whole epoch; wait until the training has ended its first")
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
    scores = {name: _numbers(part) for name, part in _table(record.get("validation")).items()}
    target = _table(record.get("target"))
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


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(value: Any) -> dict[str, float]:
    return {name: part for name, part in _table(value).items() if _number(part) is not None}


def _masked(value: Any) -> tuple[int, ...]:
    """One list a stage, or, in the logs of older trainings, one for all of them."""
    if not isinstance(value, list) or not value:
        return ()
    stages = value if all(isinstance(stage, list) for stage in value) else [value]
    return tuple(int(sum(count for count in stage if _number(count) is not None)) for stage in stages)


def _widths(value: Any) -> dict[str, int]:
    """{"layer1.0": {"conv1": 64}} -> {"layer1.0 conv1": 64}, in letters that a drawing has."""
    found = {block: _numbers(part) for block, part in _table(value).items()}
    return {_plain(f"{block} {place}"): int(width) for block, part in found.items() for place, width in part.items()}


def _plain(name: str) -> str:
    return name.encode("ascii", "replace").decode()
