"""A sighting as a gallery writes it down."""

import time

import numpy as np

from vreid.models.errors import Refused
from vreid.models.picture import thumbnail_of
from vreid.runtime.gallery import names
from vreid.runtime.gallery.records import LAST_MOMENT, SightingRow, is_clock, is_moment, is_quality, is_score
from vreid.runtime.records import FinishedTrack, kind_name


def sighting_row(seen: FinishedTrack, score: float, run: str) -> SightingRow:
    """A sighting as it is written down. Raises Refused for times, numbers and a camera that cannot be kept."""
    moment = float(seen.seen)
    if not is_moment(moment):
        raise Refused(
            f"a sighting's time must be in seconds since 1970, from 0 to {LAST_MOMENT:.0f}, not {moment:g}; divide"
            " milliseconds by 1000 and nanoseconds by 1e9"
        )
    if not (is_clock(float(seen.first_time)) and is_clock(float(seen.last_time))):
        raise Refused(
            "a sighting's first_time and last_time must be in seconds on its source's clock, below 10000000000; divide"
            " milliseconds by 1000 and nanoseconds by 1e9"
        )
    if not (is_score(float(score)) and is_quality(float(seen.quality))):
        raise Refused(
            "a sighting's score must be a cosine (-inf: nobody to compare with) and its quality from 0 to 1;"
            f" pass these, not {score:g} and {seen.quality:g}"
        )
    camera = names.readable(seen.camera, "a sighting's camera")
    zones = tuple(names.readable(zone, "a sighting's zone") for zone in seen.zones)
    return SightingRow(
        camera, int(seen.track), seen.first_time, seen.last_time, int(seen.first_frame), int(seen.last_frame),
        float(score), thumbnail_of(seen.picture), run, moment or time.time(), kind_name(seen.kind), seen.plate,
        float(seen.quality), np.asarray(seen.feature, np.float16), zones,
    )  # fmt: skip
