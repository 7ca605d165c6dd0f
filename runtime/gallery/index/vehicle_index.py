"""A search for vehicles over an index of prototypes, and the file that it is kept in, stamped with what it was made of."""

import hashlib
import io
import json
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from vreid.models.errors import Refused
from vreid.models.files import sync_folder
from vreid.runtime.gallery.index.row_map import GONE, IdMap
from vreid.runtime.gallery.index.table import Found, Index, Stored, index_file, open_index
from vreid.runtime.gallery.records import FeatureRows
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Floats, Ints

Read = Callable[[Ints], FeatureRows]  # ids -> those there are: ids, vehicles, features (N, D)
# prototypes that a vehicle mostly has at most: k - 1 vehicles have so many times that, one more is of a k-th
_FIRST = 8
_WIDER = 4  # how many times as many are searched for when that was too few
_ROUGH = 32  # candidates that a rough index is searched for at least


class VehicleIndex:
    """Prototypes by vehicle over a member of INDEXES; a vehicle's score is the best cosine of its prototypes."""

    def __init__(self, kind: str, dim: int, read: Read, expected: int = 0) -> None:
        """`read` gives prototypes' features from the file: what a rough index finds is compared again."""
        self.member: Index = open_index(kind, dim, expected)
        self.dim, self._read = dim, read
        self._owner = IdMap()

    def __len__(self) -> int:
        return len(self._owner)

    @property
    def worn(self) -> bool:
        """Whether it should be rebuilt."""
        return self.member.worn

    def add(self, prototypes: Ints, vehicles: Ints, features: Floats) -> None:
        """Features (N, D) of unit length; a prototype that is there already gets the new feature and vehicle."""
        self.member.add(prototypes, features)
        self._owner.put(prototypes, vehicles)

    def remove(self, prototypes: Ints) -> None:
        """Forget prototypes; those that are not here are passed over."""
        gone = prototypes[self._owner.of(prototypes) != GONE]
        if len(gone):
            self.member.remove(gone)
            self._owner.drop(gone)

    def search(self, features: Floats, k: int, vehicles: Sequence[int] | None = None) -> list[list[Found]]:
        """Unit features (B, D) -> for each the best k of `vehicles` (None: all), falling; of equals the older first."""
        among = None if vehicles is None else self._of(vehicles)
        most = len(self) if among is None else len(among)
        best: list[list[Found]] = [[] for _ in features]
        left = np.arange(len(features) if most else 0)
        # The first k different vehicles in the falling list of prototypes are the best; it is lengthened until they are in.
        reach = _FIRST * (k - 1) + 1
        reach = max(_ROUGH, reach) if self.member.rough else reach
        while len(left):
            reach = min(reach, most)
            scores, ids = self.member.search(features[left], reach, among)
            ended = (ids[:, -1] == GONE) | (reach == most)
            if self.member.rough:
                scores = self._compared(features[left], ids)
            owners = self._owner.of(ids.ravel()).reshape(ids.shape)
            for place, row, owner in zip(left.tolist(), scores, owners, strict=True):
                best[place] = _best(row.tolist(), owner.tolist(), k)
            left = left[~ended & (np.array([len(best[place]) for place in left]) < k)]
            reach *= _WIDER
        return best

    def kept(self) -> tuple[object, dict[str, Ints]]:
        """What a file of this index holds: what FAISS writes (None: not worth it) and arrays; see `Stored`."""
        index, arrays = self.member.kept() if isinstance(self.member, Stored) else (None, {})
        prototypes, vehicles = self._owner.items()
        return index, {**arrays, "prototypes": prototypes, "vehicles": vehicles}

    def restored(self, index: object, arrays: dict[str, Ints]) -> None:
        """Into an empty one, what `kept` gave. Raises KeyError or ValueError when it does not fit."""
        if not isinstance(self.member, Stored):
            raise ValueError("this index is not kept in files")
        self.member.restored(index, arrays)
        self._owner = IdMap(arrays["prototypes"], arrays["vehicles"])
        if len(self.member) != len(self._owner):
            raise ValueError("an index of another number of prototypes")

    def _of(self, vehicles: Sequence[int] | Ints) -> Ints:
        prototypes, owners = self._owner.items()
        return prototypes[np.isin(owners, np.asarray(vehicles, np.int64))]

    def _compared(self, features: Floats, ids: Ints) -> Floats:
        """(B, R) cosines of what was found, by the features in the file; -inf for what is no longer there."""
        there, _, rows = self._read(np.unique(ids[ids != GONE]))
        scores = np.full(ids.shape, -np.inf, np.float32)
        if len(there):
            at = np.minimum(np.searchsorted(there, ids), len(there) - 1)
            for place, feature in enumerate(features):
                scores[place] = rows[at[place]] @ feature
            scores[there[at] != ids] = -np.inf
        return scores


def _best(scores: list[float], owners: list[int], k: int) -> list[Found]:
    best: dict[int, float] = {}
    for score, vehicle in zip(scores, owners, strict=True):
        if vehicle != GONE and score > best.get(vehicle, -np.inf):
            best[vehicle] = score
    return sorted(best.items(), key=lambda found: (-found[1], found[0]))[:k]


