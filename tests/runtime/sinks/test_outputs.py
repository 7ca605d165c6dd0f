"""Outputs against what stands at their other end: a real broker that dies and returns, a real web server that fails."""

import base64
import http.server
import json
import logging
import ssl
import threading

import cv2
import numpy as np
import pytest
from made_outputs import all_started, free_port, sighted, started, until

from vreid.models.errors import Refused
from vreid.models.seam import open_seam
from vreid.runtime.records import Notice, TrackEvent
from vreid.runtime.sinks import webhook
from vreid.runtime.sinks.jsonl import sighting_fields
from vreid.runtime.sinks.table import OUTPUTS, open_outputs, output_address_of

# --- addresses ---


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
        ("mqtt://me:secret@host/site?room=0", "not a number of messages"),
        ("mqtt://me:secret@host/site?picture=yes", "write picture=0 or 1"),
        ("mqtts://me:secret@host/site?ca=/nowhere.pem", "names no such PEM file"),
        (
            "https://me:secret@host/path#qos=1",
            "no option 'qos'; choose one of: ca, cert, events, key, notices, picture, room",
        ),
    ],
)
def test_an_address_that_cannot_be_read_is_refused_in_a_sentence_without_its_password(uri, sentence):
    if uri.startswith("mqtt"):
        pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    with pytest.raises(Refused, match=sentence.replace("+", r"\+")) as refused:
        open_outputs([uri])
    assert "secret" not in str(refused.value) and "cret" not in str(refused.value) and "\n" not in str(refused.value)


def test_what_may_be_shown_of_an_address_has_no_secrets():
    address = output_address_of("https://me:se%2Fcret@Host:8443/services/T0/token?key=word#picture=1", OUTPUTS)
    assert (address.user, address.password, address.query) == ("me", "se/cret", "key=word")
    assert address.name == "https://host:8443" and address.options == {"picture": "1"}
    assert not any(word in repr(address) for word in ("cret", "token", "word"))


def test_every_member_of_the_seam_opens():
    for scheme in OUTPUTS:
        try:
            assert callable(open_seam("output", OUTPUTS, scheme, "live"))
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


def test_an_output_gets_the_events_of_tracks_only_where_it_asks_and_in_order():
    sighting, match, trace = sighted()
    with Hook(answers=[503]) as hook:
        output, plain = all_started([f"http://127.0.0.1:{hook.port}/#events=1", f"http://127.0.0.1:{hook.port}/"])
        assert (output.follows, plain.follows) == (True, False)
        for state in ("appeared", "identified", "left"):
            output.event(TrackEvent("1/gate/1", state, sighting, match, trace.boxes[-1], state == "left"))
        output.sighting(sighting, match, trace)
        output.close({})
        plain.close({})
    assert [(got["event"], got.get("state")) for got in hook.got] == [
        ("track", "appeared"), ("track", "identified"), ("track", "left"), ("sighting", None)
    ]  # fmt: skip
    event = hook.got[1]
    assert (event["key"], event["vehicle"], event["name"], event["final"]) == ("1/gate/1", 7, "blue van", False)
    assert event["box"] == [10, 20, 50, 40] and event["seen"] == 1_760_000_000.123 and event["time"] == 0.9


def test_an_output_gets_notices_unless_it_says_no():
    with Hook() as hook:
        outputs = all_started([f"http://127.0.0.1:{hook.port}/", f"http://127.0.0.1:{hook.port}/#notices=0"], "night")
        for output in outputs:
            output.notice(
                Notice("alarms", "gate", 1_760_000_000.25, {"state": "begun", "new": 48, "limit": 20, "time": 9.5})
            )
            output.sighting(*sighted())
            output.close({})
    lines = hook.got
    assert [line["event"] for line in lines] == ["alarm", "sighting", "sighting"]
    assert len(lines[0].pop("id")) == 32 and lines[0] == {
        "event": "alarm", "run": "night", "camera": "gate", "seen": 1_760_000_000.25,
        "state": "begun", "new": 48, "limit": 20, "time": 9.5,
    }  # fmt: skip


def test_a_webhook_gets_the_line_of_the_file_and_more():
    with Hook() as hook:
        output = started(f"http://me:w%40rd@127.0.0.1:{hook.port}/a%20b/ü?key=x#picture=1", "night")
        output.sighting(*sighted())
        output.close({})
    (got,), ((path, headers),) = hook.got, hook.headers
    assert path == "/a%20b/%C3%BC?key=x" and headers["Content-Type"] == "application/json"
    assert base64.b64decode(headers["Authorization"].removeprefix("Basic ")) == b"me:w@rd"
    assert sighting_fields(*sighted()).items() <= got.items()
    assert (got["event"], got["run"], got["seen"], got["plate"]) == ("sighting", "night", 1_760_000_000.123, "B-XY 12")
    thumbnail = cv2.imdecode(np.frombuffer(base64.b64decode(got["picture"]), np.uint8), cv2.IMREAD_COLOR)
    assert thumbnail.shape == (160, 60, 3)


