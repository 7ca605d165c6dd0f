"""Files and folders that appear complete or not at all, a lock that one process holds, and the hash of a file."""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vreid.models.errors import Refused

NAMED = 40  # characters of a file's name that its temporary file repeats: a name has 255 bytes at most


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary file in the folder of `path` with its ending, which takes its place when the block succeeds.

    If the block fails the temporary file is removed and `path` stays as it was. Raises OSError as the file system does, with
    `path` for its name where it has none.
    """
    own = f"{os.getpid()}-{threading.get_native_id()}"
    temporary = path.with_name(f".{path.stem[:NAMED]}.{own}.tmp{path.suffix}")
    with naming(path):
        try:
            yield temporary
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files for `path` of processes that were killed; to be called while no other one writes it."""
    name = re.compile(rf"\.{re.escape(path.stem[:NAMED])}\.\d+-\d+\.tmp{re.escape(path.suffix)}")
    for found in list(path.parent.iterdir()):
        if name.fullmatch(found.name):
            found.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of the block names `path` where it names no file, as that of a write on a full disk; not one of a network."""
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


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


def identity_of(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`: device and number; None: there is none, or nobody may look."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A temporary folder for `out`: when the body succeeds its files replace those of the same name in `out`, and others
    there stay; when it does not they are thrown away, and with them what was made for it. It lies in `out` where that is
    there, which may be a disk of its own or the only place that may be written, and next to it otherwise.

    Raises Refused when `out` is a file or cannot be written, and for what the body fails to write.
    """
    with _errors_as_refusals(out), _parents(out):
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out if out.is_dir() else out.parent))
        try:
            complete = temporary / "complete"
            complete.mkdir()  # mkdtemp's own folder is closed to everybody else
            yield complete
            _moved(complete, out)
        finally:
            shutil.rmtree(temporary)


@contextmanager
def growing_folder(out: Path) -> Iterator[Path]:
    """`out` itself, made where it is missing, and removed again if the body fails before it has written anything. What an
    earlier run left stays: its sightings.jsonl is continued, its other files are replaced at the end.

    Raises Refused as `atomic_folder` does.
    """
    with _errors_as_refusals(out), _parents(out):
        out.mkdir(exist_ok=True)
        yield out


@contextmanager
def _errors_as_refusals(out: Path) -> Iterator[None]:
    """What the file system says, as a sentence."""
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; give a folder for --out")
    try:
        yield
    except BrokenPipeError:  # of a socket, not of the folder
        raise
    except OSError as error:
        raise Refused(f"cannot write {out} ({error.strerror or error}); make room or choose another --out") from error


@contextmanager
def _parents(out: Path) -> Iterator[None]:
    """The folder that `out` lies in; if the body fails, those that were made for it go away where they are empty."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def refuse_in_the_way(temporary: Path, out: Path) -> None:
    """Refused where `out` holds a folder in place of a file of `temporary`, or the other way round: before anything is moved."""
    for file in _files_in(temporary):
        folders = [out / parent for parent in file.parents]
        wrong = [path for path in folders if path.exists() and not path.is_dir()]
        if (out / file).is_dir():
            wrong.append(out / file)
        if wrong:
            raise Refused(f"{wrong[0]} is in the way of the run's {file}; remove it or choose another --out")


def _moved(complete: Path, out: Path) -> None:
    """Put the folder in its place: at once where `out` is new, otherwise file by file."""
    if not out.exists():
        complete.replace(out)
        return
    refuse_in_the_way(complete, out)
    for file in _files_in(complete):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (complete / file).replace(out / file)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
