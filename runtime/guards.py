"""What keeps strangers out of the gallery: many new vehicles at once in one camera, and crops too poor to know a vehicle by."""

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vreid.runtime.records import FinishedTrack, Notice

_LOG = logging.getLogger("vreid")
WINDOW_S = 10.0  # s in which new vehicles are counted: short, since 12 s of rain enrolled 58
TIMES_USUAL = 2.0  # times the fullest window of the last day, beyond which it is an alarm: room for a busier day
NEW_CAMERA_S = 600.0  # s of frames before which nothing is known of what is usual for a camera
NEW_CAMERA_MOST = 80  # new vehicles in a window that are no alarm until then: a motorway had 66
LONGEST_S = 3600.0  # s of an alarm, after which so many vehicles are usual here: a road may have become busier
_MINUTE_S, _HOUR_S = 60.0, 3600.0  # s; what is usual is learnt by the minute and kept by the hour
_USUAL_H = 24  # h for which it is kept, so that yesterday's rush hour counts today
_PAST_ALARMS = 16  # of one camera that are remembered, for tracks that began in one and end after it
USUAL_ARRIVALS = "usual arrivals"  # the setting of a gallery that keeps what is usual at each camera
MOST_CAMERAS = 256  # of which that is kept: more than one run watches
Reason = Literal["alarm", "quality"]


@dataclass(frozen=True)
class GuardRules:
    """Up to `most_new` new vehicles of one camera in `WINDOW_S` are never an alarm (0: there is none at all); an unknown vehicle
    whose best crop is worse than `least_quality` (0-1) is not enrolled."""

    most_new: int = 20
    least_quality: float = 0.07


