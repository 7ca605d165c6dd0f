"""Prototypes in a Milvus server, one collection a gallery: which are near a feature, beyond what one machine's memory holds.

The gallery's database is the truth. Milvus has ids, vehicles and features only; what it finds is compared again there.
"""

import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import numpy as np
from pymilvus import DataType, MilvusClient
from pymilvus.exceptions import ErrorCode, MilvusException

from vreid.models.errors import Refused, shown
from vreid.runtime.gallery.index.remote_sync import Position, RemoteSync, Unreachable
from vreid.runtime.gallery.postgres.search import DatabaseSearch, source_in_postgres
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Floats, Ints

TOKEN = "VREID_MILVUS_TOKEN"  # the environment's: user:password, or a key
_ADDRESS = re.compile(r"(https?://)?([\w.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?(/\w+)?", re.ASCII)
_PORT = ":19530"
_TIMEOUT_S = 30.0
_SEARCH_S = 5.0
_STILL_S = 3600.0  # for which graphs being made, or files being rewritten, may show no change
_TRIES, _PAUSE_S = 30, 2.0  # for files to be rewritten, and seconds between two of them
_ROWS = 4096  # in a message, of which Milvus takes 64 MB
_POSITION = "vreid.position"
_log = logging.getLogger("vreid.gallery")
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs tracebacks of what is raised as a sentence here


def milvus_index(
    source: FeatureSource, address: str, *, m: int = 16, built: int = 200, ef: int = 200
) -> DatabaseSearch:
    """Searches by Milvus at HOST:PORT or https://HOST:PORT/DATABASE, filtered and compared in the gallery's own database.

    m, built: neighbours of a row, and candidates while the graph is made; ef: candidates while searching, at least.
    """
    database = source_in_postgres(source, "milvus")
    return DatabaseSearch(database, RemoteSync(database, MilvusCollection(address, source.dim, m, built, ef)))


