"""Spans of time and sizes as people write them: 30d, 10GB."""

import math
import re

from vreid.models.errors import Refused, shown

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"M": 10**6, "G": 10**9, "T": 10**12}


def duration_of(text: str) -> float:
    """30d -> seconds; s, m, h, d and w are known. Raises Refused for anything else, and for 0."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", text.strip().lower(), re.ASCII)
    if found is None or float(found[1]) == 0:
        raise Refused(f"'{text}' is not a span of time; write it like 30d, 12h or 2w")
    return float(found[1]) * _SECONDS[found[2]]


def span_text(seconds: float) -> str:
    """2592000 -> 30d: in the largest unit that divides it."""
    for unit in ("d", "h", "m"):
        if seconds >= _SECONDS[unit] and math.isclose(seconds % _SECONDS[unit], 0, abs_tol=1e-6):
            return f"{seconds / _SECONDS[unit]:g}{unit}"
    return f"{seconds:g}s"


def bytes_of(text: str) -> int:
    """500MB, 10GB, 2TB -> bytes, powers of 1000. Raises Refused."""
    size = re.fullmatch(r"(\d{1,6}) ?([MGT])B", text.strip().upper(), re.ASCII)
    if size is None or not int(size[1]):
        raise Refused(f"'{shown(text)}' is not a size; write it like 500MB, 10GB or 2TB")
    return int(size[1]) * _BYTES[size[2]]
