"""The HNSW index of pgvector over a gallery's prototypes, in half precision: made by whoever owns the gallery, used by all."""

import threading
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import psycopg

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.table import Progress
from vreid.runtime.gallery.postgres.database import Database
from vreid.runtime.gallery.postgres.features import PrototypeFeatures
from vreid.runtime.gallery.postgres.rows import numbers
from vreid.runtime.records import Floats, Ints

NAME = "prototypes_near"
_MOST_EF = 1000  # pgvector's
_MOST_NUMBERS = 4000  # of a halfvec in an index
_POLL_S = 0.5
_MOST_MEMORY = 4096  # MB while it is made, where so many are needed: what does not fit is inserted many times slower


class HnswIndex:
    """What says which prototypes are near, once it is made (Malkov and Yashunin, TPAMI 2020, arXiv 1603.09320)."""

    def __init__(self, source: PrototypeFeatures, m: int, built: int, ef: int) -> None:
        """m: neighbours of a row; built, ef: candidates while it is made and while it is searched."""
        self._source, self._database, self._dim = source, source.database, source.dim
        self._m, self._built, self._ef = m, built, ef
        self._cast = f"halfvec({source.dim})"

    def nearest(self, features: Floats, count: int) -> Sequence[Ints] | None:
        if self._state() is not True:
            return None
        ef = min(max(self._ef, 2 * count), _MOST_EF)
        # relaxed_order goes on where dead rows have taken places among the candidates
        self._database.row(
            "SELECT set_config('hnsw.ef_search', %s, false), set_config('hnsw.iterative_scan', 'relaxed_order', false)",
            str(ef),
        )
        query = (
            f"SELECT p.id FROM prototypes p ORDER BY p.feature::{self._cast} <#> %s::float8[]::{self._cast} LIMIT %s"
        )
        return [np.array(self._database.column(query, numbers(one), count), np.int64) for one in features]

    def build(self, progress: Progress) -> None:
        """Takes minutes for 100,000 prototypes on one core; others read and write meanwhile. An interrupted one leaves nothing."""
        self._refuse()
        if self._state() is True:
            return
        self.drop()
        statement = (
            f"CREATE INDEX CONCURRENTLY {NAME} ON prototypes USING hnsw ((feature::{self._cast}) halfvec_ip_ops)"
            f" WITH (m = {self._m}, ef_construction = {self._built})"
        )
        with closing(Database(self._database.address, True)) as making:
            making.run("SET lock_timeout = 0")  # it waits for transactions that are older
            needed = self._source.count() * (2 * self._dim + 64 * self._m) // 1_000_000 + 64
            making.run(f"SET maintenance_work_mem = '{min(needed, _MOST_MEMORY)}MB'")
            self._watched(making, statement, progress)
            making.row("SELECT keep_out_of_statistics('prototypes')")  # features, which would outlive their rows there

    def drop(self) -> None:
        self._refuse()
        with closing(Database(self._database.address, True)) as dropping:
            dropping.run("SET lock_timeout = 0")
            dropping.run(f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}")

    def close(self) -> None:
        """It is the database's."""

    def _state(self) -> bool | None:
        """Whether it is complete; None: it is not there."""
        row = self._database.row("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", NAME)
        return None if row is None else bool(row[0])

    def _refuse(self) -> None:
        name, gallery = self._database.name, self._database.address.gallery
        owned = "SELECT pg_has_role(current_user, relowner, 'USAGE') FROM pg_class WHERE oid = 'prototypes'::regclass"
        if not self._database.row(owned)[0]:
            raise Refused(
                f"only an owner of the gallery {name} may make or drop its index; let one grant {gallery}_admin"
            )
        version = self._database.row("SELECT extversion FROM pg_extension WHERE extname = 'vector'")[0]
        if tuple(map(int, version.split(".")[:2])) < (0, 8):
            raise Refused(f"the index needs pgvector 0.8, and {name} has {version}; update the extension")
        if self._dim > _MOST_NUMBERS:
            raise Refused(
                f"pgvector indexes at most {_MOST_NUMBERS} numbers, not {self._dim}; search without its index"
            )
        if self._database.in_transaction:
            raise Refused("an index is made or dropped outside of a transaction; call it after that")

    def _watched(self, making: Database, statement: str, progress: Progress) -> None:
        failed, connection = list[psycopg.Error](), making.connection

        def work() -> None:
            try:
                connection.execute(statement.encode())  # once: one that was lost half made is dropped first
            except psycopg.Error as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="gallery index", daemon=True)
        pid = connection.info.backend_pid
        done = "SELECT tuples_done, tuples_total FROM pg_stat_progress_create_index WHERE pid = %s"
        thread.start()
        try:
            while thread.is_alive():
                thread.join(_POLL_S)
                if (row := self._database.row(done, pid)) is not None and row[1]:
                    progress(int(row[0]), int(row[1]))
        finally:
            if thread.is_alive():  # interrupted
                connection.cancel()
                thread.join()
            if self._state() is False:
                self.drop()
        if failed:
            raise making.refusal(failed[0]) from failed[0]
