"""A real Milvus server for tests, with its files in a folder of its own."""

import shutil
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_START_S = 120
_ETCD = """
name: default
data-dir: {folder}/etcd
listen-client-urls: http://127.0.0.1:{client}
advertise-client-urls: http://127.0.0.1:{client}
listen-peer-urls: http://127.0.0.1:{peer}
initial-advertise-peer-urls: http://127.0.0.1:{peer}
initial-cluster: default=http://127.0.0.1:{peer}
"""


@contextmanager
def milvus_server() -> Iterator[tuple[str, int]]:
    """The address and the process of a new server, which listens on all interfaces until it ends. Skips where there is none to
    be had."""
    pytest.importorskip("pymilvus", reason="the extra milvus is not installed")
    package = pytest.importorskip("milvus", reason="the package milvus, a server, is not installed")
    folder = Path(tempfile.mkdtemp(prefix="vreid-milvus-"))
    server = package.MilvusServer(wait_for_started=False)
    try:
        server.set_base_dir(str(folder))
        _with_own_etcd(server, folder)
        server.start()
        if not _serves(server):
            pytest.skip("the Milvus server does not start here")
        yield f"127.0.0.1:{server.listen_port}", server.server_proc.pid
    finally:
        if server.server_proc is not None:
            server.server_proc.kill()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _with_own_etcd(server: Any, folder: Path) -> None:
    """Its etcd has fixed ports, unless a file says otherwise."""
    client, peer = (_free_port() for _ in range(2))
    file = folder / "etcd.yaml"
    file.write_text(_ETCD.format(folder=folder, client=client, peer=peer), encoding="utf-8")
    config, data = server.config, "  data:\n    dir: {{ etcd_data_dir }}\n"
    assert data in config.template_text
    config.template_text = config.template_text.replace(data, f"{data}  config:\n    path: {file}\n").replace(
        "localhost:{{ etcd_port(int): 2379 }}", f"localhost:{client}"
    )


def _serves(server: Any) -> bool:
    end, url = time.monotonic() + _START_S, f"http://127.0.0.1:{server.webservice_port}/healthz"
    while time.monotonic() < end and server.server_proc.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if b"OK" in answer.read():
                    return True
        except OSError:
            pass
        time.sleep(0.2)
    return False


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
