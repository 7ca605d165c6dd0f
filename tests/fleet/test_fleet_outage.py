"""A box that is cut off from its centre for an hour, played fast: what it sends afterwards, and how much disk that took."""

import itertools
import random
from pathlib import Path

import pytest
from made_box import box_in, number_of, numbers_of, outbox_of, settings, sizes
from made_gallery import noise, sighting, sql
from made_outputs import until
from real_nats import make_streams, nats_in, pictures_in, stored_in

from vreid.fleet.messages import SightingMessage, read_message
from vreid.fleet.sender import Sender

# Sightings of an hour: `vreid synth city --out v --vehicles 12 --cameras 3 --seconds 40` and `vreid run v/cam?.mp4 --gallery g.db
# --enrol-unknown` gave 42 in 40 s, 2026-11-30.
AN_HOUR = 3780
ENOUGH = 2 * 10**9  # the room of a site that names none
_AT_ONCE = 20  # in one transaction
_PICTURES = [noise(seed) for seed in range(40)]


def on_disk(path: Path) -> int:
    """Bytes of the outbox's table and indexes in the gallery's file."""
    if not sql(path, "SELECT 1 FROM pragma_compile_options WHERE compile_options = 'ENABLE_DBSTAT_VTAB'"):
        pytest.skip("this SQLite cannot say how large a table is")
    return int(sql(path, "SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'outbox%'")[0][0])


@pytest.mark.parametrize(
    ("count", "room"),
    [
        (400, ENOUGH),
        (400, 120_000),
        pytest.param(AN_HOUR, ENOUGH, marks=pytest.mark.slow),
        pytest.param(AN_HOUR, 900_000, marks=pytest.mark.slow),
    ],
)
def test_after_an_hour_without_the_centre_nothing_is_lost_that_had_room(tmp_path: Path, count: int, room: int) -> None:
    path, cameras = tmp_path / "box" / "g.db", itertools.cycle(("gate", "yard", "門 1"))
    path.parent.mkdir()
    with nats_in(tmp_path) as server, box_in(path) as gallery:
        make_streams(server.url)
        server.stop()
        sender = Sender(settings(server, room=room), gallery)
        sender.start()
        random_picture, ids = random.Random(25), list[int]()
        for begin in range(0, count, _AT_ONCE):
            with gallery.transaction():
                for number in range(begin, begin + _AT_ONCE):
                    picture = random_picture.choice(_PICTURES)
                    seen = sighting(number % 7, camera=next(cameras), track=number, picture=picture, seen=1e9 + number)
                    ids.append(gallery.add_sighting(1, seen, 0.5))
        assert until(lambda: sizes(gallery).bytes <= room)
        assert until(lambda: sender.status().waiting_bytes == sizes(gallery).bytes)
        cut, left = sizes(gallery), [one.seq for one in outbox_of(gallery).messages(count)]
        disk = on_disk(path)
        print("DISK", disk, count, cut)
        assert not sender.status().alive
        server.start()
        assert until(lambda: sizes(gallery).oldest is None, 200)
        sender.close()
        stored, pictures = stored_in(server.url), pictures_in(server.url)
    messages = [read_message(each.body) for each in stored]
    assert numbers_of(stored, "box 1") == left and [one.seq for one in messages] == left  # in order, each once
    sent = [one for one in messages if isinstance(one, SightingMessage)]
    base = number_of(path, 0)
    assert [one.sighting - base for one in sent] == ids[count - len(left) :]
    assert cut.dropped_messages == count - len(left)
    assert disk < 150 * 2 * count + 20_000  # references, not what is sent, whose bytes would be ten times as many
    if room == ENOUGH:
        assert len(left) == count and cut.dropped_pictures == 0
        assert {one.thumbnail for one in sent} == set(pictures)
    else:  # the oldest pictures first, and when none are left the oldest messages
        assert 0 < cut.dropped_messages < count and cut.dropped_pictures == count and pictures == {}
