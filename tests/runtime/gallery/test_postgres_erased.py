"""What is left of a removed vehicle in all files of a PostgreSQL server: nothing, once what docs/gallery.md says is done."""

from base64 import b64encode
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from made_gallery import enrolled, features, noise, opened, sighted, sighting, sql
from real_postgres import Server, postgres_server
from traces import found, turn_over

from vreid.fleet.messages import picture_name
from vreid.runtime.gallery import Gallery, edits, requests
from vreid.runtime.gallery.clean import erase_traces
from vreid.runtime.gallery.inbox import BoxSighting, Inbox
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery, kept_name

SEEN = 1.76e9
NAME, PLATE = "Unmistakable Zebra 7319", "QX-7319-ZZ"
MIDDLE = slice(1200, 1240)  # of a JPEG's own part
KEPT, SENT = b"kept picture 7319 of the zebra", b"\xff\xd8 picture 7319 that a box has sent"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One of its own, in the folder of which galleries keep their files too."""
    with postgres_server() as made:
        made.start()
        monkeypatch.setenv("XDG_STATE_HOME", str(made.folder / "state"))
        yield made


def written_of_it(gallery: Gallery) -> tuple[int, dict[str, bytes]]:
    """A vehicle among others, whose every part is written somewhere, and the bytes by which each is known."""
    enrolled(gallery, 30, 1)
    zebra, _ = gallery.enrol("Zebra", features(1, 2), noise(3))
    requests.Once(key="once", edit=requests.Rename(vehicle="Zebra", name=NAME)).apply(gallery)
    one = gallery.add_vehicle()
    edits.merge(gallery, zebra, [one])
    seen = sighting(4, seen=SEEN, plate=PLATE)
    number = sighted(gallery, zebra, seen)
    without = sighted(gallery, zebra, sighting(5, seen=SEEN + 1, picture=np.empty((0, 0, 3), np.uint8)))
    with gallery.transaction() as store:
        inbox = inbox_of(gallery)
        for each, here, picture in ((1, number, None), (2, without, picture_name(SENT))):
            inbox.receive("a", each, each, each)
            inbox.keep_sighting(BoxSighting("a", each, 7, here, picture))
        inbox.put_picture(picture_name(SENT), SENT)
        row, picture = store.vehicle(zebra), store.sighting_picture(number)
        enrolment, half = store.prototypes(zebra)[0].feature, store.sighting_feature(number)
    assert row is not None and row.thumbnail is not None and picture is not None and half is not None
    enrolled(gallery, 30, 6)
    KeptFolder(folder_of_gallery(gallery.path)).write(kept_name("gate", SEEN, seen.track), KEPT)
    wanted = {
        "its name": NAME.encode(), "its name folded": NAME.casefold().encode(), "its plate": PLATE.encode(),
        "its own picture": row.thumbnail[MIDDLE], "its picture in the audit": b64encode(row.thumbnail)[1600:1640],
        "a sighting's picture": picture[MIDDLE], "a box's picture": SENT,
        "that one's name": picture_name(SENT).encode(),
        "a kept picture": KEPT, "a prototype": enrolment.astype("<f4").tobytes(), "a feature": half.astype("<f2").tobytes(),
        "a prototype in the index": enrolment.astype("<f2").tobytes(),
        "its feature in the audit": b64encode(enrolment.astype("<f4").tobytes()),
    }  # fmt: skip
    return zebra, wanted


def inbox_of(gallery: Gallery) -> Inbox:
    with gallery.reading() as store:
        inbox = store.inbox()
    assert inbox is not None
    return inbox


def refuse_traces(server: Server, gallery: Gallery, wanted: dict[str, bytes], remove: Callable[[], object]) -> None:
    """Each of these bytes lies in a file before `remove`, the write-ahead log aside, and none in any file after it and the rest of
    what docs/gallery.md says."""
    gallery.index.build(lambda done, steps: None)
    gallery.compact()  # which also fills the server's statistics
    turn_over(server)
    before = found(server.folder, wanted)
    assert all(any("pg_wal" not in name for name in names) for names in before.values()), before
    remove()
    inbox = inbox_of(gallery)
    inbox.drop_removals(inbox.removals(10))
    assert any(found(server.folder, wanted).values())  # the log, at least, has it still
    gallery.compact()
    turn_over(server)
    assert found(server.folder, wanted) == {what: [] for what in wanted}


def test_nothing_is_left_of_a_vehicle_that_was_removed(server: Server) -> None:
    place = server.new_place("erased")
    with opened(place, index="pgvector") as gallery:
        zebra, wanted = written_of_it(gallery)
        removal = requests.Once(key="for good", edit=requests.Remove(vehicle=NAME))
        refuse_traces(server, gallery, wanted, lambda: removal.apply(gallery))
        assert inbox_of(gallery).sighting("a", 2) == BoxSighting("a", 2, 7, None, gone=True)
        assert len(gallery.vehicles()) == 60 and gallery.search(features(1, 2), 1)[0]
    audit = [verb for (verb,) in sql(place, "SELECT verb FROM audit WHERE vehicle = ? ORDER BY id", zebra)]
    assert audit == ["enrol", "rename", "merge", "remove"]


def test_nothing_is_left_of_a_sighting_that_was_removed(server: Server) -> None:
    """As when its box has removed it: its vehicle, which nobody named, stays with the other one that was merged into it."""
    with opened(server.new_place("erased"), index="pgvector") as gallery:
        enrolled(gallery, 30, 1)
        zebra, other = gallery.add_vehicle(picture=noise(4)), gallery.add_vehicle()
        seen = sighting(4, seen=SEEN, plate=PLATE)
        number = sighted(gallery, zebra, seen)
        sighted(gallery, other, sighting(5, seen=SEEN + 1))
        edits.merge(gallery, zebra, [other])
        inbox_of(gallery).keep_sighting(BoxSighting("a", 1, 7, number))
        picture, feature = gallery.sighting_picture(number), gallery.prototypes(zebra)[0].feature
        assert picture is not None and gallery.vehicle_picture(zebra) != picture
        wanted = {
            "its plate": PLATE.encode(), "its picture": picture[MIDDLE], "a prototype": feature.astype("<f4").tobytes(),
            "its feature": feature.astype("<f2").tobytes(), "its picture in the audit": b64encode(picture)[1600:1640],
            "its feature in the audit": b64encode(feature.astype("<f4").tobytes()),
        }  # fmt: skip

        def remove() -> None:
            gallery.remove_sightings([number])
            erase_traces(gallery)

        refuse_traces(server, gallery, wanted, remove)
        assert [one.at for one in gallery.sightings(zebra)] == [SEEN + 1] and len(gallery.vehicles()) == 31
