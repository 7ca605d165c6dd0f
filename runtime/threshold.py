"""The rule by which two features are enough alike: what a run needs of one, and the plain one, a fixed cosine for all."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vreid.models.errors import Refused
from vreid.runtime.records import FinishedTrack, Trace
from vreid.runtime.site_evidence import Pair
from vreid.runtime.stranger_scores import PRIOR_TRACKS
from vreid.runtime.travel_times import TravelTimes

Values = NDArray[np.float64]


class Level(NamedTuple):
    """What counts between a track of one camera and a view of a vehicle: the least cosine, and where it comes from."""

    threshold: float
    pairs: int  # of strangers that it was learnt from
    tracks: float
    fixed: bool = False
    judged: int = 0  # pairs of which people have said whether they are the same, at this site

    @property
    def origin(self) -> str:
        """For people and for `calibrated` of a sighting."""
        if self.fixed:
            return "fixed"
        judged = [f"{self.judged} judged"] if self.judged else []
        if not self.pairs:
            return " ".join(["manifest", *(f"({count})" for count in judged)])
        counts = ", ".join([f"{self.pairs} pairs", *judged])
        return f"site ({counts})" if self.tracks >= PRIOR_TRACKS else f"manifest and site ({counts})"


class Compared(NamedTuple):
    """B features against N others: cosines (B, N), and the least that is enough (B, N)."""

    cosines: Values
    least: Values


class Threshold(Protocol):
    """The rule by which two features are enough alike."""

    prior: float  # the manifest's or the user's, a cosine
    times: TravelTimes | None  # what time says, where it counts
    frozen: bool  # nothing more is learnt

    def observe(self, track: FinishedTrack, trace: Trace) -> None:
        """A track that has ended, with its boxes; called before it is identified."""

    def learn_times(self, times: TravelTimes) -> None:
        """Go on with these travel times, where anything is to be learnt."""

    def compare(
        self,
        features: NDArray[Any],
        cameras: Sequence[str],
        others: NDArray[Any],
        views: Sequence[str],
        compared: float,
        weights: Values | None = None,
        other: bool = False,
    ) -> Compared:
        """Unit features (B, D) of tracks of B cameras against others (N, D) from N views, when each track is compared with that
        many vehicles; `weights` (B, N) of travel_times.py; `other`: by the way that is not used, where there is one."""

    def has_other(self, camera: str, view: str) -> bool:
        """Whether there is another way of comparing them, on which people may be asked."""

    def level(self, camera: str, view: str, compared: float, weight: float = 1.0) -> Level:
        """What counts between a camera and a view."""

    def least(self, camera: str, compared: float) -> float:
        """The lowest of the levels between a camera and any view."""

    def rate_of(self, camera: str, view: str, score: float, compared: float, weight: float = 1.0) -> float | None:
        """The share of new vehicles that score as high in a camera against a view, by what is known of strangers; None: nothing."""

    def follow(self, kept: str | None) -> None:
        """Rest on the judged pairs that the gallery keeps still: those of vehicles that were removed since are gone."""

    def as_json(self) -> str | None:
        """What a gallery is to keep; None: nothing new."""

    def levels(self, compared: float) -> dict[Pair, Level]:
        """Those of the pairs of cameras that something was learnt of."""

    def summary(self, compared: float) -> dict[str, Any]:
        """For the report."""


class FixedThreshold:
    """One cosine for all, as a user gave it."""

    def __init__(self, value: float) -> None:
        """Raises Refused outside -1 to 1."""
        if not -1 <= value <= 1:
            raise Refused(f"a threshold is a cosine from -1 to 1, not {value}; take it from the manifest's match")
        self.prior = value
        self.times: TravelTimes | None = None
        self.frozen = True

    def observe(self, track: FinishedTrack, trace: Trace) -> None:
        """Nothing is learnt."""

    def learn_times(self, times: TravelTimes) -> None:
        """Nothing is learnt."""

    def compare(
        self,
        features: NDArray[Any],
        cameras: Sequence[str],
        others: NDArray[Any],
        views: Sequence[str],
        compared: float,
        weights: Values | None = None,
        other: bool = False,
    ) -> Compared:
        """Plain cosines."""
        cosines = (features @ others.T).astype(np.float64)
        return Compared(cosines, np.full(cosines.shape, self.prior))

    def has_other(self, camera: str, view: str) -> bool:
        """There is none."""
        return False

    def level(self, camera: str, view: str, compared: float, weight: float = 1.0) -> Level:
        """Always the same."""
        return Level(self.prior, 0, 0.0, True)

    def least(self, camera: str, compared: float) -> float:
        """Always the same."""
        return self.prior

    def rate_of(self, camera: str, view: str, score: float, compared: float, weight: float = 1.0) -> float | None:
        """Nothing is known."""
        return None

    def follow(self, kept: str | None) -> None:
        """Nothing is kept."""

    def as_json(self) -> str | None:
        """Nothing is kept."""
        return None

    def levels(self, compared: float) -> dict[Pair, Level]:
        """Nothing is learnt."""
        return {}

    def summary(self, compared: float) -> dict[str, Any]:
        """The value."""
        return {"calibrated": "fixed"}