class MilvusCollection:
    """A `SharedIndex`: an alias named after the gallery, of a collection that is replaced when it is made anew.

    Searches have Milvus's Bounded consistency. Every method may raise Unreachable, which never shows the token.
    """

    def __init__(self, address: str, dim: int, m: int, built: int, ef: int) -> None:
        """Nothing is sent yet. Raises Refused for an address that cannot be read."""
        self.name, self._uri, self._database = _parsed(address)
        self._address, self._dim, self._m, self._built, self._ef = address, dim, m, built, ef
        self._token = os.environ.get(TOKEN, "")
        self._open: MilvusClient | None = None
        self.alias = ""
        self._new = ""  # the collection that is being filled; empty: what the alias names

    def open(self, gallery: str) -> None:
        """For the gallery of this identity, before anything else."""
        self.alias = f"vreid_{re.sub(r'[^0-9A-Za-z]', '_', gallery)}"

    def another(self) -> "MilvusCollection":
        """One of the same gallery with a client of its own, which no other thread closes; it fills nothing yet."""
        made = MilvusCollection(self._address, self._dim, self._m, self._built, self._ef)
        made.alias = self.alias
        return made

    def upsert(self, ids: Ints, vehicles: Ints, features: Floats) -> None:
        with self._client() as client:
            for start in range(0, len(ids), _ROWS):
                part = slice(start, start + _ROWS)
                rows = [
                    {"id": id_, "vehicle": vehicle, "feature": feature}
                    for id_, vehicle, feature in zip(
                        ids[part].tolist(), vehicles[part].tolist(), features[part], strict=True
                    )
                ]
                (client.insert if self._new else client.upsert)(self._new or self.alias, rows, timeout=_TIMEOUT_S)

    def delete(self, ids: Ints) -> None:
        with self._client() as client:
            for start in range(0, len(ids), _ROWS):
                client.delete(self.alias, ids=ids[start : start + _ROWS].tolist(), timeout=_TIMEOUT_S)

    def search(self, features: Floats, k: int) -> tuple[Floats, Ints]:
        params = {"metric_type": "IP", "params": {"ef": max(self._ef, 2 * k)}}
        with self._client() as client:
            found = client.search(
                self.alias, [*features], limit=k, search_params=params, consistency_level="Bounded", timeout=_SEARCH_S
            )
        scores = np.full((len(features), k), -np.inf, np.float32)
        ids = np.full((len(features), k), -1, np.int64)
        for place, hits in enumerate(found):
            scores[place, : len(hits)] = [hit["distance"] for hit in hits]
            ids[place, : len(hits)] = [hit["id"] for hit in hits]
        return scores, ids

    def iterate(self) -> Iterator[tuple[Ints, Ints]]:
        with self._client() as client:
            rows = client.query_iterator(
                self.alias,
                batch_size=_ROWS,
                filter="id >= 0",
                output_fields=["vehicle"],
                consistency_level="Strong",
                timeout=_TIMEOUT_S,
            )
            while page := rows.next():
                yield (
                    np.array([row["id"] for row in page], np.int64),
                    np.array([row["vehicle"] for row in page], np.int64),
                )
            rows.close()

    def position(self) -> Position | None:
        with self._client() as client:
            about = self._about(client)
        return None if about is None else Position.of(about.get("properties", {}).get(_POSITION, ""))

    def begin(self) -> None:
        with self._client() as client:
            self._remove(client, self._target(client))  # those of whoever was killed
            self._new = f"{self.alias}_{secrets.token_hex(4)}"
            schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("vehicle", DataType.INT64)
            schema.add_field("feature", DataType.FLOAT_VECTOR, dim=self._dim)
            graph = MilvusClient.prepare_index_params()
            graph.add_index(
                "feature", index_type="HNSW", metric_type="IP", params={"M": self._m, "efConstruction": self._built}
            )
            client.create_collection(
                self._new,
                schema=schema,
                index_params=graph,
                consistency_level="Bounded",
                num_shards=1,
                timeout=_TIMEOUT_S,
            )

    def finish(self, position: Position) -> None:
        with self._client() as client:
            filled = self._new or self.alias
            client.alter_collection_properties(filled, {_POSITION: position.text}, timeout=_TIMEOUT_S)
            self._settle(client, filled)
            if self._new:
                change = client.create_alias if self._target(client) is None else client.alter_alias
                change(filled, self.alias, timeout=_TIMEOUT_S)
                self._remove(client, filled)
                self._new = ""

    def settle(self) -> None:
        with self._client() as client:
            self._settle(client, self.alias)

    def compact(self) -> None:
        """Ends when no file holds a deleted row and every file has its graph. Milvus passes over files that it has just written, so
        this is tried again and again, and what is kept all the same is logged."""
        with self._client() as client:
            client.flush(self.alias, timeout=10 * _TIMEOUT_S)
            for _ in range(_TRIES):
                try:
                    kept = self._rewritten(client)
                except TimeoutError:
                    _log.warning("Milvus at %s has come no further for %.0f s; it may be stuck", self.name, _STILL_S)
                    return
                if kept <= 0:
                    return
                time.sleep(_PAUSE_S)
        _log.warning(
            "Milvus at %s keeps %d deleted prototypes in its files; make the index again later", self.name, kept
        )

    def drop(self) -> None:
        with self._client() as client:
            if self._target(client) is not None:
                client.drop_alias(self.alias, timeout=_TIMEOUT_S)
            self._remove(client, None)
        self._new = ""

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None

    def _rewritten(self, client: MilvusClient) -> int:
        """Have the files rewritten, and wait for their graphs: how many deleted rows they hold all the same. Raises TimeoutError
        where Milvus comes no further."""
        _wait(lambda: self._without_graph(client))  # a file without one is passed over
        job = client.compact(self.alias, timeout=_TIMEOUT_S)
        _wait(lambda: self._rewriting(client, job) or self._without_graph(client))
        return self._in_files(client)["total_rows"] - self._count(client)

    def _rewriting(self, client: MilvusClient, job: int) -> bool:
        return str(client.get_compaction_state(job, timeout=_TIMEOUT_S)) == "Executing"

    def _without_graph(self, client: MilvusClient) -> dict[str, int] | None:
        """How far Milvus is, while rows wait. Those of files that were replaced count as indexed until the new files have their
        graphs."""
        rows = self._in_files(client)
        return rows if rows["pending_index_rows"] > 0 or rows["indexed_rows"] < rows["total_rows"] else None

    def _in_files(self, client: MilvusClient) -> dict[str, int]:
        """The rows of all files, deleted ones included, those that have a graph, and those that wait for one."""
        graph = client.describe_index(self.alias, "feature", timeout=_TIMEOUT_S)
        return {name: int(graph.get(name, 0)) for name in ("total_rows", "indexed_rows", "pending_index_rows")}

    def _count(self, client: MilvusClient) -> int:
        field = "count(*)"
        found = client.query(self.alias, "", output_fields=[field], consistency_level="Strong", timeout=_TIMEOUT_S)
        return int(found[0][field])

    def _settle(self, client: MilvusClient, name: str) -> None:
        """A Strong read waits until all that was written before is found, by the later Bounded ones too."""
        client.query(name, "id == 0", output_fields=["id"], consistency_level="Strong", timeout=_TIMEOUT_S)

    def _target(self, client: MilvusClient) -> str | None:
        """The collection that the alias names."""
        about = self._about(client)
        return None if about is None else str(about["collection_name"])

    def _about(self, client: MilvusClient) -> dict[str, Any] | None:
        """What Milvus knows of the collection that the alias names: one request, which no other thread comes between."""
        try:
            return dict(client.describe_collection(self.alias, timeout=_TIMEOUT_S))
        except MilvusException as error:
            if error.code != ErrorCode.COLLECTION_NOT_FOUND:
                raise
            return None

    def _remove(self, client: MilvusClient, but: str | None) -> None:
        for name in self._collections(client):
            if name != but:
                client.drop_collection(name, timeout=_TIMEOUT_S)

    def _collections(self, client: MilvusClient) -> list[str]:
        return [name for name in client.list_collections(timeout=_TIMEOUT_S) if name.startswith(f"{self.alias}_")]

    @contextmanager
    def _client(self) -> Iterator[MilvusClient]:
        try:
            if self._open is None:
                more: dict[str, Any] = {"db_name": self._database} if self._database else {}
                self._open = MilvusClient(self._uri, token=self._token, timeout=_SEARCH_S, **more)
            yield self._open
        except (MilvusException, grpc.RpcError) as error:  # of the latter: one that came too late
            text = " ".join(str(getattr(error, "message", "") or error).split())[:200]
            for secret in filter(None, [self._token, self._token.partition(":")[2]]):
                text = text.replace(secret, "***")
            with suppress(MilvusException):
                self.close()
            raise Unreachable(
                f"Milvus at {self.name} does not serve ({text}); check its address, and {TOKEN}"
            ) from error


def _wait(unfinished: Callable[[], object]) -> None:
    """Until it is empty. Raises TimeoutError where it stays the same for _STILL_S."""
    seen, end = None, 0.0
    while now := unfinished():
        if now != seen:
            seen, end = now, time.monotonic() + _STILL_S
        elif time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.5)


def _parsed(address: str) -> tuple[str, str, str]:
    """What messages call it, its URI, and its database."""
    found = _ADDRESS.fullmatch(address)
    if found is None:
        fix = f"milvus:HOST:PORT or milvus:https://HOST:PORT/DATABASE, and the user's name and password in {TOKEN}"
        raise Refused(
            f"the address of Milvus cannot be read; write {fix}"
            if "@" in address
            else f"'{shown(address)}' is not {fix}"
        )
    scheme, host, port, database = found.groups("")
    where = f"{scheme or 'http://'}{host}{port or _PORT}"
    return where + database, where, database[1:]
