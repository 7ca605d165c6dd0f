"""The outbox keeps order, counts what it loses, and never makes anybody wait for the peer."""

import logging
import threading
import time

import pytest

from vreid.runtime.sinks.outbox import TRIES, Away, Message, NotTaken, Outbox


def runs(name):
    """Whether a thread of this name is alive."""
    return any(thread.name == name for thread in threading.enumerate())


class Peer:
    """A carrier to a peer that is there or not, hangs, or will not take some messages."""

    window = 3

    def __init__(self, there=True, sour=(), final=False, at_once=3):
        self.there, self.sour, self.final, self.at_once = there, sour, final, at_once
        self.got, self.batches, self.attempts = [], [], []
        self.hang = threading.Event()
        self.hang.set()
        self.closed = 0

    def connect(self):
        self.attempts.append(time.monotonic())
        if not self.there:
            raise Away("nobody is there")
        return True

    def send(self, messages):
        self.hang.wait(60)
        self.batches.append([message.body for message in messages])
        taken = []
        for message in messages[: self.at_once]:
            if message.body in self.sour:
                break
            taken.append(message.body)
        self.got += taken
        if not taken:
            raise NotTaken("it is sour", self.final)
        return len(taken)

    def close(self):
        self.closed += 1


def outbox(peer, room=100, **more):
    box = Outbox("peer", peer, room=room, **{"shortest_s": 0.01, "longest_s": 0.04, "flush_s": 5.0, **more})
    box.start()
    return box


def bodies(count, first=0):
    return [str(number).encode() for number in range(first, first + count)]


def put(box, messages):
    for body in messages:
        box.put(Message("a", body))


def until(condition, seconds=60.0):
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_messages_leave_in_order_also_when_the_peer_takes_some_of_a_batch(at_once):
    peer = Peer(at_once=at_once)
    box = outbox(peer)
    put(box, bodies(20))
    box.close()
    assert peer.got == bodies(20) and max(map(len, peer.batches)) <= Peer.window and peer.closed == 1
    status = box.status()
    assert (status.sent, status.dropped, status.failed, status.waiting, status.alive) == (20, 0, 0, 0, True)


def test_a_peer_that_is_away_is_sought_and_gets_all(caplog):
    peer = Peer(there=False)
    with caplog.at_level(logging.INFO, logger="vreid"):
        box = outbox(peer)
        put(box, bodies(7))
        assert until(lambda: box.status().retries >= 5) and not box.status().alive and box.status().waiting == 7
        peer.there = True
        assert until(lambda: box.status().sent == 7) and box.status().alive
        box.close()
    assert peer.got == bodies(7)
    assert [record.getMessage().split(";")[0] for record in caplog.records] == [
        "peer: nobody is there",
        "peer: is there again",
    ]


def test_it_asks_less_and_less_often_and_never_at_regular_times():
    peer = Peer(there=False)
    box = outbox(peer, shortest_s=0.05, longest_s=0.2)
    assert until(lambda: len(peer.attempts) >= 7)
    gaps = [after - before for before, after in zip(peer.attempts, peer.attempts[1:], strict=False)]
    box.close()
    for gap, most in zip(gaps, [0.05, 0.1, 0.2, 0.2, 0.2, 0.2], strict=False):
        assert gap >= most / 2
    assert len({round(gap, 4) for gap in gaps[2:6]}) > 1


def test_a_peer_may_ask_for_a_longer_pause():
    class Busy(Peer):
        def connect(self):
            self.attempts.append(time.monotonic())
            raise Away("busy", after_s=0.3)

    peer = Busy()
    box = outbox(peer, longest_s=10.0)
    assert until(lambda: len(peer.attempts) == 2) and peer.attempts[1] - peer.attempts[0] >= 0.3
    box.close()


def test_a_full_queue_drops_the_oldest_and_counts():
    peer = Peer(there=False)
    box = outbox(peer, room=5)
    put(box, bodies(12))
    status = box.status()
    assert (status.waiting, status.room, status.dropped) == (5, 5, 7)
    peer.there = True
    box.close()
    assert peer.got == bodies(5, first=7)
    status = box.status()
    assert (status.sent, status.dropped) == (5, 7)


def test_a_peer_that_hangs_makes_neither_the_run_nor_its_end_wait(monkeypatch):
    monkeypatch.setattr("vreid.runtime.sinks.outbox._GRACE_S", 0.3)
    peer = Peer()
    peer.hang.clear()
    box = outbox(peer, room=50, flush_s=0.1)
    put(box, bodies(20_000))
    assert box.status().waiting <= 50
    box.close()
    assert not peer.hang.is_set() and peer.got == []  # it hangs still, and both have come back
    before = box.status()
    assert before.dropped == 20_000 and before.waiting == 0
    peer.hang.set()  # what comes of it afterwards is not counted twice
    assert until(lambda: peer.closed == 1)
    assert box.status().sent == before.sent == 0 and box.status().dropped == 20_000


@pytest.mark.parametrize("final", [True, False])
def test_a_message_that_is_not_taken_holds_up_the_others_for_some_tries_at_most(final):
    peer = Peer(sour=(b"2",), final=final)
    box = outbox(peer, longest_s=0.01)
    put(box, bodies(6))
    assert until(lambda: box.status().sent == 5)
    box.close()
    assert peer.got == [b"0", b"1", b"3", b"4", b"5"]
    status = box.status()
    assert (status.failed, status.dropped, status.retries) == (1, 0, 0 if final else TRIES - 1)
    assert [batch for batch in peer.batches if batch[0] == b"2"][1:] == [[b"2"]] * (0 if final else TRIES - 1)


def test_the_end_waits_for_a_peer_that_is_away_but_not_for_long(monkeypatch):
    monkeypatch.setattr("vreid.runtime.sinks.outbox._GRACE_S", 60.0)  # however busy the machine
    peer = Peer(there=False)
    box = outbox(peer, flush_s=0.3, shortest_s=600.0, longest_s=600.0)
    put(box, bodies(4))
    assert until(lambda: peer.attempts)
    began = time.monotonic()
    box.close()
    assert time.monotonic() - began >= 0.3
    assert not runs("output peer")  # not at its pause of minutes
    put(box, bodies(2))
    box.close()
    status = box.status()
    assert (status.sent, status.dropped, status.waiting) == (0, 6, 0)


def test_an_empty_outbox_ends_at_once(monkeypatch):
    monkeypatch.setattr("vreid.runtime.sinks.outbox._GRACE_S", 60.0)
    peer = Peer(there=False)
    box = outbox(peer, shortest_s=600.0, longest_s=600.0)
    assert until(lambda: peer.attempts)
    box.close()
    assert not runs("output peer") and len(peer.attempts) == 1
