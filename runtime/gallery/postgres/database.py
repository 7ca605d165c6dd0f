"""The connection to a gallery's PostgreSQL database: nested transactions, writers' turns, and errors as sentences."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from vreid.models.errors import BadInput, GalleryAway, GalleryDamaged, GalleryFull, GalleryLocked, Refused
from vreid.runtime.gallery_place import DatabaseAddress

LOCK_S = 10  # for which a writer waits for those before it
CONNECT_S = 10
_LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow, errors.IdleInTransactionSessionTimeout)
_TAKEN = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)
_DAMAGED = (errors.DataCorrupted, errors.IndexCorrupted)
_OTHER_TABLES = (
    errors.UndefinedColumn, errors.UndefinedFunction, errors.UndefinedObject, errors.WrongObjectType, errors.DatatypeMismatch,
    errors.DuplicateSchema, errors.DuplicateTable, errors.DuplicateFunction, errors.DuplicateObject, errors.DuplicateColumn,
)  # fmt: skip
_FULL = (errors.DiskFull, errors.OutOfMemory)
_INHERITED: list[Any] = []  # of the parent of a fork: closing one here would end the parent's


class ConnectionLost(GalleryAway):
    """The server ended the connection, or cannot be reached."""


class Database:
    """A connection to one gallery's database, for any thread, one at a time. Outside of transactions a lost one is made again."""

    def __init__(self, address: DatabaseAddress, write: bool, opening: bool = False) -> None:
        """`opening`: it is not yet known whether the tables there are those of a gallery, so that what does not fit them is no
        mistake of this program. Raises Refused where the server cannot be reached, or does not let this user in."""
        self.address, self.name = address, address.name
        self._write, self._process = write, os.getpid()
        self.opening = opening
        self._depth = 0
        self._open: psycopg.Connection[Any] | None = self._connected()

    def reader(self) -> "Database":
        """Another connection to the same gallery, which only reads."""
        return Database(self.address, False)

    def close(self) -> None:
        """A second call does nothing."""
        if self._open is not None and os.getpid() != self._process:
            _INHERITED.append(self._open)
        elif self._open is not None:
            self._open.close()
        self._open = None

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """Raises BadInput after `close`, and Refused in another process than the one that opened it."""
        if self._open is None:
            raise BadInput(f"the gallery {self.name} is closed; open it again")
        if os.getpid() != self._process:
            raise Refused(
                f"the gallery {self.name} was opened by process {self._process}, from which this one was forked; open it"
                " after the fork"
            )
        if self._open.closed and not self._depth:
            self._open = self._connected()
        return self._open

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction or a reading is open."""
        return self._depth > 0

    # Values stand for %s in turn, or by name for %(name)s.

    def run(self, statement: str, *values: Any, **named: Any) -> int:
        """One statement, of which no rows are read; how many rows it changed."""
        return self._executed(statement, named or values).rowcount

    def rows(self, query: str, *values: Any, **named: Any) -> list[Any]:
        """All rows of a query."""
        return self._executed(query, named or values).fetchall()

    def row(self, query: str, *values: Any, **named: Any) -> Any:
        """The first row; None when there is none."""
        return self._executed(query, named or values).fetchone()

    def column(self, query: str, *values: Any, **named: Any) -> list[Any]:
        """The first cell of every row."""
        return [row[0] for row in self.rows(query, *values, **named)]

    def pages(self, size: int, query: str, values: Mapping[str, Any], last: int = 0) -> Iterator[list[Any]]:
        """The rows of a query by their first cell, an id that rises from `last` on, `size` at a time, each page read when it is
        needed. The query has the placeholders %(last)s and %(size)s."""
        while rows := self._executed(query, {**values, "last": last, "size": size}).fetchall():
            yield rows
            last = int(rows[-1][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside is kept together, or nothing is. Nests (savepoints). One writer of the gallery at a time, in
        whichever process; the others wait for LOCK_S and raise GalleryLocked then."""
        mark = f"level{self._depth}"
        if self._depth:
            self.run(f"SAVEPOINT {mark}")
        else:
            self.run("BEGIN")
        self._depth += 1
        try:
            if self._depth == 1:
                self.row("SELECT pg_advisory_xact_lock(%s)", turn_of(self.address.gallery))
            yield
            self._end(f"RELEASE {mark}" if self._depth > 1 else "COMMIT")
        except BaseException:
            if self._depth > 1:
                self._undo(f"ROLLBACK TO {mark}", f"RELEASE {mark}")
            else:
                self._undo("ROLLBACK")
            raise
        finally:
            self._depth -= 1

    @contextmanager
    def reading(self) -> Iterator[None]:
        """All that is read inside is of one moment, whoever writes meanwhile."""
        if self._depth:
            yield
            return
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._depth += 1
        try:
            self.run("LOCK TABLE ONLY sightings IN ACCESS SHARE MODE")  # no partition goes before the end
            yield
        finally:
            self._undo("ROLLBACK")
            self._depth -= 1

    @contextmanager
    def lent(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection for a library that begins and ends transactions itself; what is run inside belongs to them."""
        connection = self.connection
        connection.autocommit = False
        self._depth += 1
        try:
            yield connection
        finally:
            self._depth -= 1
            if not connection.closed:
                connection.rollback()
                connection.autocommit = True

    def _executed(self, statement: str, values: Any) -> psycopg.Cursor[Any]:
        """Outside of a transaction a statement may be sent again: what is written there can be done twice."""
        cleaned = (
            {key: _clean(value) for key, value in values.items()}
            if isinstance(values, Mapping)
            else [*map(_clean, values)]
        )
        for again in (True, False):
            connection = self.connection
            try:
                return connection.cursor(binary=True).execute(statement.encode(), cleaned or None)
            except psycopg.Error as error:
                if not (again and connection.closed and not self._depth):
                    raise self.refusal(error) from error
        raise AssertionError  # not reached

    def _end(self, statement: str) -> None:
        try:
            self.run(statement)
        except ConnectionLost as lost:
            raise ConnectionLost(
                f"the connection to the gallery {self.name} was lost while a change was being kept; look whether it is there"
            ) from lost

    def _undo(self, *statements: str) -> None:
        """A lost connection has undone it already."""
        if (
            self._open is not None
            and not self._open.closed
            and self._open.info.transaction_status != TransactionStatus.IDLE
        ):
            for statement in statements:
                with suppress(ConnectionLost):
                    self.run(statement)

    def _connected(self) -> psycopg.Connection[Any]:
        try:
            more: dict[str, Any] = (
                {"connect_timeout": CONNECT_S} if "connect_timeout" not in conninfo_to_dict(self.address.uri) else {}
            )
            connection = psycopg.connect(
                self.address.uri, autocommit=True, client_encoding="utf8", fallback_application_name="vreid", **more
            )
        except psycopg.Error as error:
            raise self.refusal(error) from error
        try:
            path = sql.Identifier(self.address.gallery)
            connection.execute(sql.SQL("SET search_path TO {}, public, pg_temp").format(path))
            connection.execute(f"SET lock_timeout = '{LOCK_S}s'")
            if not self._write:
                connection.execute("SET default_transaction_read_only = on")
        except psycopg.Error as error:
            connection.close()
            raise self.refusal(error) from error
        return connection

    def refusal(self, error: psycopg.Error) -> Refused:
        """The sentence for an error of the database. What is our own mistake is raised again."""
        text, name = self._text(error), self.name
        if isinstance(error, _TAKEN):
            return GalleryLocked(f"the gallery {name} is being written by another program ({text}); try again")
        if isinstance(error, _FULL):
            return GalleryFull(f"the database of the gallery {name} has no room ({text}); make room and try again")
        if isinstance(error, _DAMAGED):
            return GalleryDamaged(f"the database of the gallery {name} is damaged ({text}); restore a backup")
        if isinstance(error, errors.InsufficientPrivilege):
            fix = f"let an owner grant it {self.address.gallery}_writer or {self.address.gallery}_reader"
            return Refused(f"this user may not do that with the gallery {name} ({text}); {fix}")
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return Refused(
                f"the gallery {name} was opened for reading, or its server is a replica; open it for writing"
            )
        if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName):
            return Refused(f"the gallery {name} is not there or was removed ({text}); check the address")
        if self.opening and isinstance(error, _OTHER_TABLES):
            fix = "name another ?gallery=, or restore a backup"
            return Refused(f"what is at {name} is not a gallery of this vreid ({text}); {fix}")
        if isinstance(error, psycopg.IntegrityError | psycopg.DataError):
            return BadInput(f"the gallery {name} does not take this ({text}); correct the request")
        if isinstance(error, _LOST) or (isinstance(error, psycopg.OperationalError) and error.sqlstate is None):
            return ConnectionLost(
                f"there is no connection to the gallery {name} ({text}); check its server and the address"
            )
        if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is not None:
            raise error
        if isinstance(error, psycopg.ProgrammingError):
            return Refused(f"the address of the gallery {name} cannot be used ({text}); correct it")
        return Refused(f"the gallery {name} cannot be used ({text}); see the server's log")

    def _text(self, error: psycopg.Error) -> str:
        """The server's words in one line, without the password."""
        words = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
        password = _password(self.address.uri)
        return words.replace(password, "***") if password else words


def turn_of(gallery: str) -> int:
    """The number of the lock that a gallery's writer holds."""
    return int.from_bytes(hashlib.sha256(f"vreid gallery {gallery}".encode()).digest()[:8], "big", signed=True)


def _password(uri: str) -> str:
    with suppress(psycopg.Error):
        return str(conninfo_to_dict(uri).get("password") or "")
    return ""


def _clean(value: Any) -> Any:
    """Text as PostgreSQL takes it: a camera named after a file may hold bytes that are not UTF-8, or a NUL."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return [*map(_clean, value)] if isinstance(value, list) else value
