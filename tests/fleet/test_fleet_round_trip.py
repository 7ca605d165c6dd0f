"""Two live boxes and a real centre: who a vehicle is comes back to both, and what is removed there is removed at both."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from made_centre import box_of, centre_file, looks, resolving, seen, settings_of
from made_outputs import until
from real_nats import NatsServer, stored_in
from real_postgres import Server

from vreid.fleet.messages import RemovalMessage, read_message
from vreid.fleet.sender import Sender
from vreid.runtime.gallery import Gallery, edit_gallery
from vreid.runtime.gallery.edits import merge
from vreid.runtime.gallery.requests import Remove
from vreid.runtime.gallery_place import DatabaseAddress


@pytest.fixture
def place(postgres: Server) -> DatabaseAddress:
    return postgres.new_place("round_trip")


def known(gallery: Gallery, truth: dict[int, int]) -> dict[int, tuple[int, str]]:
    """The centre's vehicle and name for each vehicle of the truth."""
    with gallery.reading() as store:
        identities = store.identities()
        assert identities is not None
        found = identities.of_sightings(truth)
    return {truth[sighting]: (one.vehicle, one.name) for sighting, one in found.items()}


def removals(server: NatsServer) -> list[RemovalMessage]:
    """What boxes have removed."""
    sent = [read_message(each.body) for each in stored_in(server.url) if each.number.startswith("box ")]
    return [each for each in sent if isinstance(each, RemovalMessage)]


def test_what_people_do_at_the_centre_comes_back_to_the_boxes(
    tmp_path: Path, server: NatsServer, place: DatabaseAddress
) -> None:
    with ExitStack() as stack:
        stack.enter_context(resolving(centre_file(tmp_path, server, place)))
        boxes, truths = list[Gallery](), list[dict[int, int]]()
        for number in range(2):
            folder = tmp_path / f"box {number}"
            folder.mkdir()
            boxes.append(stack.enter_context(box_of(folder / "g.db")))
            truths.append(seen(boxes[-1], range(5), number))
            sender = Sender(settings_of(server.url, f"box {number}"), boxes[-1])
            stack.callback(sender.close)
            sender.start()

        each_box = [*zip(boxes, truths, strict=True)]
        assert until(lambda: all(len(known(*each)) == 5 for each in each_box))
        there = known(boxes[0], truths[0])
        assert known(boxes[1], truths[1]) == there and len({*there.values()}) == 5
        with edit_gallery(place) as centre:
            centre.rename(there[0][0], "taxi")
            merge(centre, there[1][0], [there[2][0]])
            assert until(lambda: all(known(*each)[0][1] == "taxi" for each in each_box))
            assert until(lambda: all(known(*each)[2] == there[1] for each in each_box))
            assert all(len(box.vehicles(thumbnails=False)) == 5 for box in boxes)  # which merge nothing
            feature = looks(3, 0).astype("<f2").tobytes(), looks(3, 1).astype("<f2").tobytes()
            assert all(
                part in (box.path.parent / "g.db-wal").read_bytes() for part, box in zip(feature, boxes, strict=True)
            )
            Remove(vehicle=f"id={there[3][0]}").apply(centre)
            assert until(lambda: all(len(box.vehicles(thumbnails=False)) == 4 for box in boxes))
            assert until(lambda: not any(left_of(part, box) for part, box in zip(feature, boxes, strict=True)))
            own = next(sighting for sighting, shows in truths[0].items() if shows == 4)
            boxes[0].remove(boxes[0].sighting(own).vehicle)
            assert until(lambda: len(centre.sightings(there[4][0])) == 1)
        assert known(boxes[1], truths[1])[4] == there[4]
    assert [(one.box, one.what) for one in removals(server)] == [("box 0", "removed")]  # the box's own, and no other


def left_of(part: bytes, box: Gallery) -> list[str]:
    """The files of the box that hold it."""
    return [file.name for file in box.path.parent.iterdir() if file.is_file() and part in file.read_bytes()]
