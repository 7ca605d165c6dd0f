"""MQTT against a real broker that dies and returns."""

import json
import logging
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress

import pytest
from made_outputs import all_started, sighted, started, until
from real_broker import broker_in, reader

from vreid.runtime.sinks.jsonl import sighting_fields


def tracks_of(got):
    return [json.loads(payload)["track"] for topic, payload, _ in got if "/sightings/" in topic]


def test_a_broker_gets_a_topic_a_camera_and_keeps_the_status(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port) as got:
        output = started(f"mqtt://127.0.0.1:{broker.port}/site/north?retain=1&picture=1", "night")
        assert until(lambda: ("site/north/status", b"online", False) in got)
        output.sighting(*sighted(camera="gate/+#1"))
        assert until(lambda: output.status().sent == 1)
        output.close({})
        assert until(lambda: len(got) == 3)
        assert [topic for topic, _, _ in got] == [
            "site/north/status",
            "site/north/sightings/gate___1",
            "site/north/status",
        ]
        line = json.loads(got[1][1])
        assert (
            sighting_fields(*sighted(camera="gate/+#1")).items() <= line.items()
            and line["run"] == "night"
            and line["picture"]
        )
        assert got[2][1] == b"offline"
        got.clear()
        with reader(broker.port) as late:  # a second reader of the same name takes the place of the first
            assert until(lambda: len(late) >= 2)
            assert ("site/north/status", b"offline", True) in late and any("sightings" in topic for topic, _, _ in late)


def test_a_broker_that_dies_and_returns_gets_every_sighting(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port, "site/sightings/#") as got:
        output = started(f"mqtt://127.0.0.1:{broker.port}/site")
        for track in range(600):  # if one of them waited for the broker it would wait for ever: who starts it again?
            output.sighting(*sighted(track))
            if track == 200:
                broker.stop()
            if track == 400:
                assert until(lambda: not output.status().alive)
                broker.start()
            time.sleep(0.001)
        assert until(lambda: output.status().sent == 600) and until(lambda: set(tracks_of(got)) == set(range(600)))
        output.close({})
    status = output.status()
    assert (status.dropped, status.failed, status.waiting) == (0, 0, 0) and status.retries > 0


class Cable:
    """Between us and a broker: passes some bytes on, then is torn, again and again, the last one holds."""

    def __init__(self, port, lengths):
        self._to, self._lengths = port, list(lengths)
        self.torn = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            length = self._lengths.pop(0) if self._lengths else 1 << 40
            for pair in ((near, far, length), (far, near, 1 << 40)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, one, other, left):
        try:
            while left > 0 and (some := one.recv(min(4096, left))):
                other.sendall(some)
                left -= len(some)
        except OSError:
            pass
        self.torn += left == 0
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self._listener.close()


def test_a_cable_that_is_torn_in_the_middle_of_messages_loses_none(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port, "site/sightings/#") as got:
        cable = Cable(broker.port, (5, 700, 3000, 7777))
        output = started(f"mqtt://127.0.0.1:{cable.port}/site")
        for track in range(100):
            output.sighting(*sighted(track))
        assert until(lambda: output.status().sent == 100) and until(lambda: set(tracks_of(got)) == set(range(100)))
        output.close({})
        cable.close()
    ids = {json.loads(payload)["id"] for _, payload, _ in got}
    assert cable.torn == 4 and len(ids) == 100 and output.status().dropped == 0


def test_the_broker_reports_the_loss_of_a_run(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port, "site/status") as got:
        cable = Cable(broker.port, (400,))
        output = started(f"mqtt://127.0.0.1:{cable.port}/site")
        assert until(lambda: got[-1:] == [("site/status", b"online", False)])
        output.sighting(*sighted())  # which tears the cable
        assert until(lambda: ("site/status", b"offline", False) in got)
        assert until(lambda: got[-1][1] == b"online" and output.status().sent == 1)
        output.close({})
        cable.close()


def test_wrong_credentials_are_said_once_and_never_shown(tmp_path, caplog):
    words = tmp_path / "words"
    if (maker := shutil.which("mosquitto_passwd")) is None:
        pytest.skip("there is no mosquitto_passwd: apt-get install mosquitto")
    subprocess.run([maker, "-b", "-c", words, "me", "se/cret"], check=True, capture_output=True)
    with broker_in(tmp_path, "allow_anonymous false", f"password_file {words}") as broker:
        right = started(f"mqtt://me:se%2Fcret@127.0.0.1:{broker.port}/site")
        wrong = started(f"mqtt://me:another-word@127.0.0.1:{broker.port}/site", flush_s=0.2)
        for output in (right, wrong):
            output.sighting(*sighted())
        assert until(lambda: right.status().sent == 1 and wrong.status().retries >= 2)
        assert not wrong.status().alive and wrong.status().sent == 0
        for output in (right, wrong):
            output.close({})
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in said if "refuses the connection (Not authorized)" in line]) == 1
    assert not any(word in line for line in said for word in ("another-word", "cret"))
    assert wrong.name == f"mqtt://127.0.0.1:{broker.port}"


def test_a_broker_behind_tls(tmp_path, certificate):
    cert, key = certificate
    lines = ("allow_anonymous true", f"certfile {cert}", f"keyfile {key}")
    with broker_in(tmp_path, *lines, persistent=False) as broker:
        uri = f"mqtts://127.0.0.1:{broker.port}/site"
        trusting, wary = all_started([f"{uri}?ca={cert}", uri], flush_s=0.2)
        for output in (trusting, wary):
            output.sighting(*sighted())
        assert until(lambda: trusting.status().sent == 1 and not wary.status().alive)
        for output in (trusting, wary):
            output.close({})
