"""stdout and stderr of a command whose reader may go away, as in `| head`: the work goes on and keeps its own exit code."""

import io
import os
import sys
from typing import IO, Any

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
