"""A vehicle that people remove at a centre is in no file any more: database, log, object store, boxes."""

from base64 import b64encode
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from made_centre import box_of, centre_file, looks, passage, resolving, settings_of
from made_gallery import noise
from made_outputs import until
from real_nats import make_streams, nats_in
from real_postgres import postgres_server
from traces import found, turn_over

from vreid.fleet.sender import Sender
from vreid.runtime.gallery import Gallery, edit_gallery
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
