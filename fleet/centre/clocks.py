"""How far the clocks of boxes are from that of the log, and from one another."""

import logging
from collections import deque
from statistics import median_low

_LOG = logging.getLogger("vreid")
APART_S = 2.0
_MESSAGES, _FEWEST = 32, 4  # of a box that count, and that are enough to judge its clock
_BOXES = 20_000  # that are remembered: a box may call itself anything


class Clocks:
    """Of each box, by how many seconds its clock is ahead of the log's.

    A message is written in the log some time after its box has sent it, so that the clocks differ by the most that any of the
    last messages says: the one that took the least time. A clock is wrong that is APART_S or more from the log's, or from the
    middle one of those that are not; that is logged once, and when it is right again.
    """

    def __init__(self) -> None:
        self._seen: dict[str, deque[float]] = {}
        self._wrong: set[str] = set()
        self._unjudged = 0  # messages since all were judged

    def note(self, box: str, sent: float, written: float) -> None:
        """A message that was sent and written at these times, in seconds since 1970, each by its own clock."""
        delays = self._seen.pop(box, None) or deque(maxlen=_MESSAGES)
        delays.append(sent - written)
        self._seen[box] = delays  # the last one now
        if len(self._seen) > _BOXES:
            gone = next(iter(self._seen))
            del self._seen[gone]
            self._wrong.discard(gone)
        self._unjudged += 1
        if self._unjudged * _MESSAGES >= len(self._seen):  # of many boxes not at each message
            self._unjudged = 0
            self._judge()

    def _judge(self) -> None:
        ahead = {one: seconds for one, seconds in self.ahead.items() if len(self._seen[one]) >= _FEWEST}
        near = [seconds for seconds in ahead.values() if abs(seconds) < APART_S]
        for one, seconds in ahead.items():
            off, whose = seconds, "that of the log"
            if abs(seconds) < APART_S:
                off, whose = seconds - median_low(near), "those of other boxes"
            if abs(off) >= APART_S and one not in self._wrong:
                self._wrong.add(one)
                way = "ahead of" if off > 0 else "behind"
                fix = "times and ways between cameras are wrong until it is set"
                _LOG.warning("centre: the clock of box %s is %.1f s %s %s; %s", one, abs(off), way, whose, fix)
            elif abs(off) < APART_S and one in self._wrong:
                self._wrong.discard(one)
                _LOG.info("centre: the clock of box %s is right again", one)

    @property
    def ahead(self) -> dict[str, float]:
        """Seconds by box; below 0: it is behind."""
        return {box: max(delays) for box, delays in [*self._seen.items()]}

    @property
    def wrong(self) -> list[str]:
        """The boxes whose clocks are wrong, by name."""
        return sorted(self._wrong)
