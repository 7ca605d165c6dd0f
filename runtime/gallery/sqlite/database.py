"""The SQLite database of a gallery: its file, made and opened, its errors as sentences, and the lock of its one writer."""

import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from vreid.models.errors import BadInput, GalleryDamaged, GalleryFull, GalleryLocked, Refused
from vreid.models.files import identity_of, sync_folder, try_lock

BUSY_S = 1.0
_SHARED_MEMORY = 32768  # bytes that a file in WAL mode needs next to it to be opened


# what using a locked, full or damaged file may raise
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError, MemoryError)
_INHERITED: list[sqlite3.Connection] = []  # of the parent of a fork: closing one here would disturb the parent's


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turns what SQLite raises inside into Refused."""
    try:
        yield
    except FAULTS as error:
        raise refusal(path, error) from error


def refusal(path: Path, error: Exception) -> Refused:
    """The sentence for one of FAULTS. A ProgrammingError is our own mistake and is raised again."""
    if isinstance(error, sqlite3.ProgrammingError):
        raise error
    text = str(error)
    if "malformed JSON" in text:
        return damaged(path, "a change of the audit that is not valid JSON")
    if isinstance(error, sqlite3.OperationalError):
        if "locked" in text or "busy" in text:
            fix = "close that program and try again"
            return GalleryLocked(f"the gallery {path} is locked by another program; {fix}")
        if "UTF-8" in text:  # it goes on with the text itself
            return damaged(path, text.partition(" with text")[0])
        if "full" in text or ("disk I/O error" in text and not _has_room(path)):
            return GalleryFull(f"the disk of the gallery {path} is full; make room and try again")
        return Refused(f"the gallery {path} cannot be used ({text}); check its permissions or restore a copy")
    if isinstance(error, sqlite3.IntegrityError):
        return Refused(f"the gallery {path} does not take this ({text}); correct the request")
    if isinstance(error, UnicodeDecodeError):  # SQLite's message about a damaged file quotes it
        return damaged(path, "text that is not UTF-8")
    if isinstance(
        error, MemoryError
    ):  # SQLite raises it for some damaged files too, whose lengths are beyond all sense
        fix = "free some, repair it with 'vreid gallery check --repair' or restore a copy"
        return Refused(f"the gallery {path} needs more memory than there is, or is damaged; {fix}")
    return damaged(path, text)


def damaged(path: Path, reason: str) -> GalleryDamaged:
    """The refusal of a file that cannot be read."""
    fix = "repair it with 'vreid gallery check --repair' or restore a copy"
    return GalleryDamaged(f"{path} is not a gallery or is damaged ({reason}); name another file, {fix}")


class Database:
    """An open connection to the existing database at the absolute `path`, for any thread, one at a time.

    The file is never opened but by SQLite: closing such a handle would drop this process's SQLite locks (POSIX).
    """

    def __init__(self, path: Path, write: bool, called: Path | None = None) -> None:
        """`called`: what messages call it, when that is not its file."""
        self.path, self._file = called or path, path
        self._connection: sqlite3.Connection | None = connect(path, write)
        self._depth, self._process, self._identity = 0, os.getpid(), identity_of(path)

    @property
    def connection(self) -> sqlite3.Connection:
        """Raises BadInput after `close`, and Refused in another process than the one that opened it."""
        if self._connection is None:
            raise BadInput(f"the gallery {self.path} is closed; open it again")
        if os.getpid() != self._process:
            raise Refused(
                f"the gallery {self.path} was opened by process {self._process}, from which this one was forked; open it"
                " after the fork"
            )
        return self._connection

    def close(self) -> None:
        """A second call does nothing."""
        if self._connection is not None and os.getpid() != self._process:
            _INHERITED.append(self._connection)
        elif self._connection is not None:
            self._connection.close()
        self._connection = None

    def run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        """One statement, of which no rows are read."""
        try:
            return self.connection.execute(statement, _clean(values))
        except FAULTS as error:
            raise refusal(self.path, error) from error

    def rows(self, query: str, *values: Any) -> Iterator[Any]:
        """The rows of a query, which begins when the first is read."""
        try:
            cursor = self.connection.execute(query, _clean(values))
            yield from iter(cursor.fetchone, None)  # of the cursor itself, it would close that, maybe after the end
        except FAULTS as error:
            raise refusal(self.path, error) from error

    def pages(self, size: int, query: str, *values: Any) -> Iterator[list[Any]]:
        """The rows of a query, `size` at a time."""
        try:
            cursor = self.connection.execute(query, _clean(values))
            while rows := cursor.fetchmany(size):
                yield rows
        except FAULTS as error:
            raise refusal(self.path, error) from error

    def row(self, query: str, *values: Any) -> Any:
        """The first row; None when there is none."""
        try:
            return self.connection.execute(query, _clean(values)).fetchone()
        except FAULTS as error:
            raise refusal(self.path, error) from error

    def column(self, query: str, *values: Any) -> list[Any]:
        """The first cell of every row."""
        return [row[0] for row in self.rows(query, *values)]

    def last_id(self, table: str) -> int:
        """The last id that was ever given in `table`; 0: none."""
        row = self.row("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        if row and type(row[0]) is not int:
            raise damaged(self.path, f"the last id of {table} is not a number")
        return row[0] if row else 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept together, or nothing is. Nests (savepoints)."""
        mark = f"level{self._depth}"
        begin, end = (f"SAVEPOINT {mark}", f"RELEASE {mark}") if self._depth else ("BEGIN IMMEDIATE", "COMMIT")
        self._refuse_replaced()
        self.run(begin)
        self._depth += 1
        try:
            yield
            self._refuse_replaced()
            self.run(end)
        except BaseException:
            if self.connection.in_transaction:  # SQLite itself rolls back on some errors of the disk
                self.run(f"ROLLBACK TO {mark}" if self._depth > 1 else "ROLLBACK")
                if self._depth > 1:
                    self.run(end)
            raise
        finally:
            self._depth -= 1

    def backup(self, path: Path) -> None:
        """Copy every page, of one moment and in one step, to the new file `path`; whoever writes meanwhile goes on."""
        with sentences(path), closing(sqlite3.connect(path)) as copy:
            self.connection.backup(copy)

    def _refuse_replaced(self) -> None:
        """Whatever is written into a file that has no name any more is lost."""
        if identity_of(self._file) != self._identity:
            raise Refused(
                f"the gallery {self.path} was removed, moved or replaced while it was open; put it back, or open it again"
            )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read inside is of one moment, whoever writes meanwhile."""
        if self.connection.in_transaction:
            yield
            return
        self.run("BEGIN")
        try:
            yield
        finally:
            self.run("COMMIT")


def connect(path: Path, write: bool) -> sqlite3.Connection:
    """A connection of Python's sqlite3 to the existing database at the absolute `path`; see `Database`."""
    # A reader that may not write the folder cannot make the WAL's shared memory; with no WAL it does not need one.
    still = not write and not os.access(path.parent, os.W_OK) and not path.with_name(path.name + "-wal").exists()
    mode = "immutable=1" if still else "mode=rw"
    with sentences(path):
        connection = sqlite3.connect(
            f"{path.as_uri()}?{mode}", uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
    try:
        with sentences(path):
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL" if write else "PRAGMA query_only = ON")
            connection.execute("PRAGMA secure_delete = ON")  # what is removed is overwritten
    except Refused:
        connection.close()
        raise
    return connection


def refuse_stray_log(path: Path) -> None:
    """SQLite would take the write-ahead log of a gallery that is gone for the new one's, and bring its vehicles back."""
    log = path.with_name(path.name + "-wal")
    if log.exists():
        raise Refused(
            f"{log} belongs to a gallery that is no longer there; put that gallery back, or remove the log for a new one"
        )


def lock(path: Path) -> int:
    """Take the one writer's lock, PATH.lock, for as long as the returned handle is open; waits half a second at most.
    Raises GalleryLocked, Refused, and OSError where the disk is full.

    The kernel lets go of it when the process dies, however it dies.
    """
    file = path.with_name(path.name + ".lock")
    end = time.monotonic() + 0.5
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise Refused(
                f"{file} cannot be written ({error.strerror}); name a gallery in a folder you may write"
            ) from error
        if not try_lock(handle):
            holder = os.pread(handle, 32, 0).decode(errors="replace") or "unknown"
            os.close(handle)
            if time.monotonic() > end and holder == str(os.getpid()):
                fix = "close it first, or use that object"
                raise GalleryLocked(f"the gallery {path} is being written by this process itself; {fix}")
            if time.monotonic() > end:
                fix = "stop it or use another gallery"
                raise GalleryLocked(f"the gallery {path} is being written by process {holder}; {fix}")
            time.sleep(0.05)
            continue
        # The last writer removes the file as it goes; a lock on a removed file would guard nothing.
        if _is_at(handle, file):
            try:
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
            except OSError:  # a full disk; the lock would last as long as the open handle
                file.unlink(missing_ok=True)
                os.close(handle)
                raise
            return handle
        os.close(handle)


def unlock(path: Path, handle: int) -> None:
    """Give the writer's lock back and remove its file; it stays the parent's in a process that was forked."""
    if os.pread(handle, 32, 0) == str(os.getpid()).encode():
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
    os.close(handle)


@contextmanager
def as_writer(path: Path) -> Iterator[None]:
    """The one writer's lock, for the body."""
    handle = lock(path)
    try:
        yield
    finally:
        unlock(path, handle)


@contextmanager
def new_gallery(path: Path) -> Iterator[Path]:
    """Where a gallery is made that moves to `path` when the body succeeds; nobody else can make one there meanwhile."""
    if path.parts and path.parts[0].lower() in ("postgresql:", "postgres:"):
        raise Refused(
            "this gallery is made as a file, not on a server; name a file, and take it there by vreid gallery export and import"
        )
    path = path.resolve()
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent} for the gallery; make it first")
    with as_writer(path):
        if path.exists():  # between the look and the lock
            raise Refused(f"another program has just made the gallery {path}; run again to add to it")
        refuse_stray_log(path)
        for old in path.parent.iterdir():  # of a process that was killed: whoever has the lock is the only one here
            if re.fullmatch(re.escape(f".{path.name}-") + r"[a-z0-9_]{8}", old.name) and (old / path.name).is_file():
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            temporary.replace(path)
            sync_folder(path.parent)


def _clean(values: tuple[Any, ...]) -> list[Any]:
    """A camera named after a file may hold bytes that are not UTF-8."""
    return [value.encode("utf-8", "replace").decode() if isinstance(value, str) else value for value in values]


def _has_room(path: Path) -> bool:
    """Whether a file in WAL mode can be opened at `path`, as far as its disk goes."""
    try:
        return shutil.disk_usage(path.parent).free >= _SHARED_MEMORY
    except OSError:
        return True


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
