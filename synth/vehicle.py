"""What makes a vehicle of the synthetic scene itself: its kind, size, paint and marks, drawn at random."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Colour = tuple[float, float, float]  # B, G, R, 0-255
Kind = Literal["sedan", "hatchback", "estate", "suv", "van", "pickup", "bus", "lorry"]
Top = Literal["none", "box", "rack", "taxi"]

SHARES: dict[Kind, float] = {
    "sedan": 0.24,
    "hatchback": 0.2,
    "estate": 0.1,
    "suv": 0.18,
    "van": 0.12,
    "pickup": 0.06,
    "bus": 0.04,
    "lorry": 0.06,
}
COCO: dict[Kind, int] = {
    "sedan": 2,
    "hatchback": 2,
    "estate": 2,
    "suv": 2,
    "van": 7,
    "pickup": 7,
    "bus": 5,
    "lorry": 7,
}
# share, hue 0-179, hue spread, saturation range, value range (OpenCV HSV)
PAINTS: tuple[tuple[float, float, float, tuple[float, float], tuple[float, float]], ...] = (
    (0.22, 20, 8, (0, 14), (222, 246)),  # white
    (0.15, 110, 12, (0, 50), (28, 52)),  # black
    (0.14, 108, 15, (0, 26), (168, 205)),  # silver
    (0.13, 110, 15, (4, 40), (86, 130)),  # grey
    (0.12, 108, 8, (120, 225), (95, 205)),  # blue
    (0.1, 178, 5, (170, 235), (130, 215)),  # red
    (0.04, 66, 16, (70, 190), (60, 150)),  # green
    (0.04, 14, 5, (60, 140), (90, 190)),  # brown, beige
    (0.03, 26, 3, (180, 240), (205, 240)),  # yellow
    (0.03, 9, 3, (190, 240), (200, 235)),  # orange
)


@dataclass(frozen=True)
class Vehicle:
    """One identity. `stretch` scales length, width and height; absent marks are None. `body` is which bend of the kind's shape it
    has (synth/body.py), 0 the shape itself."""

    kind: Kind
    stretch: tuple[float, float, float]
    paint: Colour
    roof: Colour | None  # two-tone
    trim: Colour  # sills and bumpers
    glass: Colour
    wheel: Colour
    spokes: int  # 0: a plain disc
    stripe: tuple[Colour, float, float] | None  # colour, lower and upper edge as shares of the side's height
    sticker: (
        tuple[Colour, int, float, float] | None
    )  # colour, corners of the glyph (2: a cross), place along, size in m
    top: Top
    top_colour: Colour
    lettering: tuple[str, Colour] | None
    cargo: Colour  # of a lorry's box
    plate: str
    plate_colour: Colour
    body: int = 0


def paint_colour(rng: np.random.Generator) -> Colour:
    """A paint as the streets mix them: two thirds white, black, silver or grey."""
    shares = np.array([row[0] for row in PAINTS])
    _, hue, spread, saturation, value = PAINTS[int(rng.choice(len(PAINTS), p=shares / shares.sum()))]
    hsv = np.array([[[(hue + rng.uniform(-spread, spread)) % 180, rng.uniform(*saturation), rng.uniform(*value)]]])
    blue, green, red = cv2.cvtColor(hsv.round().astype(np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return float(blue), float(green), float(red)


def _signal_colour(rng: np.random.Generator) -> Colour:
    """A saturated colour, as marks have them."""
    hsv = np.array([[[rng.integers(180), rng.integers(150, 250), rng.integers(120, 250)]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0]
    return float(blue), float(green), float(red)


def _word(rng: np.random.Generator) -> str:
    return "".join(
        rng.choice(list("BDFKLMNPRSTVZ")) + rng.choice(list("AEIOU")) for _ in range(int(rng.integers(2, 5)))
    )


def _plate(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("ABCDEFGHJKLMNPRSTUVWXYZ"), 2)) + "".join(map(str, rng.integers(0, 10, 4)))


def random_vehicle(rng: np.random.Generator, kind: Kind | None = None) -> Vehicle:
    """A new identity; the same generator state gives the same vehicle."""
    kinds = list(SHARES)
    drawn = kinds[int(rng.choice(len(kinds), p=np.array(list(SHARES.values()))))]
    kind = kind or drawn
    goods = kind in ("van", "lorry", "bus")
    paint = paint_colour(rng)
    grey = float(rng.uniform(26, 60))
    metal = float(rng.uniform(60, 215))
    low = float(rng.uniform(0.2, 0.65))
    top: Top = "none"
    if not goods and kind != "pickup":
        top = ("none", "box", "rack", "taxi")[int(rng.choice(4, p=[0.72, 0.1, 0.1, 0.08]))]
    return Vehicle(
        kind=kind,
        stretch=(float(rng.uniform(0.94, 1.06)), float(rng.uniform(0.97, 1.03)), float(rng.uniform(0.95, 1.06))),
        paint=paint,
        roof=paint_colour(rng) if rng.random() < (0.18 if kind != "bus" else 0.5) else None,
        trim=paint if rng.random() < 0.45 else (grey, grey, grey),
        glass=(float(rng.uniform(48, 82)), float(rng.uniform(40, 66)), float(rng.uniform(30, 52))),
        wheel=(metal, metal, metal) if rng.random() < 0.9 else _signal_colour(rng),
        spokes=int(rng.choice([0, 4, 5, 7])),
        stripe=(_signal_colour(rng), low, low + float(rng.uniform(0.1, 0.28))) if rng.random() < 0.22 else None,
        sticker=(
            _signal_colour(rng),
            int(rng.integers(2, 8)),
            float(rng.uniform(0.38, 0.66)),
            float(rng.uniform(0.17, 0.26)),
        )
        if rng.random() < 0.35 and kind not in ("lorry", "bus")
        else None,
        top=top,
        top_colour=_signal_colour(rng) if rng.random() < 0.4 else (grey, grey, grey),
        lettering=(_word(rng), _signal_colour(rng)) if goods and rng.random() < 0.8 else None,
        cargo=paint_colour(rng) if rng.random() < 0.5 else (228.0, 232.0, 232.0),
        plate=_plate(rng),
        plate_colour=(235.0, 238.0, 240.0) if rng.random() < 0.8 else (60.0, 205.0, 235.0),
    )
