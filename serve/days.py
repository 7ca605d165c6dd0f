"""Days and clock times in this machine's zone, as the pages write them."""

import re
from datetime import date, datetime, timedelta, timezone

from vreid.models.errors import BadInput
from vreid.report.formats import MISSING

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"),
    "December",
)


def local(seconds: float) -> datetime:
    """Seconds since 1970 -> the moment in this machine's zone."""
    return datetime.fromtimestamp(seconds, timezone.utc).astimezone()


def moment(seconds: float | None) -> str:
    """Seconds since 1970 -> 2026-11-30 14:03:22 CET; a dash for None."""
    return MISSING if seconds is None else local(seconds).strftime("%Y-%m-%d %H:%M:%S %Z")


def time_of_day(seconds: float) -> str:
    """Seconds since 1970 -> 14:03:22 CET."""
    return local(seconds).strftime("%H:%M:%S %Z")


def iso(seconds: float) -> str:
    """Seconds since 1970 -> 2026-11-30T14:03:22+01:00, as the attribute datetime wants it."""
    return local(seconds).isoformat(timespec="seconds")


def local_seconds(seconds: float) -> float:
    """Seconds since 1970 -> those of the wall clock, so that round hours of it are round."""
    offset = local(seconds).utcoffset()
    return seconds + (0.0 if offset is None else offset.total_seconds())


def wall_clock(seconds: float, spanned: float) -> str:
    """What `local_seconds` gave -> 14:03, or with seconds or with the day, as a drawing of so many seconds needs it."""
    form = (
        "%H:%M:%S" if spanned < 1800 else "%H:%M" if spanned < 86400 else "%d %b %H:%M" if spanned < 864000 else "%d %b"
    )
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


def day_of(seconds: float) -> date:
    """The day of a moment."""
    return local(seconds).date()


def day_text(day: date) -> str:
    """Monday, 30 November 2026; in English whatever the machine's language."""
    return f"{_WEEKDAYS[day.weekday()]}, {day.day} {_MONTHS[day.month - 1]} {day.year}"


def read_day(text: str) -> date:
    """2026-11-30. Raises BadInput."""
    try:
        found = date.fromisoformat(text)
        if not 1969 <= found.year < 2200:  # west of Greenwich a clock that begins in 1970 is a day behind
            raise ValueError
    except ValueError as error:
        raise BadInput("this is not a day; write it as 2026-11-30") from error
    return found


def bounds(day: date, since: str = "", until: str = "") -> tuple[float, float]:
    """The first moment of a day and the first behind it, or of two clock times of it, such as 08:30. Raises BadInput."""
    begin, end = (_at(day, since) if since else _midnight(day)), _midnight(day + timedelta(1))
    if until:
        end = _at(day, until) + 60  # up to and with that minute
    if end <= begin:
        raise BadInput("the time ends before it begins; give a later end")
    return begin, end


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day).timestamp()


def _at(day: date, text: str) -> float:
    parts = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?", text, re.ASCII)
    if parts is None:
        raise BadInput("this is not a time of day; write it as 08:30")
    return datetime(day.year, day.month, day.day, int(parts[1]), int(parts[2])).timestamp()
