"""What a site has shown of its thresholds, as the text that a gallery keeps: impostor scores by pair of cameras, mean features,
travel times, judged pairs."""

import json
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.judged_pairs import JudgedPair, judged_pair_of
from vreid.runtime.stranger_scores import StrangerScores
from vreid.runtime.travel_times import TravelTimes

Pair = tuple[str, str]  # of cameras, in order of their names

VERSION = 1
SITE_THRESHOLD = "site threshold"  # the setting of a gallery that keeps it


@dataclass
class Evidence:
    """Impostor scores by pair of cameras (their names in order), the cameras' bias, whether nothing more is to be learnt, and what
    people have said of doubtful sightings."""

    strangers: dict[Pair, StrangerScores] = field(default_factory=dict)
    bias: CameraBias = field(default_factory=CameraBias)
    frozen: bool = False
    times: TravelTimes = field(default_factory=TravelTimes)
    judged: list[JudgedPair] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self.strangers or self.bias.as_rows() or self.times.ways or self.frozen or self.judged)

    def as_text(self) -> str:
        """For the gallery; `evidence_of` reads it."""
        pairs = [
            {
                "cameras": list(pair),
                "tracks": scores.tracks,
                "pairs": scores.pairs,
                "counts": {str(place): scores.counts[place] for place in np.flatnonzero(scores.counts).tolist()},
            }
            for pair, scores in sorted(self.strangers.items())
        ]
        known = {"version": VERSION, "frozen": self.frozen, "pairs": pairs, "cameras": self.bias.as_rows()}
        judged = {"judged": [pair.as_row() for pair in self.judged]} if self.judged else {}
        return json.dumps({**known, "travel_times": self.times.as_rows(), **judged})


def camera_pair(one: str, other: str) -> Pair:
    """The key of two cameras, or of one camera with itself."""
    return (one, other) if one <= other else (other, one)


def evidence_of(text: str, dim: int | None = None) -> Evidence:
    """What `Evidence.as_text` gave; `dim`: how long the features are that it is for. Raises Refused for text that is damaged."""
    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        strangers = dict(_scores_of(row) for row in data["pairs"])
        times = TravelTimes(data.get("travel_times", ()))  # of older runs without
        judged = [judged_pair_of(row) for row in data.get("judged", ())]
        return Evidence(strangers, CameraBias(data["cameras"], dim), data["frozen"] is True, times, judged)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        fix = "forget it with 'vreid gallery threshold --reset'"
        raise Refused(f"what the gallery knows of this site's threshold is damaged ({error}); {fix}") from error


def _scores_of(row: dict[str, Any]) -> tuple[Pair, StrangerScores]:
    scores = StrangerScores(tracks=float(row["tracks"]), pairs=int(row["pairs"]))
    for place, count in row["counts"].items():
        if int(place) < 0:
            raise ValueError(f"a score in bin {place}")
        scores.counts[int(place)] = float(count)
    one, other = row["cameras"]
    sound = np.isfinite(scores.counts).all() and (scores.counts >= 0).all() and scores.counts.sum() > 0
    if not (sound and 0 < scores.tracks < math.inf and scores.pairs > 0):
        raise ValueError("a count that is not a number above 0")
    return camera_pair(str(one), str(other)), scores
