"""What a verb prints: its result on stdout (tables and sentences, or one JSON document), progress and errors on stderr."""

import io
import json
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

NAMES = {1: "standard output", 2: "standard error"}


class _Pipe(io.FileIO):
    """The raw end of stdout or stderr. Once nobody reads, what is written is dropped; a full disk is an error once."""

    def write(self, data: Any) -> int:
        """As FileIO's; raises OSError with the stream's name, never BrokenPipeError."""
        try:
            return super().write(data)
        except OSError as error:
            drop = os.open(os.devnull, os.O_WRONLY)
            os.dup2(drop, self.fileno())  # also for what is still buffered when Python ends
            os.close(drop)
            if isinstance(error, BrokenPipeError):
                return len(data)
            raise OSError(error.errno, error.strerror, NAMES[self.fileno()]) from error


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a person looks at it; a stream that was closed before Python started is None."""
    return stream is not None and stream.isatty()


def steady() -> None:
    """Make this process's stdout and stderr such streams, unless somebody, as a test does, has put others in their place.

    A stream that is closed (`>&-`) is dropped. Its number is taken, so that no file of this program is opened under it and written
    to by a library that prints.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = _stream(sys.stdout, 1)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _stream(sys.stderr, 2)


def _stream(before: IO[str] | None, number: int) -> IO[str]:
    """Text of the encoding and buffering of `before`; a terminal stays as it is."""
    if before is not None and before.isatty():
        return before
    old = before if isinstance(before, io.TextIOWrapper) else None
    if old is not None:
        old.flush()
    raw = _Pipe(number, "w", closefd=False)
    unbuffered = old is not None and isinstance(old.buffer, io.RawIOBase)  # python -u
    return io.TextIOWrapper(
        raw if unbuffered else io.BufferedWriter(raw),
        encoding="utf-8" if old is None else old.encoding,
        errors="backslashreplace",
        line_buffering=number == 2 or (old is not None and old.line_buffering),
        write_through=unbuffered,
    )


FIRST_LINE_S, LAST_LINE_S = (
    10.0,
    600.0,
)  # between lines of progress where stderr is not a terminal: doubling, up to the last


@cache
def results() -> "Console":
    """Where results go: stdout. rich cuts tables to 80 columns in a log or a pipe unless a width is given; in a pipe a row is one
    line, for grep and cut."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, width=None if is_terminal(sys.stdout) else 10_000)


@cache
def console() -> "Console":
    """Where advice and progress go: stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, width=None if is_terminal(sys.stderr) else 160)


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # such as the colours that another program's message brings


def error(sentence: str) -> None:
    """One sentence in one line on stderr, never wrapped or marked up, and without passwords."""
    from vreid.runtime.network_address import redacted

    line = " ".join(part.strip() for part in redacted(sentence).splitlines())
    sys.stderr.write(f"vreid: {_CONTROL.sub('?', line)}\n")


def guard() -> None:
    """Passwords out of what is logged, and of the traceback that a fault of this program would print; odd file names in both.

    A name that is not UTF-8 is printed with its bytes escaped.
    """
    import logging

    from vreid.runtime.network_address import redacted

    class Redacting(logging.Formatter):
        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  a method of logging's
            """The sentence in one line, whatever another program's words in it are."""
            return _CONTROL.sub("?", super().formatMessage(record))

        def format(self, record: logging.LogRecord) -> str:
            """The line, and its traceback if it has one."""
            return redacted(super().format(record))

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(Redacting("vreid: %(message)s"))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("vreid").setLevel(logging.INFO)  # that something is there again, too
    sys.excepthook = _traceback
    threading.excepthook = lambda fault: _traceback(fault.exc_type, fault.exc_value, fault.exc_traceback)


def _traceback(kind: type[BaseException], value: BaseException | None, trace: TracebackType | None) -> None:
    import traceback

    from vreid.runtime.network_address import redacted

    sys.stderr.write(redacted("".join(traceback.format_exception(kind, value, trace))))


def document(value: Mapping[str, Any]) -> None:
    """The one JSON document of a `--json` run, on stdout; NaN and infinity, which JSON does not have, become null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def outcome(as_json: bool, sentence: str, fields: Mapping[str, Any]) -> int:
    """The result of a verb that did one thing, as a sentence or, with `as_json`, as one JSON document; exit code 0."""
    if as_json:
        document(fields)
    else:
        result(sentence)
    return 0


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table for people, on stdout; the first column is text, the others are aligned right."""
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(title=escape(title), title_justify="left")
    for place, column in enumerate(columns):
        drawn.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        drawn.add_row(*(f"{cell:.2f}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
    results().print(drawn)


def result(sentence: str) -> None:
    """A sentence of the result for people, on stdout; never marked up."""
    results().print(sentence, markup=False)


def note(sentence: str) -> None:
    """Advice or progress for people, on stderr; never marked up."""
    console().print(sentence, markup=False)


class ProgressLines:
    """Progress as lines of text, for a log: the first after 10 seconds, then at twice the time, at least every 10 minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._next, self._tasks = FIRST_LINE_S, list[dict[str, Any]]()

    def __enter__(self) -> "ProgressLines":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def add_task(self, description: str, total: float | None = 100) -> int:
        """As rich's."""
        self._tasks.append({"description": description, "total": total, "completed": 0})
        return len(self._tasks) - 1

    def update(self, task: int, *, advance: float = 0, **fields: Any) -> None:
        """As rich's, with `description`, `total` and `completed`; prints a line when one is due."""
        about = self._tasks[task]
        about |= {name: value for name, value in fields.items() if value is not None}
        about["completed"] += advance
        seconds = self._clock() - self._began
        if seconds < self._next:
            return
        self._next = seconds + min(seconds, LAST_LINE_S)
        total = "" if about["total"] is None else f" of {about['total']:g}"
        note(f"{about['description']}: {about['completed']:g}{total}, {seconds:.0f} s")

    def advance(self, task: int, advance: float = 1) -> None:
        """As rich's."""
        self.update(task, advance=advance)


def progress(lines: bool = True) -> "Progress":
    """A progress bar on stderr; where that is not a terminal a line now and then, or nothing without `lines`."""
    if lines and not console().is_terminal:
        return cast("Progress", ProgressLines())  # has what the verbs use of it
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console(), disable=not console().is_terminal, transient=True)


@contextmanager
def counting(description: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar of one task; what it gives is called with how many are done and how many there are."""
    with progress() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
