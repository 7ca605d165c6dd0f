"""The outbox of an output: a bounded queue and one thread, so that no peer can make a run wait."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vreid.runtime.sources.live import pauses
from vreid.runtime.status import OutputStatus

_LOG = logging.getLogger("vreid")
TRIES = 20  # of a message that the peer, being there, does not take
_HEARTBEAT_S = 0.5  # how soon an idle outbox notices that its connection is gone
_GRACE_S = 2.0  # for the carrier to say good-bye


@dataclass(frozen=True)
class Message:
    """What is sent: `body` is JSON, in UTF-8; `camera` and `about` serve the choice of a topic."""

    camera: str
    body: bytes
    about: str = "sightings"  # or "events", or what a notice is about
    topic: str | None = None  # where it has one of its own
    keep: bool = False  # by the broker, for whoever comes later


class Away(Exception):
    """The peer cannot be reached now: tried again for ever, after `after_s` seconds at the soonest."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class NotTaken(Exception):
    """The peer is there and does not take the first message: failed if `final`, otherwise tried TRIES times in all."""

    def __init__(self, reason: str, final: bool) -> None:
        super().__init__(reason)
        self.final = final


class Carrier(Protocol):
    """Takes messages to a peer. Used by one thread; may wait, with a limit of its own."""

    window: int  # the most messages it takes at once

    def connect(self) -> bool:
        """Have a connection, or find one -> whether there is one to be had; false if each message makes its own. Away."""
        ...

    def send(self, messages: Sequence[Message]) -> int:
        """-> how many of the first were taken, at least one; the others come again. Raises Away or NotTaken."""
        ...

    def close(self) -> None:
        """Let go of the connection, within a second or two."""
        ...


class Outbox:
    """Messages leave in order, each at least once if its peer acknowledges. Full, it drops the oldest and counts it.

    A peer that is away is tried again after 0.5 s, then twice as long each time, up to 30 s, less a random part. Each outage is
    logged once. What was not sent when the run ends is tried for `flush_s` more, then dropped.
    """

    def __init__(
        self,
        name: str,
        carrier: Carrier,
        *,
        room: int,
        flush_s: float = 5.0,
        shortest_s: float = 0.5,
        longest_s: float = 30.0,
        rng: random.Random | None = None,
    ) -> None:
        self._name, self._carrier, self._room, self._flush_s = name, carrier, room, flush_s
        self._limits = shortest_s, longest_s
        self._rng = rng or random.Random()
        self._changed = threading.Condition()
        self._queue: deque[Message] = deque()
        self._in_hand = self._tries = 0  # messages with the carrier; attempts at the first of the queue
        self._sent = self._dropped = self._failed = self._retries = 0
        self._alive = True
        self._until: float | None = None  # when to give up; None: the run lasts
        self._over = False
        self._reported = ""
        self._thread = threading.Thread(target=self._work, name=f"output {name}", daemon=True)

    def start(self) -> None:
        """Begin to seek the peer; nothing is sent before."""
        self._thread.start()

    def put(self, message: Message) -> None:
        """Leave a message; never waits for the peer."""
        with self._changed:
            if self._until is not None:
                self._dropped += 1
                return
            self._queue.append(message)
            self._trim()
            self._changed.notify_all()

    def status(self) -> OutputStatus:
        """The counters at this moment."""
        with self._changed:
            waiting = len(self._queue) + self._in_hand
            counts = self._sent, self._dropped, self._failed, self._retries
            return OutputStatus(*counts, waiting, self._room, self._alive)

    def close(self) -> None:
        """Send what waits, for some seconds at most; what is left is counted as dropped. May be called twice."""
        with self._changed:
            if self._until is None:
                self._until = time.monotonic() + self._flush_s
            self._changed.notify_all()
        if self._thread.ident is not None:  # it was started
            self._thread.join(self._flush_s + _GRACE_S)
        with self._changed:
            left = len(self._queue) + self._in_hand
            self._dropped += left
            self._queue.clear()
            self._in_hand, self._over = 0, True
        if left:
            _LOG.warning("%s: the run ended with %d messages not sent", self._name, left)

    def _work(self) -> None:
        """The thread: only it touches the carrier."""
        waits = pauses(*self._limits, self._rng)
        while self._goes_on():
            try:
                if self._carrier.connect():
                    self._reached()
                self._pass_on()
                waits = pauses(*self._limits, self._rng)
            except Away as away:
                self._missed(str(away), alive=False)
                self._rest(max(next(waits), min(away.after_s, self._limits[1])))
            except NotTaken as refusal:
                if not self._given_up(refusal):
                    self._rest(next(waits))
        self._carrier.close()

    def _goes_on(self) -> bool:
        with self._changed:
            return self._until is None or (bool(self._queue) and time.monotonic() < self._until)

    def _pass_on(self) -> None:
        """One batch to the carrier; what it did not take is first in the queue again."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._until is not None, timeout=_HEARTBEAT_S)
            # After a message was not taken it goes by itself, so that no other is blamed for it.
            count = min(len(self._queue), 1 if self._tries else self._carrier.window)
            batch = [self._queue.popleft() for _ in range(count)]
            self._in_hand = count
        if not batch:
            return
        taken = 0
        try:
            taken = self._carrier.send(batch)
        finally:
            with self._changed:
                self._in_hand = 0
                if not self._over:
                    self._sent += taken
                    self._queue.extendleft(reversed(batch[taken:]))
                    self._tries = 0 if taken else self._tries
                    self._trim()
        self._reached()

    def _trim(self) -> None:
        """Under the lock: the oldest go, those with the carrier aside."""
        while len(self._queue) + self._in_hand > self._room and self._queue:
            self._queue.popleft()
            self._dropped += 1
            self._tries = 0

    def _reached(self) -> None:
        with self._changed:
            self._alive = True
        if self._reported:
            _LOG.info("%s: is there again", self._name)
        self._reported = ""

    def _missed(self, reason: str, alive: bool) -> None:
        """Count an attempt, and say why it failed unless that was just said."""
        with self._changed:
            self._retries += 1
            self._alive = alive
        if reason != self._reported:
            _LOG.warning("%s: %s; it is tried again, %d messages wait at most", self._name, reason, self._room)
        self._reported = reason

    def _given_up(self, refusal: NotTaken) -> bool:
        """Count an attempt at the first message -> whether it was the last, and the message is failed."""
        with self._changed:
            self._tries += 1
            last = refusal.final or self._tries >= TRIES
            if last and self._queue:
                self._queue.popleft()
                self._failed += 1
                self._tries = 0
        if not last:
            self._missed(str(refusal), alive=True)
        elif str(refusal) != self._reported:
            _LOG.warning("%s: %s; the message is given up", self._name, refusal)
            self._reported = str(refusal)
        return last

    def _rest(self, seconds: float) -> None:
        """Wait; the end of the run cuts it short once, and bounds it after."""
        with self._changed:
            if self._until is None:
                self._changed.wait_for(lambda: self._until is not None, timeout=seconds)
            else:
                self._changed.wait(max(0.0, min(seconds, self._until - time.monotonic())))
