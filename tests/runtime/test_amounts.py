"""Spans of time and sizes as people write them."""

import pytest

from vreid.models.errors import Refused
from vreid.runtime.amounts import bytes_of, duration_of, span_text


def test_spans_of_time() -> None:
    assert [duration_of(text) for text in ("90s", "15m", "12h", "30d", "2W", "1.5h")] == [
        90, 900, 43200, 2592000, 1209600, 5400
    ]  # fmt: skip
    assert [span_text(duration_of(text)) for text in ("90s", "15m", "12h", "30d", "2w")] == [
        "90s",
        "15m",
        "12h",
        "30d",
        "14d",
    ]
    for bad in ("", "30", "d", "-3d", "0d", "3y", "٣d", "1e3d", "99999999999d"):
        with pytest.raises(Refused, match="write it like 30d"):
            duration_of(bad)


@pytest.mark.parametrize(("text", "size"), [("500MB", 500 * 10**6), ("10 gb", 10**10), ("2TB", 2 * 10**12)])
def test_a_size(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "10", "0GB", "-1GB", "1.5GB", "10GiB", "\u0661GB", "9999999GB"])
def test_no_size(text: str) -> None:
    with pytest.raises(Refused, match="write it like 500MB"):
        bytes_of(text)
