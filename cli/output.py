"""What a verb prints: its result on stdout (tables and sentences, or one JSON document), progress and errors on stderr."""

import io
import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from vreid.cli.streams import is_terminal, steady
from vreid.runtime.network_address import redacted

# rich cuts tables to 80 columns in a log or a pipe unless a width is given; in a pipe a row is one line, for grep and cut
results = Console(highlight=False, soft_wrap=True, width=None if is_terminal(sys.stdout) else 10_000)
console = Console(stderr=True, highlight=False, soft_wrap=True, width=None if is_terminal(sys.stderr) else 160)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # such as the colours that another program's message brings


def error(sentence: str) -> None:
    """One sentence in one line on stderr, never wrapped or marked up, and without passwords."""
    line = " ".join(part.strip() for part in redacted(sentence).splitlines())
    sys.stderr.write(f"vreid: {_CONTROL.sub('?', line)}\n")


def guard() -> None:
    """Passwords out of what is logged, and of the traceback that a fault of ours would print; odd file names in both.

    A name that is not UTF-8 is printed with its bytes escaped. What nobody reads any more is dropped (cli/streams.py).
    """
    steady()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(_Redacting("vreid: %(message)s"))
    logging.basicConfig(handlers=[handler])
    sys.excepthook = _traceback
    threading.excepthook = lambda fault: _traceback(fault.exc_type, fault.exc_value, fault.exc_traceback)


class _Redacting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The line, and its traceback if it has one."""
        return redacted(super().format(record))


def _traceback(kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    sys.stderr.write(redacted("".join(traceback.format_exception(kind, value, trace))))


def document(value: Mapping[str, Any]) -> None:
    """The one JSON document of a `--json` run, on stdout; NaN and infinity, which JSON does not have, become null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for people, on stdout; the first column is text, the others are aligned right."""
    drawn = Table(title=escape(title), title_justify="left")
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        drawn.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
    results.print(drawn)


def result(sentence: str) -> None:
    """A sentence of the result for people, on stdout; never marked up."""
    results.print(sentence, markup=False)


def note(sentence: str) -> None:
    """Advice or progress for people, on stderr; never marked up."""
    console.print(sentence, markup=False)


def progress() -> Progress:
    """A progress bar on stderr; silent when stderr is no terminal."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