LEAST_KEPT = 10_000  # prototypes; an index of fewer is rebuilt in a moment
_MAGIC = b"vreidix1"
_LENGTHS = struct.Struct("<QQ")  # bytes of the arrays and of the stamp
_DIGEST = 32
_BLOCK = 1 << 22
# what reading a damaged file, or a library that reads it, may raise
FILE_FAULTS = (OSError, RuntimeError, ValueError, LookupError, TypeError, MemoryError, EOFError, BadZipFile, Refused)
_log = logging.getLogger("vreid.gallery")
# The file: FAISS's own bytes | arrays (npz) | stamp (JSON) | lengths of these two, 8 bytes each | SHA-256 of all | _MAGIC


def save_index(source: FeatureSource, kind: str, index: VehicleIndex, change: int) -> bool:
    """Write `index`, which is at `change` of the gallery, atomically; False where it is too small or cannot be kept."""
    file = index_file(source.path, kind)
    if len(index) < LEAST_KEPT or not isinstance(index.member, Stored) or not os.access(file.parent, os.W_OK):
        return False
    temporary = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_native_id()}.new")
    try:
        body, arrays = index.kept()
        stamp = _stamp(index, source, change)
        if body is None or stamp is None:
            return False
        for old in file.parent.glob(f"{file.name}.*.new"):  # of a process that was killed
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink(missing_ok=True)
        _write(temporary, body, arrays, {**stamp, "count": len(index)})
        temporary.replace(file)
        sync_folder(file.parent)
    except FILE_FAULTS as error:
        _log.warning("the index of %s could not be kept in %s (%s)", source.name, file.name, _line(error))
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def load_index(source: FeatureSource, kind: str, index: VehicleIndex) -> int | None:
    """Fill the empty `index` from its file; the change that it is at. None: the file does not fit, and `index` is of no use."""
    file = index_file(source.path, kind)
    if not isinstance(index.member, Stored) or not file.is_file():
        return None
    try:
        stamp, arrays = _verified(file)
        count, change = stamp.pop("count"), int(stamp["change"])
        if stamp != _stamp(index, source, change):
            raise ValueError("it is another gallery's, was built otherwise, or is too old")
        from vreid.runtime.gallery.index.with_faiss import faiss

        index.restored(faiss.read_index(str(file)), arrays)
        if len(index) != count:
            raise ValueError("it holds another number of prototypes than its stamp")
    except FILE_FAULTS as error:
        warn_unfit(file, _line(error))
        return None
    return change


def warn_unfit(file: Path, reason: str) -> None:
    """Warn that the index in `file` does not fit its gallery."""
    _log.warning("the index %s is built anew from the gallery: %s", file, reason)


def _stamp(index: VehicleIndex, source: FeatureSource, change: int) -> dict[str, Any] | None:
    """The stamp of a file of `index` at `change`; None when the gallery's log does not, or no longer, hold it."""
    found = source.stamp_of(change)
    if found is None or not isinstance(index.member, Stored):
        return None
    identity, mark = found
    made = {"dim": index.dim, **index.member.made_with}
    return {"gallery": identity, "change": change, "mark": mark, "made": made}


def _write(file: Path, body: Any, arrays: dict[str, Ints], stamp: dict[str, Any]) -> None:
    from vreid.runtime.gallery.index.with_faiss import faiss

    faiss.write_index(body, str(file))
    held, text = io.BytesIO(), json.dumps(stamp).encode()
    np.savez(held, **arrays)  # type: ignore[arg-type]
    with file.open("r+b") as handle:
        handle.seek(0, os.SEEK_END)
        handle.write(held.getbuffer())
        handle.write(text + _LENGTHS.pack(held.getbuffer().nbytes, len(text)))
        end = handle.tell()
        handle.seek(0)
        digest = _digest(handle, end)
        handle.seek(end)
        handle.write(digest + _MAGIC)
        handle.flush()
        os.fsync(handle.fileno())


def _verified(file: Path) -> tuple[dict[str, Any], dict[str, Ints]]:
    """The stamp and the arrays of a file. Raises ValueError for one that is damaged or cut short."""
    with file.open("rb") as handle:
        end = handle.seek(0, os.SEEK_END) - _DIGEST - len(_MAGIC)
        if end < _LENGTHS.size:
            raise ValueError("it is cut short")
        handle.seek(end)
        digest, magic = handle.read(_DIGEST), handle.read()
        handle.seek(0)
        if magic != _MAGIC or _digest(handle, end) != digest:
            raise ValueError("it is damaged or cut short")
        handle.seek(end - _LENGTHS.size)
        held, text = _LENGTHS.unpack(handle.read(_LENGTHS.size))
        handle.seek(end - _LENGTHS.size - text - held)
        with np.load(io.BytesIO(handle.read(held)), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        return json.loads(handle.read(text)), found


def _digest(handle: BinaryIO, end: int) -> bytes:
    sha = hashlib.sha256()
    for start in range(0, end, _BLOCK):
        sha.update(handle.read(min(_BLOCK, end - start)))
    return sha.digest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
