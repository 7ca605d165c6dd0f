"""Files that appear complete or not at all, a lock that one process holds, and the hash of a file."""

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vreid.models.errors import Refused

NAMED = 40  # characters of a file's name that its temporary file repeats: a name has 255 bytes at most


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path` with its ending, which takes its place when the block succeeds.

    If the block fails the temporary file is removed and `path` stays as it was. Raises OSError as the file system does.
    """
    own = f"{os.getpid()}-{threading.get_native_id()}"
    temporary = path.with_name(f".{path.stem[:NAMED]}.{own}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` complete or not at all; text as UTF-8, with "?" for what is none, as in a file name of other bytes."""
    with atomic(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))


def regular(path: Path) -> Path:
    """`path`, to be opened. Raises OSError for a pipe, a socket or a device, which may never end, and where nothing is."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder has an error of its own
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device, and no file", str(path))
    return path


def refuse_same(out: Path, *inputs: Path) -> None:
    """Raises Refused where writing `out` would replace one of `inputs`, also by another name of the same file."""
    for path in inputs:
        try:
            same = out.resolve() == path.resolve() or out.samefile(path)  # files of a gallery come and go
        except (OSError, ValueError, RuntimeError):  # one of the two is not there
            continue
        if same:
            raise Refused(f"the output {out} would replace {path}, which is read; give the output another name")


def sync_folder(folder: Path) -> None:
    """Make what was renamed in `folder` survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock on an existing file or folder until the end of the block or of the process, however that ends.

    Raises Refused where another process holds it; `doing` says what it does there. Disks that know no locks are not locked.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            taken = try_lock(handle)
        except OSError:  # some network disks
            taken = True
        if not taken:
            raise Refused(f"another process is {doing} {path}; wait for it, or choose another --out")
        yield
    finally:
        os.close(handle)


def try_lock(handle: int) -> bool:
    """Whether the exclusive lock (flock) of the open file was free and is held now, until it is closed."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256_of(path: Path) -> str:
    """The hex digest of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
