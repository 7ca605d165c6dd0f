"""Times as people write them: 30d for a span, 2h or 2026-11-22 08:15 for a moment."""

import math
import re
import time
from datetime import datetime

from vreid.models.errors import Refused

LAST = 1e10  # seconds since 1970; more are milliseconds or nanoseconds
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration_of(text: str) -> float:
    """30d -> seconds; s, m, h, d and w are known. Raises Refused for anything else, and for 0."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhdw])", text.strip().lower(), re.ASCII)
    if found is None or float(found[1]) == 0:
        raise Refused(f"'{text}' is not a span of time; write it like 30d, 12h or 2w")
    return float(found[1]) * _UNITS[found[2]]


def moment_of(text: str, now: float | None = None) -> float:
    """2h (ago), or an ISO time, local where it has no zone -> seconds since 1970. Raises Refused for anything else."""
    if re.fullmatch(r"[\d.]+[smhdw]", text.strip().lower(), re.ASCII):
        return (time.time() if now is None else now) - duration_of(text)
    try:
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip())).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise Refused(
            f"'{text}' is not a time; write it like 2026-11-22T08:15, 2026-11-22, or 2h for two hours ago"
        ) from error
    return moment


def span_text(seconds: float) -> str:
    """2592000 -> 30d: in the largest unit that divides it."""
    for unit in ("d", "h", "m"):
        if seconds >= _UNITS[unit] and math.isclose(seconds % _UNITS[unit], 0, abs_tol=1e-6):
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"


def is_moment(seconds: object) -> bool:
    """Whether it is a time in seconds since 1970, before 2286: not a NaN, and not milliseconds or nanoseconds."""
    return isinstance(seconds, int | float) and 0 <= seconds < LAST


def is_clock(seconds: object) -> bool:
    """Whether it is a time in seconds on a source's own clock, which may be below 0: not infinite, and not milliseconds."""
    return isinstance(seconds, int | float) and abs(seconds) < LAST


def moment_text(moment: float | None) -> str:
    """Seconds since 1970 -> 2026-11-22 08:15:00+01:00, local with its zone; - for any other number."""
    if moment is None or not is_moment(moment):
        return "-"
    return datetime.fromtimestamp(moment).astimezone().isoformat(" ", "seconds")
