"""`vreid run` with [fleet]: a live site sends as it goes, and says so; over files `vreid fleet send` does; what is refused."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from live_run import run_during, until
from made_box import number_of, numbers_of
from made_gallery import opened
from made_outputs import free_port
from real_nats import make_streams, nats_in, pictures_in, stored_in

from vreid.cli.main import main
from vreid.fleet.messages import read_message
from vreid.models.errors import Refused
from vreid.runtime.gallery import read_gallery
from vreid.runtime.site.read import read_site

SECRET = "hush-8"


def site_in(folder: Path, model: Path, source: str, server: str, more: str = "") -> Path:
    """The file of a site of one camera with a centre."""
    file = folder / "site.toml"
    file.write_text(
        f'model = "{model}"\n[gallery]\nfile = "known.db"\nenrol_unknown = true\n[outputs]\nfolder = "out"\n'
        f'[fleet]\nbox = "Kreuzung 7"\nregion = "nord"\nserver = "{server}"\n{more}\n[camera."門 1"]\nuri = "{source}"\n',
        encoding="utf-8",
    )
    return file


def sightings(path: Path) -> set[int]:
    with read_gallery(path) as gallery:
        return {one.id for one in gallery.latest_sightings(limit=10_000)}


def test_a_live_run_sends_as_it_goes_and_shows_the_lag(
    tmp_path: Path, colour_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("prometheus_client", reason="metrics need prometheus_client: pip install 'vreid[live]'")
    port, seen = free_port(), dict[str, Any]()
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        source = "synth://city?camera=1&seed=7&fps=10&live=1"
        file = site_in(tmp_path, colour_model, source, server.url, f"[metrics]\nlisten = {port}")

        def page(path: str) -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return str(answer.read().decode())

        def steps() -> None:
            until(lambda: len(stored_in(server.url)) >= 3)
            until(lambda: json.loads(page("/healthz"))["fleet"]["Kreuzung 7"]["alive"])
            seen["metrics"], seen["health"] = page("/metrics"), json.loads(page("/healthz"))
            server.stop()
            before = sightings(tmp_path / "known.db")
            until(lambda: len(sightings(tmp_path / "known.db")) > len(before))  # the run does not wait

        run_during(steps, ["run", str(file)])
        server.start()
        capfd.readouterr()
        assert main(["fleet", "show", str(file), "--json"]) == 0
        waiting = json.loads(capfd.readouterr().out)
        assert waiting["messages"] == len(waiting["waiting"]) > 0 and waiting["waiting"][0]["camera"] == "門 1"
        assert main(["fleet", "send", str(file)]) == 0
        assert "nothing waits" in capfd.readouterr().out
        stored = [read_message(each.body) for each in stored_in(server.url)]
        numbers = numbers_of(stored_in(server.url), "Kreuzung 7")
        assert pictures_in(server.url)
    assert numbers == sorted(set(numbers)) and {one.sighting for one in stored} == {  # type: ignore[union-attr]
        number_of(tmp_path / "known.db", id_) for id_ in sightings(tmp_path / "known.db")
    }
    assert 'vreid_fleet_up{box="Kreuzung 7"} 1.0' in seen["metrics"]
    assert 'vreid_fleet_lag_seconds{box="Kreuzung 7"}' in seen["metrics"]
    assert seen["health"]["fleet"]["Kreuzung 7"]["sent"] >= 3 and seen["health"]["healthy"]


def test_a_run_over_files_writes_the_outbox_and_send_sends_it(
    tmp_path: Path, colour_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["synth", "city", "--out", str(tmp_path / "v"), "--vehicles", "3", "--cameras", "1", "--seconds", "12"])
        == 0
    )
    (video,) = sorted((tmp_path / "v").rglob("*.mp4"))
    with nats_in(tmp_path) as server:
        make_streams(server.url)
        file = site_in(tmp_path, colour_model, str(video), server.url)
        assert main(["run", str(file)]) == 0
        assert "vreid fleet send" in capfd.readouterr().err and stored_in(server.url) == []
        assert main(["fleet", "send", str(file)]) == 0
        assert len(stored_in(server.url)) == len(sightings(tmp_path / "known.db")) > 0
        server.stop()
        assert main(["fleet", "send", str(file)]) == 2
        assert "cannot be reached" in capfd.readouterr().err


def test_what_is_wrong_with_fleet_in_a_site_is_said_and_no_secret_is(
    tmp_path: Path, colour_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = site_in(tmp_path, colour_model, "synth://city?camera=1", f"nats://me:{SECRET}@127.0.0.1:1").read_text()
    site = read_site(tmp_path / "site.toml", {})
    assert site.fleet is not None and SECRET in site.fleet.server and SECRET not in repr(site)
    for old, new, reason in (
        ("nats://", "http://", "neither nats://HOST:PORT nor tls://HOST:PORT"),
        ("[fleet]", '[fleet]\nca = "no.pem"', "there is no file"),
        ("[fleet]", '[fleet]\nroom = "2"', "is not a size"),
        ('region = "nord"', "", "lacks 'region'"),
        ('file = "known.db"', "", "which needs \\[gallery\\] file"),
        ('file = "known.db"', 'file = "postgresql://ann@db/city"', "one in a database has no outbox"),
    ):
        (tmp_path / "site.toml").write_text(good.replace(old, new))
        with pytest.raises(Refused, match=reason) as refused:
            read_site(tmp_path / "site.toml", {})
        assert SECRET not in str(refused.value)
    (tmp_path / "site.toml").write_text(good)
    assert main(["site", "check", str(tmp_path / "site.toml")]) == 0
    assert main(["site", "check", str(tmp_path / "site.toml"), "--connect"]) == 1
    assert "[fleet]: nats://127.0.0.1:1: it cannot be reached" in capfd.readouterr().out.replace("\n", " ")
    with opened(tmp_path / "known.db"):
        pass
    assert main(["fleet", "send", str(tmp_path / "site.toml")]) == 2
    assert main(["fleet", "show", "--gallery", str(tmp_path / "known.db")]) == 2
    assert main(["fleet", "show"]) == 2
    said = capfd.readouterr()
    assert said.err.count("has no outbox") == 2 and SECRET not in said.out + said.err
