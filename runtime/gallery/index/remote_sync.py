"""Keeps an index on a server in step with a gallery's database, by the log of changed prototypes.

All processes that search the gallery share it, and one at a time brings it up to date, on a thread of its own. Up to then a process
compares what has changed since itself: an open transaction, too, of which the server must not know.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from typing import NamedTuple, Protocol

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.gallery.index.table import Index, Progress, VectorIndex, open_index
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Floats, Ints

MANY = 1000  # changed prototypes, from which on the server is brought up to date
PAUSE_S = 10.0  # between two times of that
DOWN_S = 30.0  # for which a server that did not answer is left alone
_CHUNK = 1 << 12
_log = logging.getLogger("vreid.gallery")


class Unreachable(Refused):
    """The server does not answer, or refuses."""


class Position(NamedTuple):
    """The change of a gallery up to which an index has all, and what differs in a copy that went another way."""

    change: int
    identity: str
    mark: int

    @property
    def text(self) -> str:
        """What `of` reads."""
        return f"{self.change}:{self.identity}:{self.mark}"

    @classmethod
    def of(cls, text: str) -> "Position | None":
        """None for what is none."""
        change, _, rest = text.partition(":")
        identity, _, mark = rest.rpartition(":")
        try:
            return cls(int(change), identity, int(mark))
        except ValueError:
            return None


class SharedIndex(VectorIndex, Protocol):
    """A VectorIndex that knows how far it is, for one thread. All of it may raise Unreachable."""

    name: str  # what messages call it, without a password

    def open(self, gallery: str) -> None: ...  # the gallery of this identity, before anything else
    def another(self) -> "SharedIndex": ...  # of the same gallery, for another thread, which closes it
    def position(self) -> Position | None: ...  # None: it is not there, or was never finished
    def begin(self) -> None: ...  # an empty one, which `finish` puts in the place of the old one
    def finish(self, position: Position) -> None: ...  # what was written is found, and is all up to `position`
    def settle(self) -> None: ...  # what anybody wrote before is found from now on
    def compact(self) -> None: ...  # remove from its files what was deleted
    def drop(self) -> None: ...
    def close(self) -> None: ...


class SharedSource(FeatureSource, Protocol):
    """The features of a gallery that many processes write to."""

    def reader(self) -> "SharedSource": ...

    @property
    def identity(self) -> str: ...  # of the gallery, and of its copies

    def turn(self, what: str) -> AbstractContextManager[bool]:
        """Whether this is the only one inside for `what`, in whichever process; the others do not wait."""


class RemoteSync:
    """Says which prototypes are near: those that the server has, corrected by what has changed since. Where the server does not
    answer, or does not have this gallery yet, there is no answer, and the gallery compares all."""

    def __init__(self, source: SharedSource, index: SharedIndex) -> None:
        self._source, self._index = source, index
        index.open(source.identity)
        self._base: Position | None = None  # up to which this process relies on the server
        self._recent = Recent(source)
        self._thread: threading.Thread | None = None
        self._wanted = True
        self._done: Position | None = None
        self._again = self._down = 0.0  # moments before which nothing is brought up to date, or sent at all

    def nearest(self, features: Floats, count: int) -> Sequence[Ints] | None:
        if time.monotonic() < self._down:
            return None
        try:
            return self._nearest(features, count)
        except Unreachable as error:
            self._down, self._base = time.monotonic() + DOWN_S, None  # it may come back without the collection
            _log.warning("the gallery %s is searched without its index: %s", self._source.name, error)
            return None

    def build(self, progress: Progress) -> None:
        """Bring the server up to date now, and leave nothing in it that the gallery does not hold."""
        self._stop()
        with closing(self._source.reader()) as reader:
            if brought_up(reader, self._index, progress) is None:
                raise Refused(f"the index of {reader.name} is being made by another process, or the gallery is empty")
            for ids, _ in self._index.iterate():
                self._index.delete(np.setdiff1d(ids, reader.of(ids)[0]))
        self._index.compact()

    def drop(self) -> None:
        self._stop()
        self._index.drop()
        self._base = None

    def close(self) -> None:
        self._stop()
        self._index.close()

    def _nearest(self, features: Floats, count: int) -> Sequence[Ints] | None:
        if self._done is not None:
            self._base, self._done = self._done, None
        if self._base is None:
            self._base = self._found()
        if self._base is None or not self._recent.follow(self._base):
            self._base = None
            self._bring_up()
            return None
        recent = self._recent
        if len(recent.touched) > MANY or recent.gone:
            self._bring_up()
        scores, ids = self._index.search(features, count)
        return recent.merged(features, scores, ids)

    def _found(self) -> Position | None:
        """How far the server is, if it is this gallery's."""
        position = self._index.position()
        if position is None or self._source.stamp_of(position.change) != (position.identity, position.mark):
            return None
        self._index.settle()
        return position

    def _bring_up(self) -> None:
        """On a thread, unless one is at it; what an open transaction has written is not there yet."""
        running = self._thread is not None and self._thread.is_alive()
        if running or self._source.in_transaction or time.monotonic() < self._again:
            return
        self._again = time.monotonic() + PAUSE_S
        self._thread = threading.Thread(target=self._work, name="gallery index", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            with closing(self._source.reader()) as reader:
                self._done = brought_up(reader, self._index, wanted=lambda: self._wanted)
        except Refused as error:
            _log.warning("the index of %s is not brought up to date: %s", self._source.name, error)

    def _stop(self) -> None:
        self._wanted = False
        if self._thread is not None:
            self._thread.join()
        self._thread, self._wanted = None, True


class Recent:
    """What has changed since a position, exact. A rollback shows by the log's marks: changes that come again have other ones."""

    def __init__(self, source: FeatureSource) -> None:
        self._source = source
        self._base: Position | None = None
        self._seen: Position | None = None
        self._index: Index = open_index("flat", source.dim)
        self.touched, self.gone = set[int](), set[int]()

    def follow(self, base: Position) -> bool:
        """Whether the log still holds all since `base`, which is then known up to now."""
        seen = self._seen if self._base == base and self._seen is not None and self._is_in_log(self._seen) else None
        if seen is None:
            if not self._is_in_log(base):
                return False
            self._index = open_index("flat", self._source.dim)
            self.touched, self.gone, seen = set(), set(), base
        self._base, last = base, self._source.last_change()
        if last > seen.change:
            rows = self._source.changes(seen.change, last)
            stamp = self._source.stamp_of(last)
            if len(rows) != last - seen.change or stamp is None:
                return False
            self._read(np.unique(rows[:, 1]))
            seen = Position(last, *stamp)
        self._seen = seen
        return True

    def merged(self, features: Floats, scores: Floats, ids: Ints) -> list[Ints]:
        """What the server found, (B, K) both, with what has changed since; the nearest first, and none behind the last one that a
        full list of the server's shows."""
        if not self.touched:
            return [row[row >= 0] for row in ids]
        found = []
        own = self._index.search(features, min(ids.shape[1], max(len(self._index), 1)))
        touched = np.array([*self.touched], np.int64)
        for there, row, fresh, names in zip(scores, ids, *own, strict=True):
            floor = there[-1] if row[-1] >= 0 else -np.inf
            old = (row >= 0) & ~np.isin(row, touched)
            new = (names >= 0) & (fresh >= floor)
            every = np.concatenate([row[old], names[new]])
            order = np.argsort(-np.concatenate([there[old], fresh[new]]), kind="stable")
            found.append(every[order])
        return found

    def _is_in_log(self, position: Position) -> bool:
        return self._source.stamp_of(position.change) == (position.identity, position.mark)

    def _read(self, changed: Ints) -> None:
        for start in range(0, len(changed), _CHUNK):
            some = changed[start : start + _CHUNK]
            there, _, features = self._source.of(some)
            gone = np.setdiff1d(some, there, assume_unique=True)
            self._index.remove(gone)
            if len(there):
                self._index.add(there, features)
            self.touched.update(some.tolist())
            self.gone.update(gone.tolist())
            self.gone.difference_update(there.tolist())


def brought_up(
    source: SharedSource,
    shared: SharedIndex,
    progress: Progress = lambda done, steps: None,
    wanted: Callable[[], bool] = lambda: True,
) -> Position | None:
    """Bring `shared` to the last change that `source` sees, by the log, or anew where that does not go back to where it is.
    Searches go on through `shared` meanwhile, which this does not touch.

    None: another process is at it, there is nothing in the gallery, or it is no longer `wanted`.
    """
    with source.turn("index") as mine, closing(shared.another()) as index:
        last = source.last_change()
        stamp = source.stamp_of(last)
        if not mine or stamp is None:
            return None
        there = index.position()
        rows = None
        if there is not None and source.stamp_of(there.change) == (there.identity, there.mark):
            rows = source.changes(there.change, last)
        if there is not None and rows is not None and len(rows) == last - there.change:
            changed = np.unique(rows[:, 1])
            for start in range(0, len(changed), _CHUNK):
                some = changed[start : start + _CHUNK]
                ids, vehicles, features = source.of(some)
                index.delete(np.setdiff1d(some, ids, assume_unique=True))
                index.upsert(ids, vehicles, features)
        else:
            index.begin()
            done, total = 0, source.count()
            for ids, vehicles, features in source.pages():
                if not wanted():
                    return None
                index.upsert(ids, vehicles, features)
                progress(done := done + len(ids), max(total, done))
        position = Position(last, *stamp)
        index.finish(position)
    return position
