"""One colour a vehicle, the same in every picture and page, and for ever."""

import colorsys

Colour = tuple[int, int, int]  # red, green, blue, 0-255
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
