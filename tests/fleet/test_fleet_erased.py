"""A vehicle that people remove at a centre is in no file any more: database, log, object store, boxes."""

import time
from base64 import b64encode
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from made_box import number_of
from made_centre import Sent, box_of, centre_file, looks, passage, resolving, settings_of
from made_gallery import noise, sql
from made_outputs import until
from real_nats import make_streams, nats_in, with_client
from real_postgres import postgres_server
from traces import found, turn_over

from vreid.fleet.centre.status import Counts
from vreid.fleet.messages import as_bytes
from vreid.fleet.picture_store import put
from vreid.fleet.sender import Sender
from vreid.fleet.subjects import subject_of
from vreid.runtime.gallery import Gallery, edit_gallery
from vreid.runtime.gallery.edits import split
from vreid.runtime.gallery.requests import Remove, Rename

NAME, PLATE = "Unmistakable Zebra 7319", "QX-7319-ZZ"
ZEBRA = 3  # the vehicle that is removed
BEGIN = 1.79e9
MIDDLE = slice(1200, 1240)  # of a JPEG's own part


def seen_by(gallery: Gallery, number: int) -> bytes:
    """Three vehicles pass the camera of box `number`, each one for itself; the picture of the one that is to be removed."""
    ids = {}
    for place, vehicle in enumerate((1, ZEBRA, 5)):
        track = passage(vehicle, number, BEGIN + 100 * number + 10 * place)
        plate = PLATE if vehicle == ZEBRA else None
        own = gallery.add_vehicle()
        gallery.add_prototype(own, track.camera, track.feature)
        seen = replace(track, plate=plate, picture=noise(100 * number + vehicle))
        ids[vehicle] = gallery.add_sighting(own, seen, 0.5)
    picture = gallery.sighting_picture(ids[ZEBRA])
    assert picture is not None
    return picture


def test_who_is_removed_at_the_centre_is_in_no_file_of_any_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {name: tmp_path / name for name in ("log", "files", "box 0", "box 1")}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(folders["files"]))
    with ExitStack() as stack:
        server = stack.enter_context(nats_in(folders["log"]))
        make_streams(server.url)
        database = stack.enter_context(postgres_server())
        database.start()
        folders["database"] = database.folder
        place = database.new_place("erased")
        centre = stack.enter_context(resolving(centre_file(tmp_path, server, place)))
        boxes = [stack.enter_context(box_of(folders[f"box {number}"] / "g.db")) for number in range(2)]
        pictures = [seen_by(box, number) for number, box in enumerate(boxes)]
        wanted = {"its name": NAME.encode(), "its plate": PLATE.encode()}
        for number, picture in enumerate(pictures):
            half = looks(ZEBRA, number).astype("<f2").tobytes()
            wanted |= {f"picture {number}": picture[MIDDLE], f"feature {number}": half}
            wanted[f"message {number}"] = b64encode(half)

        def traces() -> dict[str, set[str]]:
            held = {name: found(folder, wanted) for name, folder in folders.items()}
            return {what: {name for name, in_folder in held.items() if in_folder[what]} for what in wanted}

        for number, box in enumerate(boxes):
            sender = Sender(settings_of(server.url, f"box {number}"), box)
            stack.callback(sender.close)
            sender.start()
        with edit_gallery(place) as gallery:
            assert until(lambda: centre.status()["north"].counts.pictures >= 6)
            (zebra,) = {one.vehicle for one in gallery.latest_sightings() if one.plate == PLATE}
            Rename(vehicle=f"id={zebra}", name=NAME).apply(gallery)
            assert until(lambda: {"box 0", "box 1", "database"} <= traces()["its name"])
            before = traces()
            assert before["its plate"] == {"log", "box 0", "box 1", "database"}
            for number in range(2):
                assert before[f"picture {number}"] >= {f"box {number}", "database"}
                assert before[f"feature {number}"] >= {f"box {number}", "database"}
                assert before[f"message {number}"] == {"log"}
            Remove(vehicle=NAME).apply(gallery)
            assert until(lambda: all(len(box.vehicles(thumbnails=False)) == 2 for box in boxes))
            assert until(lambda: centre.status()["north"].counts.erased >= 2)
            gallery.compact()
            turn_over(database)
            assert until(lambda: not any(traces().values())), traces()
            assert len(gallery.vehicles(thumbnails=False)) == 2


def test_who_is_removed_at_a_box_is_in_no_file_of_the_centre_whatever_that_made_of_the_messages(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(nats_in(folder))
        make_streams(server.url)
        database = stack.enter_context(postgres_server())
        database.start()
        place, now = database.new_place("erased"), time.time()
        file = centre_file(tmp_path, server, place, region='retention = "1h"\nnew_below = -0.9')
        centre = stack.enter_context(resolving(file))
        box = stack.enter_context(box_of(tmp_path / "g.db"))
        sender = Sender(settings_of(server.url), box)
        zebra, taxi = box.add_vehicle("zebra"), box.add_vehicle("taxi")
        box.add_sighting(taxi, passage(9, 1, now - 7300), 0.5)  # late
        wanted = dict[str, bytes]()
        for number, (what, vehicle, at) in enumerate(
            [("known", zebra, now), ("late", zebra, now - 7200), ("unknown", zebra, now + 20), ("split off", taxi, now + 40)], 1
        ):  # fmt: skip
            track = passage(number, 1, at)
            id_ = box.add_sighting(vehicle, track, 0.5)
            wanted[f"feature {what}"] = b64encode(track.feature.astype("<f2").tobytes())
            wanted[f"picture {what}"] = (box.sighting_picture(id_) or b"")[MIDDLE]
            if what == "unknown":  # its picture comes after its removal
                picture = box.sighting_picture(id_)
                sql(box, "DELETE FROM outbox WHERE what = 'picture' AND sighting = ?", id_)
        sender.send_all()
        unfit = Sent().sighting("box 0", 99, 9, now, vehicle=number_of(box.path, zebra), fingerprint="bbbbbbbb").message
        wanted["feature put aside"] = unfit.prototypes[0].encode()  # type: ignore[union-attr]
        with_client(
            server.url, lambda client: client.jetstream().publish(subject_of("north", "box 0", "gate"), as_bytes(unfit))
        )  # type: ignore[arg-type]

        def outcomes() -> Counts:
            return centre.status()["north"].counts

        assert until(lambda: outcomes().aside == 1)
        assert (outcomes().new, outcomes().late, outcomes().unknown) == (2, 2, 1)
        assert until(lambda: outcomes().pictures == 2)
        in_log = wanted.keys() - {f"picture {what}" for what in ("known", "split off", "unknown")}
        assert until(lambda: {what for what, files in found(folder, wanted).items() if files} == in_log)
        van = split(box, taxi, [id_], "van").vehicle
        for vehicle in (zebra, van):
            box.remove(vehicle)
        sender.send_all()  # the split is not among it
        assert until(lambda: outcomes().erased == 5), outcomes()
        assert not any(found(folder, wanted).values())

        def is_clean() -> bool:
            with edit_gallery(place) as gallery:
                gallery.compact()  # tables that are in use at this moment are passed over
            turn_over(database)
            return not any(found(database.folder, wanted).values())

        assert until(is_clean)
        assert picture is not None
        with_client(server.url, lambda client: put(client.jetstream(), picture))
        assert found(folder, wanted)["picture unknown"]
        assert until(lambda: not any(found(folder, wanted).values()))
        assert outcomes().pictures == 2
