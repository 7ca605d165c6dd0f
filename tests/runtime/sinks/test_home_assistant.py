"""Discovery by Home Assistant, and notices, through a real broker: what a late subscriber finds, and what templates make of it."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from made_outputs import sighted, started, until
from real_broker import broker_in, reader

from vreid.models.errors import Refused
from vreid.runtime.records import Notice
from vreid.runtime.run import run_session
from vreid.runtime.session import Session
from vreid.runtime.sinks.table import open_outputs

CAMERA = "Hof/Süd #1"
LEVEL = "Hof_Süd _1"
ONLINE = Notice("cameras", CAMERA, 1_760_000_000.0, {"state": "online", "fault": None}, keep=True)


def configs(got: list[tuple[str, bytes, bool]]) -> dict[str, dict[str, Any]]:
    return {topic: json.loads(body) for topic, body, _ in got if topic.startswith("homeassistant/")}


def shown(config: dict[str, Any], bodies: dict[str, bytes]) -> str:
    """What Home Assistant makes of the message at a configuration's topic; its templates are Jinja's."""
    value = json.loads(bodies[config["state_topic"]])
    return jinja2.Environment(autoescape=True).from_string(config["value_template"]).render(value_json=value)


def test_a_late_subscriber_finds_each_camera_with_its_state(tmp_path: Path) -> None:
    with broker_in(tmp_path, "allow_anonymous true") as broker:
        output = started(f"mqtt://127.0.0.1:{broker.port}/site/north?discovery=homeassistant")
        output.notice(ONLINE)
        output.notice(replace(ONLINE, fields={"state": "online", "fault": "black"}))
        output.sighting(*sighted(camera=CAMERA))
        sighting, match, trace = sighted(2, camera=CAMERA)
        output.sighting(sighting, replace(match, vehicle=8, name="taxi"), trace)
        output.sighting(*sighted(3, camera=CAMERA))
        output.notice(Notice("alerts", CAMERA, 1_760_000_001.0, {"watch": "wanted", "name": "taxi"}))
        assert until(
            lambda: output.status().waiting == 0 and output.status().sent == 13
        )  # 4 + 2 + 3 sightings twice + 1
        with reader(broker.port) as late:
            assert until(lambda: len(configs(late)) == 4 and len(late) >= 7)
        kept = {topic: body for topic, body, retained in late if retained}
        found = configs(late)
        output.close({})
    assert set(kept) == {*found, "site/north/status", f"site/north/cameras/{LEVEL}", f"site/north/today/{LEVEL}"}
    assert {topic.split("/")[1] + " " + topic.split("/")[3] for topic in found} == {
        "binary_sensor online", "sensor last_vehicle", "sensor vehicles_today", "binary_sensor alert"
    }  # fmt: skip
    assert len({config["unique_id"] for config in found.values()}) == 4
    for topic, config in found.items():
        assert topic.count("/") == 4 and topic.isascii() and config["availability_topic"] == "site/north/status"
        assert config["device"] == {
            "identifiers": [topic.split("/")[2]],
            "name": CAMERA,
            "manufacturer": "vreid",
            "model": "camera",
        }
    assert kept["site/north/status"] == b"online" == found[next(iter(found))]["payload_available"].encode()
    by_key = {topic.split("/")[3]: config for topic, config in found.items()}
    assert shown(by_key["online"], kept) == "ON" and shown(by_key["vehicles_today"], kept) == "2"
    assert json.loads(kept[f"site/north/cameras/{LEVEL}"])["fault"] == "black"
    assert json.loads(kept[f"site/north/today/{LEVEL}"])["sightings"] == 3


def test_templates_read_what_is_sent(tmp_path: Path) -> None:
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port) as got:
        output = started(f"mqtt://127.0.0.1:{broker.port}/site?discovery=homeassistant")
        output.notice(ONLINE)
        output.notice(replace(ONLINE, fields={"state": "stalled", "fault": None}))
        output.sighting(*sighted(camera=CAMERA))
        output.notice(Notice("alerts", CAMERA, 1_760_000_001.0, {"watch": "wanted"}))
        assert until(lambda: any(topic.startswith("site/alerts/") for topic, _, _ in got))
        output.close({})
    bodies = {topic: body for topic, body, _ in got}  # the last of each
    by_key = {topic.split("/")[3]: config for topic, config in configs(got).items()}
    said = {key: shown(config, bodies) for key, config in by_key.items()}
    assert said == {"online": "OFF", "last_vehicle": "blue van", "vehicles_today": "1", "alert": "ON"}
    assert by_key["alert"]["off_delay"] == 60
    alert = json.loads(bodies[f"site/alerts/{LEVEL}"])
    assert (alert["event"], alert["watch"], alert["camera"]) == ("alert", "wanted", CAMERA)


def test_cameras_of_like_names_differ_and_the_day_begins_anew(tmp_path: Path) -> None:
    pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    from vreid.runtime.sinks.home_assistant import HomeAssistant, configurations

    ids = {config["unique_id"] for camera in ("a_b", "a b", "a#b") for config in configurations("x", camera).values()}
    assert len(ids) == 12
    home = HomeAssistant("x")
    assert len(home.announced("gate")) == 4 and home.announced("gate") == []
    sighting, match, _ = sighted()
    bodies = [
        json.loads(home.counted(one, known).body)
        for one, known in (
            (sighting, match), (sighting, match), (sighting, replace(match, vehicle=None)),
            (replace(sighting, seen=sighting.seen + 86400), match),
        )
    ]  # fmt: skip
    assert [(body["vehicles"], body["sightings"]) for body in bodies] == [(1, 1), (1, 2), (1, 3), (1, 1)]


def test_discovery_is_of_mqtt_and_needs_notices() -> None:
    pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    for uri, sentence in (
        ("mqtt://host/x?discovery=openhab", "write discovery=homeassistant"),
        ("mqtt://host/x?discovery=homeassistant&notices=0", "leave notices=0 out"),
        ("http://host/x#discovery=homeassistant", "no option 'discovery'"),
    ):
        with pytest.raises(Refused, match=sentence):
            open_outputs([uri])


def test_a_live_run_says_which_cameras_are_there(
    tmp_path: Path, film: Callable[..., Path], tiny_model: Path, device: Callable[[Path], str]
) -> None:
    video, stop = film(tmp_path / "one.avi", [((0, 0, 255), 0, 20)]), threading.Event()
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port) as got:
        to = (f"mqtt://127.0.0.1:{broker.port}/site?discovery=homeassistant",)
        session = Session(
            sources=(f"gate={device(video)}",), model=tiny_model, out=tmp_path / "out", enrol_unknown=True, to=to
        )

        def until_said(frames: int) -> None:
            if any(topic.startswith("site/cameras/") for topic, _, _ in got):
                stop.set()

        run_session(session, stop, until_said)
        assert until(lambda: got[-1][0] == "site/status" and got[-1][1] == b"offline")
    states = [json.loads(body) for topic, body, _ in got if topic == "site/cameras/gate"]
    assert states[0]["event"] == "camera" and states[0]["state"] == "online" and states[0]["run"] == "out"
    assert len(configs(got)) == 4
