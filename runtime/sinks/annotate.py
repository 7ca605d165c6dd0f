"""A video with what was found drawn into it: a second pass over a file, when every track knows its vehicle."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.models.preprocess import Image
from vreid.report.palette import Colour, colour_of, ink_on
from vreid.runtime.records import Floats, Match, Sighting, Trace, kind_name
from vreid.runtime.sinks.film import written_film
from vreid.runtime.sources.table import Source

_FONT = cv2.FONT_HERSHEY_SIMPLEX
Label = tuple[str, Colour]


def annotate(source: Source, marks: Sequence[tuple[Match, Trace, Sighting]], path: Path) -> None:
    """Write `path`, an mp4 of every frame of `source`, at the frame's own time, with the boxes and labels of its own camera's
    marks.

    Refused: a live source, whose frames do not come twice, or a video that cannot be written. Whole or not at all.
    """
    if source.live:
        raise Refused(f"the camera {source.camera} is live and cannot be annotated; record it and give the file")
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent}; make it before writing {path.name}")
    boxes = _boxes_by_frame([mark for mark in marks if mark[2].camera == source.camera])
    with atomic(path) as temporary, written_film(temporary, source.size, source.frame_rate) as write:
        for frame in source:
            drawn = drawn_on(frame.image, boxes.get(frame.index, []))
            # A folder may hold pictures of several sizes; a video has one.
            fits = (drawn.shape[1], drawn.shape[0]) == tuple(source.size)
            write(drawn if fits else np.asarray(cv2.resize(drawn, source.size), np.uint8), frame.time)


def label_of(match: Match, sighting: Sighting) -> Label:
    """ "#12 blue van 0.83", "#12 car new" where it was enrolled, "unknown car 0.31"; and its colour."""
    unnamed = not match.name or match.name == f"vehicle-{match.vehicle or 0:04d}"
    what = kind_name(sighting.kind) if unnamed else str(match.name)
    score = f" {match.score:.2f}" if np.isfinite(match.score) else ""
    colour = colour_of(match.vehicle)
    if match.vehicle is None:
        return f"unknown {what}{score}", colour
    return f"#{match.vehicle} {what}{score if match.known else ' new'}", colour


def drawn_on(image: Image, boxes: Sequence[tuple[Floats, Label]]) -> Image:
    """(H, W, 3) BGR and boxes x1 y1 x2 y2 in its pixels -> a copy with both drawn, letters to suit the picture."""
    drawn = image.copy()
    scale = min(1.2, max(0.45, image.shape[0] / 1300))
    thick = max(1, round(2 * scale))
    for box, (_, colour) in boxes:
        x1, y1, x2, y2 = (round(float(edge)) for edge in box)
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour[::-1], 2 * thick)
    for box, label in boxes:  # over all boxes, so that no box runs through a label
        _write_label(drawn, box, label, scale, thick)
    return drawn


def _write_label(drawn: Image, box: Floats, label: Label, scale: float, thick: int) -> None:
    """The label on a plate of its colour, above the box, or inside where there is no room; never beyond the picture."""
    text, colour = _plain(label[0]), label[1]
    (width, height), below = cv2.getTextSize(text, _FONT, scale, thick)
    gap = round(5 * scale)
    plate_width, plate_height = width + 2 * gap, height + below + 2 * gap
    left = int(np.clip(round(float(box[0])) - thick, 0, max(0, drawn.shape[1] - plate_width)))
    above = round(float(box[1])) - plate_height
    top = int(np.clip(above if above >= 0 else round(float(box[1])), 0, max(0, drawn.shape[0] - plate_height)))
    cv2.rectangle(drawn, (left, top), (left + plate_width, top + plate_height), colour[::-1], cv2.FILLED)
    at = (left + gap, top + gap + height)
    cv2.putText(drawn, text, at, _FONT, scale, ink_on(colour)[::-1], thick, cv2.LINE_AA)


def _plain(text: str) -> str:
    """ASCII, which is all that these letters have before OpenCV 5: "Müller" -> "Muller", others "?"."""
    bare = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(bare).encode("ascii", "replace").decode("ascii")


def _boxes_by_frame(marks: Sequence[tuple[Match, Trace, Sighting]]) -> dict[int, list[tuple[Floats, Label]]]:
    """Frame from 0 -> what is drawn in it."""
    found: dict[int, list[tuple[Floats, Label]]] = {}
    for match, trace, sighting in marks:
        label = label_of(match, sighting)
        for frame, box in zip(trace.frames, trace.boxes, strict=True):
            found.setdefault(int(frame), []).append((box, label))
    return found