class Arrivals:
    """One camera's new vehicles. Times are those of its frames, in seconds; the hours count only while there are frames.

    An alarm begins when more than `limit` appear within `WINDOW_S`: `floor`, or `TIMES_USUAL` times what was the most in a window
    of the last 24 hours, whichever is more; `NEW_CAMERA_MOST` at least while the camera is new. It is over when they are half of
    the limit. What is usual is learnt minute by minute, when each is over: not from one with an alarm in it, unless that has
    lasted for `LONGEST_S`.
    """

    def __init__(self, floor: int) -> None:
        self._floor = floor
        self._times: deque[float] = deque()
        self._busiest: dict[int, int] = {}  # the most in a window, by hour
        self._most = 0  # in a window of this minute
        self._watched = 0.0  # seconds
        self._now = -float("inf")
        self._periods: deque[tuple[float, float]] = deque(maxlen=_PAST_ALARMS)  # of alarms that are over
        self.began: float | None = None  # of the alarm that lasts
        self.alarms = 0

    @property
    def count(self) -> int:
        """New vehicles in the window that ends now."""
        return len(self._times)

    @property
    def limit(self) -> float:
        """How many new vehicles in a window are no alarm yet."""
        least = self._floor if self._watched >= NEW_CAMERA_S else max(self._floor, NEW_CAMERA_MOST)
        return max(least, TIMES_USUAL * max(self._busiest.values(), default=0))

    def see(self, now: float, new: int) -> bool:
        """`new` vehicles have appeared in the frame at `now` -> whether an alarm begins or is over with it."""
        if now < self._now:  # another source, whose clock begins anew
            self._times.clear()
            self._periods.clear()
            self._now, self.began = now, None if self.began is None else now
        self._pass_time(min(max(now - self._now, 0.0), WINDOW_S))
        self._now = now
        self._times.extend([now] * new)
        while self._times and self._times[0] <= now - WINDOW_S:
            self._times.popleft()
        if self.began is None and self.count > self.limit:
            self.began, self.alarms, self._most = now, self.alarms + 1, 0
            return True
        if self.began is None or now - self.began > LONGEST_S:
            self._most = max(self._most, self.count)
        if self.began is None or self.count > self.limit / 2:
            return False
        self._periods.append((self.began, now))
        self.began = None
        return True

    def as_row(self) -> dict[str, Any]:
        """What is usual here, for JSON: seconds watched, and the most in a window by hour of those; nothing of a vehicle."""
        return {"watched": round(self._watched), "busiest": {str(hour): most for hour, most in self._busiest.items()}}

    def recall(self, row: Mapping[str, Any]) -> None:
        """Go on from what `as_row` gave. Raises ValueError, TypeError, KeyError or AttributeError for what it never gives."""
        watched = float(row["watched"])
        busiest = {int(hour): int(most) for hour, most in row["busiest"].items()}
        if not (0 <= watched < 1e12 and len(busiest) <= _USUAL_H and all(most >= 0 for most in busiest.values())):
            raise ValueError("a count of new vehicles that is none")
        self._watched, self._busiest = watched, busiest

    def _pass_time(self, seconds: float) -> None:
        """Of frames; at the end of a minute what it has counted becomes usual."""
        before, self._watched = self._watched, self._watched + seconds
        if self._watched // _MINUTE_S == before // _MINUTE_S:
            return
        hour = int(before // _HOUR_S)
        self._busiest[hour] = max(self._busiest.get(hour, 0), self._most)
        self._busiest = {one: most for one, most in self._busiest.items() if one > hour - _USUAL_H}
        self._most = 0

    def in_alarm(self, first: float) -> bool:
        """Whether a vehicle that appeared at `first` is one of the many of an alarm: since the window that set it off."""
        if self.began is not None and first > self.began - WINDOW_S:
            return True
        return any(began - WINDOW_S < first <= over for began, over in self._periods)


class Guards:
    """The guards of a run. The thread of the cameras feeds them, any thread may ask."""

    def __init__(self, rules: GuardRules | None = None) -> None:
        self.rules = rules or GuardRules()
        self._cameras: dict[str, Arrivals] = {}
        self._lock = threading.Lock()
        self._recalled: dict[
            str, Mapping[str, Any]
        ] = {}  # of earlier runs, by camera; none of which this run has frames
        self._keep: Callable[[str], None] | None = None

    def recall(self, text: str | None, keep: Callable[[str], None] | None) -> None:
        """Take what was usual in earlier runs from what `keep` was given; None of `keep`: this run keeps nothing."""
        self._keep = keep
        try:
            rows = {} if text is None else json.loads(text)
            for row in rows.values():
                Arrivals(0).recall(row)
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            _LOG.warning("how many new vehicles are usual at each camera cannot be read from the gallery: learnt anew")
            rows = {}
        self._recalled = rows

    def keep(self) -> None:
        """Let the gallery keep what is usual, of the MOST_CAMERAS that were seen last."""
        if self._keep is None or self.rules.most_new == 0:
            return
        with self._lock:
            rows = {name: row for name, row in self._recalled.items() if name not in self._cameras}
            rows |= {name: arrivals.as_row() for name, arrivals in self._cameras.items()}
        self._keep(json.dumps(dict([*rows.items()][-MOST_CAMERAS:])))

    def see(self, camera: str, now: float, new: int, began: float = 0.0) -> Notice | None:
        """`new` vehicles have appeared in the frame at `now`, on the camera's own clock, which was at 0 at `began` (seconds
        since 1970) -> what is to be said of an alarm that begins or is over with it; the log says it too."""
        if self.rules.most_new == 0:
            return None
        with self._lock:
            if camera not in self._cameras:
                self._cameras[camera] = Arrivals(self.rules.most_new)
                if camera in self._recalled:
                    self._cameras[camera].recall(self._recalled[camera])
            arrivals = self._cameras[camera]
            since = arrivals.began
            if not arrivals.see(now, new):
                return None
            count, limit, begins = arrivals.count, arrivals.limit, arrivals.began is not None
        if begins:
            _LOG.warning(
                "%s: %d new vehicles within %.0f s, where up to %.0f are usual; unknown ones are not enrolled until it is over",
                camera, count, WINDOW_S, limit,
            )  # fmt: skip
        else:
            _LOG.warning("%s: new vehicles are as many as usual again; unknown ones are enrolled", camera)
        fields = {"state": "begun" if begins else "over", "new": count, "limit": round(limit), "time": round(now, 3)}
        lasted = {} if since is None or begins else {"lasted": round(now - since, 3)}
        return Notice("alarms", camera, began + now, {**fields, **lasted})

    def why_withheld(self, track: FinishedTrack) -> Reason | None:
        """Why a vehicle that nobody knows is not to be enrolled with this track; None: it may be."""
        with self._lock:
            arrivals = self._cameras.get(track.camera)
            if arrivals is not None and arrivals.in_alarm(track.first_time):
                return "alarm"
        return "quality" if track.quality < self.rules.least_quality else None

    def alarm(self, camera: str) -> tuple[bool, int]:
        """Whether there is one now, and how many there were."""
        with self._lock:
            arrivals = self._cameras.get(camera)
            return (False, 0) if arrivals is None else (arrivals.began is not None, arrivals.alarms)
