"""A file of a stream's messages, JSON a line, plain or as gzip: appended in pieces, of which a torn last one is dropped."""

import gzip
import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Annotated, BinaryIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vreid.fleet.messages import fault_in
from vreid.models.errors import Refused, unusable
from vreid.models.files import regular
from vreid.runtime.gallery.records import LAST_MOMENT

VERSION = 1
SAME_S = 0.001  # by which two readings of one message's time in a stream may differ
_KIND = "log of a fleet"
_READ = 1 << 20
_PIECE = 1 << 26  # characters in a member of gzip, but for a message that is longer
_MOST = 1 << 28  # bytes of a line or a member: a file that is none may have no end


@dataclass(frozen=True)
class LogHead:
    """The first line: of which stream it is, and when that was made (a stream that is made anew begins to count anew)."""

    stream: str
    created: str
    log: str = _KIND
    version: int = VERSION


@dataclass(frozen=True)
class LoggedMessage:
    """A message of a stream: its number there, when the server wrote it (seconds since 1970), and what was published."""

    seq: int
    time: float
    subject: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class _Line(BaseModel):
    """A line behind the first: the body as text, or else in base64."""

    model_config = ConfigDict(extra="forbid", strict=True)

    seq: Annotated[int, Field(ge=0, lt=1 << 63)]
    time: Annotated[float, Field(ge=0, lt=LAST_MOMENT)]
    subject: str
    headers: dict[str, str]
    body: str | None = None
    base64: str | None = None


class LogWriter:
    """Appends to a file; one that is there must be of the same stream, and its torn end is cut off.

    Used as a context. `last` is the number of the last message in the file and when it was written in the stream, None where there
    is none. Raises Refused for a file of something else, or one that cannot be written.
    """

    def __init__(self, path: Path, head: LogHead) -> None:
        self.last: tuple[int, float] | None = None
        self._packed = path.suffix == ".gz"
        whole, found, count, last = 0, None, 0, b""
        if path.exists():
            for end, lines in _pieces(path):
                if lines and not count:
                    found = _head(path, lines[0])
                whole, count, last = end, count + len(lines), lines[-1] if lines else last
        if count > 1:
            read = _message(last, f"the last line of {path}")
            self.last = read.seq, read.time
        if found is not None and found != head:
            raise Refused(
                f"{path} is of the stream {found.stream} made at {found.created}, and the server's is {head.stream} made at"
                f" {head.created}; name another file"
            )
        if found is None and whole == 0 and path.exists() and path.stat().st_size:
            raise Refused(f"{path} is not a log of a fleet; name another file")
        self._path = path
        with _on_the_disk(path):
            self._file: BinaryIO = path.open("ab")
            self._file.truncate(whole)
        if found is None:
            self._append([json.dumps(asdict(head))])

    def __enter__(self) -> "LogWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()

    def write(self, messages: Sequence[LoggedMessage]) -> None:
        """Append them; they are on the disk when it returns."""
        lines, size = list[str](), 0
        for message in messages:
            lines.append(_line(message))
            size += len(lines[-1])
            if size > _PIECE:
                self._append(lines)
                lines, size = [], 0
        if lines:
            self._append(lines)
        self.last = (messages[-1].seq, messages[-1].time) if messages else self.last

    def _append(self, lines: list[str]) -> None:
        piece = "".join(f"{line}\n" for line in lines).encode()
        with _on_the_disk(self._path):
            self._file.write(gzip.compress(piece, 6, mtime=0) if self._packed else piece)
            self._file.flush()
            os.fsync(self._file.fileno())


@contextmanager
def _on_the_disk(path: Path) -> Iterator[None]:
    """Raises Refused in place of OSError, which would be taken for one of the server's connection."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise Refused(f"cannot write {path} ({reason}); check the path, its permissions and the disk") from error


def read_log(path: Path) -> Iterator[LoggedMessage]:
    """The messages in their order; a torn end is left out. Raises Refused for another file, and for a damaged one."""
    number = 0
    for _, lines in _pieces(path):
        for line in lines:
            number += 1
            if number == 1:
                _head(path, line)
                continue
            yield _message(line, f"line {number} of {path}")
    if not number:
        raise Refused(f"{path} is not a log of a fleet; vreid fleet record makes one")


def _pieces(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """(offset behind it, its lines) of every whole piece: some lines, or a member of gzip."""
    try:
        with regular(path).open("rb") as file:
            yield from (_members(path, file) if path.suffix == ".gz" else _plain(path, file))
    except OSError as error:
        raise unusable(error) from error


def _plain(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    end, rest = 0, b""
    while read := file.read(_READ):
        whole, newline, rest = (rest + read).rpartition(b"\n")
        _refuse_endless(path, len(rest))
        if newline:
            end += len(whole) + 1
            yield end, whole.split(b"\n")


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    end, rest = 0, b""
    while rest or (rest := file.read(_READ)):
        member, text, taken = zlib.decompressobj(wbits=31), b"", 0
        try:
            while not member.eof:
                rest = rest or file.read(_READ)
                if not rest:
                    return  # torn
                text += member.decompress(rest, _MOST - len(text) + 1)
                _refuse_endless(path, len(text))
                taken += len(rest) - len(member.unused_data)
                rest = member.unused_data
        except zlib.error as error:
            raise Refused(
                f"{path} is not a log of a fleet as gzip, or is damaged behind byte {end} ({error})"
            ) from None
        end += taken
        yield end, text.splitlines()


def _refuse_endless(path: Path, size: int) -> None:
    if size > _MOST:
        raise Refused(f"{path} is not a log of a fleet: it has a line of more than {_MOST >> 20} MB; name another file")


def _head(path: Path, line: bytes) -> LogHead:
    try:
        head = LogHead(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        head = None
    if head is None or head.log != _KIND:
        raise Refused(f"{path} is not a log of a fleet; vreid fleet record makes one")
    if head.version != VERSION:
        raise Refused(f"{path} is a log in version {head.version}, and this program reads {VERSION}")
    return head


def _line(message: LoggedMessage) -> str:
    """Text where the body is UTF-8, which is read by people, and base64 where it is not."""
    about = {"seq": message.seq, "time": message.time, "subject": message.subject, "headers": message.headers}
    try:
        return json.dumps({**about, "body": message.body.decode()}, ensure_ascii=False)
    except UnicodeDecodeError:
        return json.dumps({**about, "base64": b64encode(message.body).decode()}, ensure_ascii=False)


def _message(line: bytes, where: str) -> LoggedMessage:
    try:
        read = _Line.model_validate_json(line)
        if (read.body is None) == (read.base64 is None):
            raise ValueError("it has no body")
        body = (read.body or "").encode() if read.base64 is None else b64decode(read.base64, validate=True)
    except ValidationError as error:
        raise Refused(f"{where} is not a message of a log ({fault_in(error)}); the file is damaged") from None
    except ValueError as error:
        raise Refused(f"{where} is not a message of a log ({error}); the file is damaged") from None
    return LoggedMessage(read.seq, read.time, read.subject, body, read.headers)