def test_a_server_that_fails_for_a_while_gets_every_sighting_once_it_works(caplog):
    with Hook([500, 503, 200, 429, 200, "hang up", "hang up"]) as hook:
        output = started(f"http://127.0.0.1:{hook.port}/")
        for track in range(4):
            output.sighting(*sighted(track))
        assert until(lambda: output.status().sent == 4)
        output.close({})
    assert [got["track"] for got in hook.got] == [0, 1, 2, 3]
    status = output.status()
    assert (status.failed, status.dropped) == (0, 0) and 3 <= status.retries <= 5
    assert len({got["id"] for got in hook.got}) == 4


@pytest.mark.parametrize("answer", [400, 401, 404, 307])
def test_what_the_server_will_never_take_is_given_up_and_said_once(answer, caplog):
    with Hook([answer, answer]) as hook:
        output = started(f"http://me:secret@127.0.0.1:{hook.port}/token")
        for track in range(3):
            output.sighting(*sighted(track))
        output.close({})
    assert [got["track"] for got in hook.got] == [2]  # and a redirect is not followed
    assert (output.status().failed, output.status().sent, output.status().retries) == (2, 1, 0)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1 and f"answers {answer}" in said[0] and "secret" not in said[0] and "token" not in said[0]


def test_a_slow_server_is_left_and_tried_again(monkeypatch):
    monkeypatch.setattr(webhook, "_TIMEOUT_S", 0.2)
    with Hook(["slow"]) as hook:
        output = started(f"http://127.0.0.1:{hook.port}/")
        output.sighting(*sighted())
        assert until(lambda: output.status().sent == 1) and output.status().retries >= 1
        output.close({})


def test_a_sighting_does_not_wait_for_the_server_to_answer():
    with Hook(["hold"]) as hook:
        output = started(f"http://127.0.0.1:{hook.port}/")
        output.sighting(*sighted(1))
        assert hook.holding.wait(60)  # the first is at the server, which answers only when it is let go
        for track in range(2, 20):
            output.sighting(*sighted(track))  # would wait for ever
        assert output.status().sent == 0 and hook.got == [] and not hook.free.is_set()
        hook.free.set()
        assert until(lambda: output.status().sent == 19)
        output.close({})
    assert [got["track"] for got in hook.got] == list(range(1, 20)) and output.status().retries == 0


def test_a_server_that_is_not_there_yet_is_no_refusal():
    port = free_port()
    output = started(f"http://127.0.0.1:{port}/")
    output.sighting(*sighted())
    assert until(lambda: not output.status().alive) and output.status().waiting == 1
    with Hook(port=port) as hook:
        assert until(lambda: output.status().alive and output.status().sent == 1)
        output.close({})
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
        output = started(f"http://127.0.0.1:{hook.port}/")
        for track in (1, 2):
            output.sighting(*sighted(track))
            assert until(lambda: output.status().sent == track)  # noqa: B023
            assert hook.ended.acquire(timeout=60)
        output.close({})
    assert output.status().retries == 0


def test_a_certificate_must_hold(certificate, caplog):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with Hook(context=context) as hook:
        uri = f"https://127.0.0.1:{hook.port}/"
        trusting, wary = all_started([f"{uri}#ca={certificate[0]}", uri], flush_s=0.2)
        assert (trusting.name, wary.name) == (uri.rstrip("/"), uri.rstrip("/") + "#2")
        for output in (trusting, wary):
            output.sighting(*sighted())
        assert until(lambda: trusting.status().sent == 1 and not wary.status().alive)
        for output in (trusting, wary):
            output.close({})
    assert len(hook.got) == 1 and any("CERTIFICATE_VERIFY_FAILED" in record.getMessage() for record in caplog.records)


def test_a_listener_that_is_no_broker_is_sought_on_and_on(monkeypatch):
    pytest.importorskip("paho.mqtt.client", reason="MQTT needs paho-mqtt: pip install 'vreid[live]'")
    monkeypatch.setattr("vreid.runtime.sinks.mqtt._CONNECT_S", 0.2)
    with Hook() as hook:
        output = started(f"mqtt://127.0.0.1:{hook.port}/site", flush_s=0.2)
        output.sighting(*sighted())
        assert until(lambda: output.status().retries >= 1)
        output.close({})
    assert (output.status().dropped, output.status().alive) == (1, False)
