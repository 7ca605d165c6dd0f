"""One resolver at a time: a lease of the gallery, and one that was paused past it, or in the middle of a write, writes no more."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from made_gallery import opened, sql, written
from real_postgres import Server

from vreid.models.errors import Refused
from vreid.runtime.gallery import Gallery, read_gallery
from vreid.runtime.gallery.inbox import Inbox, LeaseLost
from vreid.runtime.gallery_place import DatabaseAddress

RESOLVER = """
import os, signal, sys, numpy as np
from vreid.models.errors import Refused
from vreid.runtime.gallery import open_gallery
from vreid.runtime.gallery.inbox import BoxSighting, LeaseLost
with open_gallery(sys.argv[1], fingerprint="aaaaaaaa", dim=8, model="small", write=True) as gallery:
    with gallery.reading() as store:
        inbox = store.inbox()
    epoch = inbox.take_lease("first", 0.5)
    for number in range(1, 1_000_000):
        try:
            with gallery.transaction():
                inbox.refuse_other_epoch(epoch)
                inbox.receive("a", number, number, number)
                vehicle, _ = gallery.enrol(f"first {number}", np.random.default_rng(number).normal(size=(1, 8)))
                inbox.keep_sighting(BoxSighting("a", number, 1, number))
                if sys.argv[2] == str(number):
                    os.kill(os.getpid(), signal.SIGSTOP)
            print(number, flush=True)
        except LeaseLost:
            print("lost", flush=True)
            break
        except Refused as error:
            print("cut", flush=True)
"""
TABLES = (
    "vehicles",
    "prototypes",
    "sightings",
    "changes",
    "audit",
    "settings",
    "received",
    "box_sightings",
    "identities",
    "lease",
)


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("lease")


@pytest.fixture
def gallery(place: DatabaseAddress) -> Gallery:
    return opened(place)


def inbox_of(gallery: Gallery) -> Inbox:
    with gallery.reading() as store:
        inbox = store.inbox()
    assert inbox is not None
    return inbox


def everything(place: DatabaseAddress) -> list[list[object]]:
    return [sorted(sql(place, f"SELECT {table}::text FROM {table}")) for table in TABLES]


@contextmanager
def resolver(place: DatabaseAddress, stops_in: str = "") -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-c", RESOLVER, written(place), stops_in]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def test_a_lease_has_one_holder_and_rises_with_the_next(gallery: Gallery, place: DatabaseAddress) -> None:
    with opened(place) as other:
        first, second = inbox_of(gallery), inbox_of(other)
        with pytest.raises(LeaseLost), gallery.transaction():
            first.refuse_other_epoch(1)  # nobody has ever had it
        assert first.lease() is None
        one = epoch_of(first, "one", 1000)
        assert first.take_lease("one", 2000) == one and abs(one / 1000 - time.time()) < 3600
        assert second.take_lease("two", 1000) is None
        held = second.lease()
        assert held is not None and (held.holder, held.epoch) == ("one", one) and 1000 < held.seconds <= 2000
        first.release_lease(one)
        assert second.lease() is None
        two = epoch_of(second, "two", 1000)
        assert two > one
        first.release_lease(one)  # of an older one changes nothing
        assert first.take_lease("one", 1000) is None
        with pytest.raises(LeaseLost, match="another resolver writes to the gallery"), gallery.transaction():
            gallery.add_vehicle("late")
            first.refuse_other_epoch(one)
        with other.transaction():
            second.refuse_other_epoch(two)
            other.add_vehicle("taxi")
        assert [one.name for one in gallery.vehicles()] == ["taxi"]
        assert second.take_lease("two", 0) == two and first.lease() is None
        assert second.take_lease("two", 0) == two  # it was over, but nobody else had it
        assert epoch_of(first, "one", 1000) > two  # it was over


def test_epochs_rise_over_a_gallery_that_is_put_back_or_made_anew(gallery: Gallery, place: DatabaseAddress) -> None:
    inbox = inbox_of(gallery)
    before = epoch_of(inbox, "one", 0)
    sql(place, "UPDATE lease SET epoch = epoch - 1000, holder = 'another'")  # as a backup has it
    back = epoch_of(inbox, "two", 0)
    sql(place, "DELETE FROM lease")
    assert before < back < epoch_of(inbox, "three", 0)
    sql(place, "UPDATE lease SET epoch = epoch + 1000")  # the clock was set back
    assert epoch_of(inbox, "four", 0) > before + 1000
    last = epoch_of(inbox, "four", 0)
    sql(place, "CREATE TABLE backup AS SELECT * FROM lease")
    assert epoch_of(inbox, "four", 1000) == last
    sql(place, "UPDATE lease l SET until = b.until FROM backup b")
    assert epoch_of(inbox, "four", 1000) > last  # which has the lease of the same holder
    with opened(place) as other:
        assert epoch_of(inbox_of(other), "four", 1000) > last + 1  # a resolver of its own


def epoch_of(inbox: Inbox, holder: str, seconds: float) -> int:
    """Of a lease that can be had."""
    epoch = inbox.take_lease(holder, seconds)
    assert epoch is not None
    return epoch


def test_a_holder_that_pauses_before_it_has_shown_its_epoch_keeps_nobody_out(
    gallery: Gallery, place: DatabaseAddress
) -> None:
    assert inbox_of(gallery).take_lease("one", 0.05)
    with opened(place) as other, pytest.raises(Refused, match="no connection"), gallery.transaction():
        other.add_vehicle("taxi")  # as soon as the server has ended the open transaction
        gallery.add_vehicle("late")
    assert [one.name for one in gallery.vehicles()] == ["taxi"]


def test_who_only_reads_takes_no_lease(gallery: Gallery, place: DatabaseAddress) -> None:
    gallery.close()
    with read_gallery(place) as reader, pytest.raises(Exception, match="opened for reading"):
        inbox_of(reader).take_lease("reader", 10)


@pytest.mark.parametrize("where", ["between two writes or in one", "in a write"])
def test_one_that_was_paused_past_its_lease_writes_no_more(
    gallery: Gallery, place: DatabaseAddress, where: str
) -> None:
    """In the middle of a write the server ends its transaction, so that the next need not wait for it to go on."""
    inbox = inbox_of(gallery)
    with resolver(place, "12" if where == "in a write" else "") as program:
        assert program.stdout is not None
        acknowledged = [int(program.stdout.readline()) for _ in range(11)]
        if where != "in a write":
            program.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(program.pid, os.WUNTRACED)[1])
        (paused,) = sql(place, "SELECT epoch FROM lease")[0]
        while (epoch := inbox.take_lease("second", 1000)) is None:
            pass
        with gallery.transaction():
            inbox.refuse_other_epoch(epoch)
            second = gallery.add_vehicle("second")
        before = everything(place)
        program.send_signal(signal.SIGCONT)
        said = program.stdout.read().split()
    numbers = [int(word) for word in said if word.isdigit()]
    assert epoch > paused and said[-1] == "lost" and {*said[:-1]} <= {"cut", *map(str, numbers)}
    assert everything(place) == before
    acknowledged += numbers
    kept = [number for (number,) in sql(place, "SELECT seq FROM received ORDER BY seq")]
    assert kept == list(range(1, second)) and acknowledged in (kept, kept[:-1])
    assert [one.name for one in gallery.vehicles()] == [*(f"first {number}" for number in kept), "second"]
