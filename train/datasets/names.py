"""File names that hold the labels: 0002_c002_00030600_0.jpg (VeRi-776), 0002_c1s1_000451_03.jpg (Market-1501)."""

import re

_NAME = re.compile(r"(-?\d+)_c(\d+)(?:s\d+)?(?:_.*)?\.\w+", re.ASCII | re.DOTALL)


def labels_in(name: str) -> tuple[str, str] | None:
    """(vehicle, camera such as c002) of a file name; None where it holds none. Vehicle -1 is junk."""
    found = _NAME.fullmatch(name)
    return (found[1], camera_label(found[2])) if found else None


def camera_label(number: str) -> str:
    """c002 for "2", "c2" and "c002"."""
    return "c" + number.removeprefix("c").lstrip("0").zfill(3)
