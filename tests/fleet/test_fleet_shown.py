"""What the command line shows of a centre's answers."""

from pathlib import Path

import pytest
from gallery_verbs import document
from made_box import box_in, identity, said_to, settings, written
from real_nats import make_streams, nats_in

from vreid.cli.main import main
from vreid.fleet.sender import Sender


def test_lists_show_who_a_vehicle_is_at_the_centre(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "g.db"
    with nats_in(tmp_path) as server, box_in(path) as gallery:
        make_streams(server.url)
        gallery.add_vehicle("unseen")
        ids = [written(gallery, track=track) for track in range(3)]
        assert main(["gallery", "list", "--gallery", str(path)]) == 0
        assert "at the centre" not in capsys.readouterr().out
        said_to(server.url, "box 1", path, identity(ids[0], 13), identity(ids[1], 12, "taxi"))
        assert Sender(settings(server), gallery).send_all().received == 2
    assert main(["gallery", "list", "--gallery", str(path)]) == 0
    listed = capsys.readouterr().out
    assert "at the centre" in listed and "north:12 taxi and 1 other" in listed
    assert main(["gallery", "show", "1", "--gallery", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "at the centre north:12 taxi and 1 other" in shown and "north:13 car 13" in shown
    rows = document(capsys, "list", "--gallery", path)["vehicles"]
    taxi = {"region": "north", "vehicle": 12, "name": "taxi"}
    assert [row["centre"] for row in rows] == [{**taxi, "different": 2}, None]
    one = document(capsys, "show", "1", "--gallery", path)
    assert one["vehicle"]["centre"] == {**taxi, "different": 2}
    assert [row["centre"] for row in one["sightings"]][1:] == [taxi, None]
    assert main(["fleet", "show", "--gallery", str(path)]) == 0
    assert (
        "2 sightings have an identity of the centre, 1 none yet; the centre was last heard 20"
        in capsys.readouterr().out
    )
    assert main(["fleet", "show", "--gallery", str(path), "--json"]) == 0
    assert '"known": 2' in capsys.readouterr().out.replace("\n", " ")
