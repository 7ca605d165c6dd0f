"""What a site has shown of its thresholds, as the text that a gallery keeps: impostor scores by pair of cameras, raw and without
bias, mean features and whether taking them off helps, travel times, judged pairs."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vreid.models.errors import Refused
from vreid.runtime.camera_bias import CameraBias
from vreid.runtime.judged_pairs import FEWEST, JudgedPair, judged_pair_of
from vreid.runtime.stranger_scores import StrangerScores
from vreid.runtime.travel_times import TravelTimes

Pair = tuple[str, str]  # of cameras, in order of their names

VERSION = 1
SITE_THRESHOLD = "site threshold"  # the setting of a gallery that keeps it


@dataclass(frozen=True)
class BiasGain:
    """Of the pairs that people have confirmed and rejected, how many are found at a false-match rate by raw features and without
    the cameras' bias (bias_gain.py)."""

    rate: float
    confirmed: int
    confirmed_raw: int
    confirmed_without: int
    rejected: int
    rejected_raw: int
    rejected_without: int

    @property
    def decided(self) -> bool:
        """Whether enough pairs were confirmed."""
        return self.confirmed >= FEWEST

    @property
    def used(self) -> bool:
        """Whether the bias is taken off: unless enough confirmed pairs show that raw features find more."""
        return not self.decided or self.confirmed_without >= self.confirmed_raw


@dataclass
class Evidence:
    """Impostor scores by pair of cameras (their names in order) without the cameras' bias, that bias, whether nothing more is to be
    learnt, what people have said of doubtful sightings, the impostor scores of raw features, and what the bias brings."""

    strangers: dict[Pair, StrangerScores] = field(default_factory=dict)
    bias: CameraBias = field(default_factory=CameraBias)
    frozen: bool = False
    times: TravelTimes = field(default_factory=TravelTimes)
    judged: list[JudgedPair] = field(default_factory=list)
    raw: dict[Pair, StrangerScores] = field(default_factory=dict)
    gain: BiasGain | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to keep."""
        return not (self.strangers or self.bias.as_rows() or self.times.ways or self.frozen or self.judged or self.gain)

    def as_text(self) -> str:
        """For the gallery; `evidence_of` reads it."""
        pairs = [
            {"cameras": list(pair), **_row_of(scores), **({"raw": _row_of(self.raw[pair])} if pair in self.raw else {})}
            for pair, scores in sorted(self.strangers.items())
        ]
        known = {"version": VERSION, "frozen": self.frozen, "pairs": pairs, "cameras": self.bias.as_rows()}
        judged = {"judged": [pair.as_row() for pair in self.judged]} if self.judged else {}
        gain = {} if self.gain is None else {"bias_gain": asdict(self.gain)}
        return json.dumps({**known, "travel_times": self.times.as_rows(), **judged, **gain})


def camera_pair(one: str, other: str) -> Pair:
    """The key of two cameras, or of one camera with itself."""
    return (one, other) if one <= other else (other, one)


def evidence_of(text: str, dim: int | None = None) -> Evidence:
    """What `Evidence.as_text` gave; `dim`: how long the features are that it is for. Raises Refused for text that is damaged."""
    try:
        data = json.loads(text)
        if data["version"] != VERSION:
            raise ValueError(f"version {data['version']}")
        strangers = {_pair_of(row): _scores_of(row) for row in data["pairs"]}
        raw = {_pair_of(row): _scores_of(row["raw"]) for row in data["pairs"] if "raw" in row}  # none in older ones
        times = TravelTimes(data.get("travel_times", ()))  # of older runs without
        judged = [judged_pair_of(row) for row in data.get("judged", ())]
        gain = _gain_of(data["bias_gain"]) if "bias_gain" in data else None
        bias = CameraBias(data["cameras"], dim)
        return Evidence(strangers, bias, data["frozen"] is True, times, judged, raw, gain)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
        fix = "forget it with 'vreid gallery threshold --reset'"
        raise Refused(f"what the gallery knows of this site's threshold is damaged ({error}); {fix}") from error


def _row_of(scores: StrangerScores) -> dict[str, Any]:
    counts = {str(place): scores.counts[place] for place in np.flatnonzero(scores.counts).tolist()}
    return {"tracks": scores.tracks, "pairs": scores.pairs, "counts": counts}


def _pair_of(row: dict[str, Any]) -> Pair:
    one, other = row["cameras"]
    return camera_pair(str(one), str(other))


def _scores_of(row: dict[str, Any]) -> StrangerScores:
    scores = StrangerScores(tracks=float(row["tracks"]), pairs=int(row["pairs"]))
    for place, count in row["counts"].items():
        if int(place) < 0:
            raise ValueError(f"a score in bin {place}")
        scores.counts[int(place)] = float(count)
    sound = np.isfinite(scores.counts).all() and (scores.counts >= 0).all() and scores.counts.sum() > 0
    if not (sound and 0 < scores.tracks < math.inf and scores.pairs > 0):
        raise ValueError("a count that is not a number above 0")
    return scores


def _gain_of(row: dict[str, Any]) -> BiasGain:
    gain = BiasGain(**row)
    found = (gain.confirmed_raw, gain.confirmed_without, gain.rejected_raw, gain.rejected_without)
    pairs = (gain.confirmed, gain.confirmed, gain.rejected, gain.rejected)
    if not (
        0 < gain.rate < 1 and all(type(one) is int and 0 <= one <= of for one, of in zip(found, pairs, strict=True))
    ):
        raise ValueError("a gain of the cameras' bias that is none")
    return gain
