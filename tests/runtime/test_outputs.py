"""Ways out against what stands at their other end: a real broker that dies and returns, a real web server that fails."""

import base64
import http.server
import json
import logging
import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.records import Match, Sighting, Trace
from vreid.runtime.sinks import webhook
from vreid.runtime.sinks.jsonl import fields_of
from vreid.runtime.sinks.outlet_address import outlet_address_of
from vreid.runtime.sinks.outputs import OUTLETS, open_outlets

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")


def told(track=1, camera="gate", vehicle=7):
    """A sighting, its decision and its way."""
    picture = np.random.default_rng(track).integers(0, 256, (240, 90, 3), dtype=np.uint8)
    feature = np.ones(4, np.float32) / 2
    sighting = Sighting(
        camera, track, 0, 9, 0.0, 0.9, 2, feature, 3, 0.5, picture, seen=1_760_000_000.1234, plate="B-XY 12"
    )
    boxes = np.tile(np.float32([10, 20, 50, 40]), (10, 1))
    return sighting, Match(vehicle, "blue van", 0.8, True), Trace(np.arange(10), boxes, np.full(10, 0.9, np.float32))


def until(condition, seconds=60.0):
    """Whether `condition` came true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- addresses ---


def all_started(uris, run="run", flush_s=5.0):
    outputs = open_outlets(uris, run, flush_s)
    for output in outputs:
        output.start()
    return outputs


def started(uri, run="run", flush_s=5.0):
    return all_started([uri], run, flush_s)[0]


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("kafka://host/topic", "choose one of: http://, https://, mqtt://, mqtts://"),
        ("gate", "choose one of: http://"),
        ("mqtt:///topic", "names no host"),
        ("mqtt://host:port/topic", "is not a URI"),
        ("mqtt://host:99999/topic", "is not a URI"),
        ("mqtt://a..b/topic", "is not a URI"),
        ("mqtt://me:se/cret@host/topic", "write it as %40, and a password's '/' as %2F"),
        ("mqtt://me:a secret@ho st:x/topic", "is not a URI"),
        ("mqtt://me:secret@host/site/#", "'#'"),
        ("mqtt://me:secret@host/site/+", "only a reader's may"),
        ("mqtt://me:secret@host/site?qos=2", "qos=2 is not known; write qos=0 or 1"),
        ("mqtt://me:secret@host/site?quality=1", "no option 'quality'"),
        ("mqtt://me:secret@host/site?qos", "cannot be read"),
        ("mqtt://me:secret@host/site?room=0", "no number of messages"),
        ("mqtt://me:secret@host/site?picture=yes", "write picture=0 or 1"),
        ("mqtts://me:secret@host/site?ca=/nowhere.pem", "names no such PEM file"),
        ("https://me:secret@host/path#qos=1", "no option 'qos'; choose one of: ca, cert, key, picture, room"),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_in_a_sentence_without_its_password(uri, sentence):
    if uri.startswith("mqtt"):
        pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    with pytest.raises(Refused, match=sentence.replace("+", r"\+")) as refused:
        open_outlets([uri])
    assert "secret" not in str(refused.value) and "cret" not in str(refused.value) and "\n" not in str(refused.value)


def test_what_may_be_shown_of_an_address_has_no_secrets():
    address = outlet_address_of("https://me:se%2Fcret@Host:8443/services/T0/token?key=word#picture=1", OUTLETS)
    assert (address.user, address.password, address.query) == ("me", "se/cret", "key=word")
    assert address.name == "https://host:8443" and address.options == {"picture": "1"}
    assert not any(word in repr(address) for word in ("cret", "token", "word"))


def test_every_member_of_the_seam_opens():
    for scheme in OUTLETS:
        try:
            assert callable(open_seam("way out", OUTLETS, scheme, "live"))
        except Refused as refused:
            assert "pip install 'vreid[live]'" in str(refused)


# --- webhooks ---


class Hook(http.server.ThreadingHTTPServer):
    """A web server: answers with `answers`, one after the other, then 200; a number is a status, text a way to behave."""

    daemon_threads = True

    def __init__(self, answers=(), port=0, context=None):
        self.answers, self.got, self.headers = list(answers), [], []
        self.free, self.ended = threading.Event(), threading.Semaphore(0)  # for the slow answer; connections that ended
        self.holding = threading.Event()  # a request is here and has no answer yet
        super().__init__(("127.0.0.1", port), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        pass

    def __exit__(self, *_):
        self.free.set()
        self.shutdown()
        self.thread.join()
        self.server_close()

    @property
    def port(self):
        return self.server_address[1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if answer == "slow":
            self.server.free.wait(60)
            self.close_connection = True
            return
        if answer == "hold":
            self.server.holding.set()
            answer = 200 if self.server.free.wait(60) else 500
        if answer == "hang up":
            self.close_connection = True
            return
        if answer == 200:
            self.server.got.append(json.loads(body))
            self.server.headers.append((self.path, dict(self.headers)))
        self.send_response(answer)
        if answer == 307:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def test_a_webhook_is_told_the_line_of_the_file_and_more():
    with Hook() as hook:
        outlet = started(f"http://me:w%40rd@127.0.0.1:{hook.port}/a%20b/ü?key=x#picture=1", "night")
        outlet.sighting(*told())
        outlet.close({})
    (got,), ((path, headers),) = hook.got, hook.headers
    assert path == "/a%20b/%C3%BC?key=x" and headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:w@rd"
    assert fields_of(*told()).items() <= got.items()
    assert (got["event"], got["run"], got["seen"], got["plate"]) == ("sighting", "night", 1_760_000_000.123, "B-XY 12")
    thumbnail = cv2.imdecode(np.frombuffer(base64.b64decode(got["picture"]), np.uint8), cv2.IMREAD_COLOR)
    assert thumbnail.shape == (160, 60, 3)


def test_a_server_that_fails_for_a_while_gets_every_sighting_once_it_works(caplog):
    with Hook([500, 503, 200, 429, 200, "hang up", "hang up"]) as hook:
        outlet = started(f"http://127.0.0.1:{hook.port}/")
        for track in range(4):
            outlet.sighting(*told(track))
        assert until(lambda: outlet.status().sent == 4)
        outlet.close({})
    assert [got["track"] for got in hook.got] == [0, 1, 2, 3]
    status = outlet.status()
    assert (status.failed, status.dropped) == (0, 0) and 3 <= status.retries <= 5
    assert len({got["id"] for got in hook.got}) == 4


@pytest.mark.parametrize("answer", [400, 401, 404, 307])
def test_what_the_server_will_never_take_is_given_up_and_said_once(answer, caplog):
    with Hook([answer, answer]) as hook:
        outlet = started(f"http://me:secret@127.0.0.1:{hook.port}/token")
        for track in range(3):
            outlet.sighting(*told(track))
        outlet.close({})
    assert [got["track"] for got in hook.got] == [2]  # and a redirect is not followed
    assert (outlet.status().failed, outlet.status().sent, outlet.status().retries) == (2, 1, 0)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and f"answers {answer}" in said[0] and "secret" not in said[0] and "token" not in said[0]


def test_a_slow_server_is_left_and_tried_again(monkeypatch):
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 0.2)
    with Hook(["slow"]) as hook:
        outlet = started(f"http://127.0.0.1:{hook.port}/")
        outlet.sighting(*told())
        assert until(lambda: outlet.status().sent == 1) and outlet.status().retries >= 1
        outlet.close({})


def test_a_sighting_does_not_wait_for_the_server_to_answer():
    with Hook(["hold"]) as hook:
        outlet = started(f"http://127.0.0.1:{hook.port}/")
        outlet.sighting(*told(1))
        assert hook.holding.wait(60)  # the first is at the server, which answers only when it is let go
        for track in range(2, 20):
            outlet.sighting(*told(track))  # would wait for ever
        assert outlet.status().sent == 0 and hook.got == [] and not hook.free.is_set()
        hook.free.set()
        assert until(lambda: outlet.status().sent == 19)
        outlet.close({})
    assert [got["track"] for got in hook.got] == list(range(1, 20)) and outlet.status().retries == 0


def test_a_server_that_is_not_there_yet_is_no_refusal():
    port = free_port()
    outlet = started(f"http://127.0.0.1:{port}/")
    outlet.sighting(*told())
    assert until(lambda: not outlet.status().alive) and outlet.status().waiting == 1
    with Hook(port=port) as hook:
        assert until(lambda: outlet.status().alive and outlet.status().sent == 1)
        outlet.close({})
    assert len(hook.got) == 1


def test_an_idle_connection_that_the_server_ended_is_no_failure():
    class Impatient(Handler):
        timeout = 0.1

        def finish(self):
            super().finish()
            self.connection.close()
            self.server.ended.release()

    with Hook() as hook:
        hook.RequestHandlerClass = Impatient
        outlet = started(f"http://127.0.0.1:{hook.port}/")
        for track in (1, 2):
            outlet.sighting(*told(track))
            assert until(lambda: outlet.status().sent == track)  # noqa: B023
            assert hook.ended.acquire(timeout=60)
        outlet.close({})
    assert outlet.status().retries == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs the program openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {cert}"
    about = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *about], check=True, capture_output=True)
    return cert, key


def test_a_certificate_must_hold(certificate, caplog):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Hook(context=context) as hook:
        uri = f"https://127.0.0.1:{hook.port}/"
        trusting, wary = all_started([f"{uri}#ca={certificate[0]}", uri], flush_s=0.2)
        assert (trusting.name, wary.name) == (uri.rstrip("/"), uri.rstrip("/") + "#2")
        for outlet in (trusting, wary):
            outlet.sighting(*told())
        assert until(lambda: trusting.status().sent == 1 and not wary.status().alive)
        for outlet in (trusting, wary):
            outlet.close({})
    assert len(hook.got) == 1 and any("CERTIFICATE_VERIFY_FAILED" in record.getMessage() for record in caplog.records)


# --- MQTT ---


class Broker:
    """Mosquitto on a loopback port; what it was given outlives it."""

    def __init__(self, folder, *lines, persistent=True):
        self.port, self._process = free_port(), None
        self._file = folder / "mosquitto.conf"
        settings = ["user root", "log_dest none", "max_queued_messages 0", f"listener {self.port} 127.0.0.1"]
        if persistent:
            settings += ["persistence true", f"persistence_location {folder}/"]
        self._file.write_text("\n".join([*settings, *lines, ""]))
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", self._file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert until(self._answers), "mosquitto did not start"

    def stop(self):
        self._process.terminate()
        self._process.wait(10)

    def _answers(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def broker_in(folder, *lines, **more):
    pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    if MOSQUITTO is None:
        pytest.skip("there is no broker: apt-get install mosquitto")
    broker = Broker(folder, *lines, **more)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def reader(port, topic="#"):
    """A subscriber that the broker knows again -> (topic, payload, retained) as they come."""
    from paho.mqtt import client as mqtt

    got, ready = [], threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "reader", clean_session=False)
    client.reconnect_delay_set(0.1, 0.2)
    client.on_connect = lambda *_: client.subscribe(topic, 1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _, __, message: got.append((message.topic, message.payload, message.retain))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(60)
    try:
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


def tracks_of(got):
    return [json.loads(payload)["track"] for topic, payload, _ in got if "/sightings/" in topic]


def test_a_broker_is_told_by_camera_and_keeps_whether_we_live(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port) as got:
        outlet = started(f"mqtt://127.0.0.1:{broker.port}/site/north?retain=1&picture=1", "night")
        assert until(lambda: ("site/north/status", b"online", False) in got)
        outlet.sighting(*told(camera="gate/+#1"))
        assert until(lambda: outlet.status().sent == 1)
        outlet.close({})
        assert until(lambda: len(got) == 3)
        assert [topic for topic, _, _ in got] == [
            "site/north/status",
            "site/north/sightings/gate___1",
            "site/north/status",
        ]
        line = json.loads(got[1][1])
        assert (
            fields_of(*told(camera="gate/+#1")).items() <= line.items() and line["run"] == "night" and line["picture"]
        )
        assert got[2][1] == b"offline"
        got.clear()
        with reader(broker.port) as late:  # a second reader of the same name takes the place of the first
            assert until(lambda: len(late) >= 2)
            assert ("site/north/status", b"offline", True) in late and any("sightings" in topic for topic, _, _ in late)


def test_a_broker_that_dies_and_returns_gets_every_sighting(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port, "site/sightings/#") as got:
        outlet = started(f"mqtt://127.0.0.1:{broker.port}/site")
        for track in range(600):  # if one of them waited for the broker it would wait for ever: who starts it again?
            outlet.sighting(*told(track))
            if track == 200:
                broker.stop()
            if track == 400:
                assert until(lambda: not outlet.status().alive)
                broker.start()
            time.sleep(0.001)
        assert until(lambda: outlet.status().sent == 600) and until(lambda: set(tracks_of(got)) == set(range(600)))
        outlet.close({})
    status = outlet.status()
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
        outlet = started(f"mqtt://127.0.0.1:{cable.port}/site")
        for track in range(100):
            outlet.sighting(*told(track))
        assert until(lambda: outlet.status().sent == 100) and until(lambda: set(tracks_of(got)) == set(range(100)))
        outlet.close({})
        cable.close()
    ids = {json.loads(payload)["id"] for _, payload, _ in got}
    assert cable.torn == 4 and len(ids) == 100 and outlet.status().dropped == 0


def test_our_death_is_told_by_the_broker(tmp_path):
    with broker_in(tmp_path, "allow_anonymous true") as broker, reader(broker.port, "site/status") as got:
        cable = Cable(broker.port, (400,))
        outlet = started(f"mqtt://127.0.0.1:{cable.port}/site")
        assert until(lambda: got[-1:] == [("site/status", b"online", False)])
        outlet.sighting(*told())  # which tears the cable
        assert until(lambda: ("site/status", b"offline", False) in got)
        assert until(lambda: got[-1][1] == b"online" and outlet.status().sent == 1)
        outlet.close({})
        cable.close()


def test_wrong_credentials_are_said_once_and_never_shown(tmp_path, caplog):
    words = tmp_path / "words"
    if (maker := shutil.which("mosquitto_passwd")) is None:
        pytest.skip("there is no mosquitto_passwd: apt-get install mosquitto")
    subprocess.run([maker, "-b", "-c", words, "me", "se/cret"], check=True, capture_output=True)
    with broker_in(tmp_path, "allow_anonymous false", f"password_file {words}") as broker:
        right = started(f"mqtt://me:se%2Fcret@127.0.0.1:{broker.port}/site")
        wrong = started(f"mqtt://me:another-word@127.0.0.1:{broker.port}/site", flush_s=0.2)
        for outlet in (right, wrong):
            outlet.sighting(*told())
        assert until(lambda: right.status().sent == 1 and wrong.status().retries >= 2)
        assert not wrong.status().alive and wrong.status().sent == 0
        for outlet in (right, wrong):
            outlet.close({})
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in said if "refuses us (Not authorized)" in line]) == 1
    assert not any(word in line for line in said for word in ("another-word", "cret"))
    assert wrong.name == f"mqtt://127.0.0.1:{broker.port}"


def test_a_broker_behind_tls(tmp_path, certificate):
    cert, key = certificate
    lines = ("allow_anonymous true", f"certfile {cert}", f"keyfile {key}")
    with broker_in(tmp_path, *lines, persistent=False) as broker:
        uri = f"mqtts://127.0.0.1:{broker.port}/site"
        trusting, wary = all_started([f"{uri}?ca={cert}", uri], flush_s=0.2)
        for outlet in (trusting, wary):
            outlet.sighting(*told())
        assert until(lambda: trusting.status().sent == 1 and not wary.status().alive)
        for outlet in (trusting, wary):
            outlet.close({})


def test_a_listener_that_is_no_broker_is_sought_on_and_on(monkeypatch):
    pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    monkeypatch.setattr("vreid.runtime.sinks.mqtt._CONNECT_S", 0.2)
    with Hook() as hook:
        outlet = started(f"mqtt://127.0.0.1:{hook.port}/site", flush_s=0.2)
        outlet.sighting(*told())
        assert until(lambda: outlet.status().retries >= 1)
        outlet.close({})
    assert (outlet.status().dropped, outlet.status().alive) == (1, False)
