"""Numbers, times, colours and pictures as the pages show them; the templates use these functions as filters."""

import colorsys
from base64 import b64encode
from typing import Any

Colour = tuple[int, int, int]  # red, green, blue, 0-255
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


def jpeg_uri(jpeg: bytes) -> str:
    """An encoded picture as the source of an img."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode('ascii')}"


# One colour a vehicle, the same in every picture and page, and for ever.


UNKNOWN: Colour = (128, 128, 128)
_GOLDEN = 0.618033988749895  # of the circle of hues: vehicles that follow one another lie far apart


def colour_of(vehicle: int | None) -> Colour:
    """A colour that shows on white and on black; grey for no vehicle."""
    if vehicle is None:
        return UNKNOWN
    hue = (0.58 + vehicle * _GOLDEN) % 1
    lightness, saturation = ((0.50, 0.68), (0.42, 0.80), (0.58, 0.62))[vehicle % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def colour(vehicle: int | None) -> str:
    """The colour of a vehicle as #rrggbb."""
    return hex_of(colour_of(vehicle))


def hex_of(colour: Colour) -> str:
    """#rrggbb, as CSS wants it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ink_on(colour: Colour) -> Colour:
    """Black or white, whichever reads better on `colour`: relative luminance, WCAG 2.1."""
    red, green, blue = (_linear(part / 255) for part in colour)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if light > 0.179 else (255, 255, 255)


def _linear(part: float) -> float:
    return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)
