"""Work that is done one after the other: whoever waits for it holds one of the 40 threads that answer requests, so few may wait."""

import threading

from vreid.models.errors import Refused

MOST = 16  # at it or waiting for it
_PATIENCE_S = 20.0  # for which somebody waits


class Busy(Refused):
    """As many wait as may, or those before it take long."""


class Turns:
    """A context inside of which few are at a time; at most MOST are there or wait. Raises Busy."""

    def __init__(self, what: str, at_a_time: int = 1) -> None:
        """`what` waits, in the words of the error."""
        self._what = what
        self._places, self._turn = threading.BoundedSemaphore(MOST), threading.BoundedSemaphore(at_a_time)

    def __enter__(self) -> None:
        if not self._places.acquire(blocking=False):
            raise Busy(f"{MOST} {self._what} wait already; nothing was done, try again")
        if not self._turn.acquire(timeout=_PATIENCE_S):
            self._places.release()
            raise Busy(f"other {self._what} take long; nothing was done, try again")

    def __exit__(self, *_: object) -> None:
        self._turn.release()
        self._places.release()
