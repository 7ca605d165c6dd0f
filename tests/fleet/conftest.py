"""What the tests of boxes and centres share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from real_nats import NatsServer, make_streams, nats_in


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server with the stream and the bucket of a centre."""
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        yield server
