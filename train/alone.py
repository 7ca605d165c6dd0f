"""One process at a file or a folder: a second one is refused, and would otherwise write between the first one's lines."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vreid.models.errors import Refused


@contextmanager
def alone_at(path: Path, doing: str) -> Iterator[None]:
    """Hold a file that is there, or a folder, until the end of the block or of the process, however that ends.

    Raises Refused where another process holds it; `doing` says what it does. On a disk that knows no locks nothing is held.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(f"another process is {doing} {path}; wait for it, or choose another --out") from error
        except OSError:  # some network disks
            pass
        yield
    finally:
        os.close(handle)
