"""An index in a file of its own, next to its gallery: stamped with what it was made of, and rebuilt when the stamp does not fit."""

import hashlib
import io
import json
import logging
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import BadZipFile

import numpy as np

from vreid.models.errors import Refused
from vreid.models.files import sync_folder
from vreid.runtime.gallery.index.table import Stored, file_of
from vreid.runtime.gallery.index.vehicle_index import VehicleIndex
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.records import Ints

LEAST = 10_000  # prototypes; an index of fewer is rebuilt in a moment
MAGIC = b"vreidix1"
LENGTHS = struct.Struct("<QQ")  # bytes of the arrays and of the stamp
DIGEST = 32
BLOCK = 1 << 22
# what reading a damaged file, or a library that reads it, may raise
FAULTS = (OSError, RuntimeError, ValueError, LookupError, TypeError, MemoryError, EOFError, BadZipFile, Refused)
_log = logging.getLogger("vreid.gallery")
# The file: FAISS's own bytes | arrays (npz) | stamp (JSON) | lengths of these two, 8 bytes each | SHA-256 of all | MAGIC


def save(source: FeatureSource, kind: str, index: VehicleIndex, change: int) -> bool:
    """Write `index`, which is at `change` of the gallery, atomically; False where it is too small or cannot be kept."""
    file = file_of(source.path, kind)
    if len(index) < LEAST or not isinstance(index.member, Stored) or not os.access(file.parent, os.W_OK):
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
    except FAULTS as error:
        _log.warning("the index of %s could not be kept in %s (%s)", source.path, file.name, _line(error))
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def load(source: FeatureSource, kind: str, index: VehicleIndex) -> int | None:
    """Fill the empty `index` from its file; the change that it is at. None: the file does not fit, and `index` is of no use."""
    file = file_of(source.path, kind)
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
    except FAULTS as error:
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
        handle.write(text + LENGTHS.pack(held.getbuffer().nbytes, len(text)))
        end = handle.tell()
        handle.seek(0)
        digest = _digest(handle, end)
        handle.seek(end)
        handle.write(digest + MAGIC)
        handle.flush()
        os.fsync(handle.fileno())


def _verified(file: Path) -> tuple[dict[str, Any], dict[str, Ints]]:
    """The stamp and the arrays of a file. Raises ValueError for one that is damaged or cut short."""
    with file.open("rb") as handle:
        end = handle.seek(0, os.SEEK_END) - DIGEST - len(MAGIC)
        if end < LENGTHS.size:
            raise ValueError("it is cut short")
        handle.seek(end)
        digest, magic = handle.read(DIGEST), handle.read()
        handle.seek(0)
        if magic != MAGIC or _digest(handle, end) != digest:
            raise ValueError("it is damaged or cut short")
        handle.seek(end - LENGTHS.size)
        held, text = LENGTHS.unpack(handle.read(LENGTHS.size))
        handle.seek(end - LENGTHS.size - text - held)
        with np.load(io.BytesIO(handle.read(held)), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        return json.loads(handle.read(text)), found


def _digest(handle: BinaryIO, end: int) -> bytes:
    sha = hashlib.sha256()
    for start in range(0, end, BLOCK):
        sha.update(handle.read(min(BLOCK, end - start)))
    return sha.digest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
