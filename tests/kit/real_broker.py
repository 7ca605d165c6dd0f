"""A real MQTT broker on a loopback port, and a reader of it."""

import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager

import pytest
from made_outputs import free_port, until

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")


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
