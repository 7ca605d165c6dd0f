"""Downloads of files whose size and hash are known beforehand: they resume, and appear whole or not at all."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from vreid.models.errors import Refused, unusable
from vreid.models.files import locked, regular, sync_folder

_BLOCK = 1 << 18
_TIMEOUT_S = 30.0
TRIES = 5  # connections that may break off without a byte between them
_BROKEN = (http.client.HTTPException, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class KnownFile:
    """A file at `address`, of `size` bytes; `digest` is sha256:HEX or sha384:HEX."""

    address: str
    size: int
    digest: str

    @property
    def name(self) -> str:
        """The name under which it is kept."""
        return urlsplit(self.address).path.rpartition("/")[2]


def digest_of(path: Path, like: str) -> str:
    """The hash of a file, by the algorithm of the digest `like`. Raises OSError as the file system does."""
    algorithm = like.partition(":")[0]
    with regular(path).open("rb") as file:
        found = hashlib.new(algorithm)
        while block := file.read(_BLOCK):
            found.update(block)
    return f"{algorithm}:{found.hexdigest()}"


def is_there(file: KnownFile, folder: Path) -> bool:
    """Whether the file lies in `folder` with its hash."""
    path = folder / file.name
    return path.is_file() and path.stat().st_size == file.size and digest_of(path, file.digest) == file.digest


def copied(file: KnownFile, source: Path, folder: Path) -> Path:
    """Put the local file `source` into `folder`. Raises Refused where it is not the file that it should be."""
    try:
        found = digest_of(source, file.digest)
    except OSError as error:
        raise unusable(error) from error
    if found != file.digest:
        raise Refused(
            f"{source} is another file than the list's {file.name} (hash {found}, in the list {file.digest}); give that one, or"
            " use this one as it is by its path, such as --detector model:FILE"
        )
    folder.mkdir(parents=True, exist_ok=True)
    part = _part(file, folder)
    with locked(folder, "filling"):
        part.write_bytes(source.read_bytes())
        return _kept(file, folder, part)


def downloaded(
    file: KnownFile, folder: Path, progress: Callable[[int, int], None] = lambda done, of: None, pause: float = 1.0
) -> Path:
    """The file, downloaded into `folder`; what an earlier call left unfinished is gone on with (RFC 9110, section 14, Range).

    `progress` gets the bytes so far and in all; `pause`: seconds before a broken connection is made again, doubled each time.
    Raises Refused where the server does not have it, the connection keeps breaking off, or the hash is another one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = _part(file, folder)
    with locked(folder, "filling"):
        resumed = part.is_file() and part.stat().st_size > 0
        _fill(file, part, progress, pause)
        if digest_of(part, file.digest) != file.digest and resumed:  # the beginning may be of another file
            part.unlink()
            _fill(file, part, progress, pause)
        found = digest_of(part, file.digest)
        if found != file.digest:
            part.unlink()
            raise Refused(
                f"{file.address} gave a file with the hash {found}, and {file.name} has {file.digest}: it was changed there or "
                "on its way; nothing is kept of it"
            )
        return _kept(file, folder, part)


def _part(file: KnownFile, folder: Path) -> Path:
    return folder / f".{file.name}.part"


def _kept(file: KnownFile, folder: Path, part: Path) -> Path:
    part.replace(folder / file.name)
    sync_folder(folder)
    return folder / file.name


def _fill(file: KnownFile, part: Path, progress: Callable[[int, int], None], pause: float) -> None:
    """Download into `part` until it has its size; connections that break off are made again while each brings something."""
    idle = 0
    while (before := part.stat().st_size if part.is_file() else 0) < file.size:
        reason = "it ended too early"
        try:
            _append(file, part, before, progress)
        except urllib.error.HTTPError as error:
            if error.code != 416 or not before:
                raise _refused(file, f"the server answered {error.code} {error.reason}") from error
            part.unlink()  # it has no such range: begin anew
        except _BROKEN as error:
            reason = str(error) or type(error).__name__
        except urllib.error.URLError as error:
            if not isinstance(error.reason, _BROKEN):
                raise _refused(file, str(error.reason)) from error
            reason = str(error.reason)
        after = part.stat().st_size if part.is_file() else 0
        idle = 0 if after > before else idle + 1
        if idle >= TRIES:
            raise _refused(file, f"the connection broke off after {after:,} of {file.size:,} bytes, {reason}")
        if after < file.size:
            time.sleep(pause * 2**idle)


def _append(file: KnownFile, part: Path, before: int, progress: Callable[[int, int], None]) -> None:
    """One connection's bytes, behind those that are there where the server goes on with them."""
    request = urllib.request.Request(file.address, headers={"User-Agent": "vreid", "Accept-Encoding": "identity"})
    if before:
        request.add_header("Range", f"bytes={before}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {before}-")
        if answer.status == 206 and not goes_on:
            raise _refused(file, "the server sent another part of the file than it was asked for")
        done = before if goes_on else 0
        with part.open("ab" if goes_on else "wb") as kept:
            while block := answer.read(min(_BLOCK, file.size - done + 1)):
                done += len(block)
                if done > file.size:
                    kept.truncate(0)
                    raise _refused(file, f"the server sends more than its {file.size:,} bytes")
                kept.write(block)
                progress(done, file.size)


def _refused(file: KnownFile, reason: str) -> Refused:
    return Refused(
        f"cannot download {file.address}: {reason}; run the same command again to go on, or bring the file by other means and "
        "give it with --from"
    )
