"""Numbers, times, colours and pictures as the pages show them; the templates use these functions as filters."""

from base64 import b64encode
from typing import Any

from vreid.report.palette import colour_of, hex_of

MISSING = "–"  # noqa: RUF001


def number(value: Any, digits: int = 0, group: bool = True) -> str:
    """1234.5 -> 1,234.5; a dash for what is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return MISSING
    return f"{value:{',' if group else ''}.{digits}f}"


def percent(share: Any, digits: int = 1) -> str:
    """0.874 -> 87.4 %; a dash for what is not a number."""
    return f"{100 * share:.{digits}f} %" if isinstance(share, int | float) else MISSING


def large(value: Any) -> str:
    """1912345 -> 1.91 M (1,912,345)."""
    if not isinstance(value, int | float):
        return MISSING
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.2f} {letter} ({number(value)})"
    return number(value)


def clock(seconds: float) -> str:
    """1:02.5 below an hour, 3:01:02 from then on."""
    sign, tenths = "-" if seconds < 0 else "", round(abs(seconds) * 10)
    if tenths < 36000:
        return f"{sign}{tenths // 600}:{tenths % 600 / 10:04.1f}"
    whole = round(abs(seconds))
    return f"{sign}{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def interval(first: float, last: float) -> str:
    """From first to last, each as `clock`."""
    return f"{clock(first)}–{clock(last)}"  # noqa: RUF001


def colour(vehicle: int | None) -> str:
    """The colour of a vehicle as #rrggbb."""
    return hex_of(colour_of(vehicle))


def jpeg_uri(jpeg: bytes) -> str:
    """An encoded picture as the source of an img."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode('ascii')}"
