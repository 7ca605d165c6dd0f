"""mqtt:// and mqtts://: to a broker, sightings at <prefix>/sightings/<camera>, events of tracks at <prefix>/events/<camera>,
notices at <prefix>/alarms|alerts|cameras/<camera>, and whether the run is online at <prefix>/status."""

import contextlib
import re
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from socket import SHUT_RDWR, socket
from ssl import SSLContext
from typing import Any
from urllib.parse import unquote

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from vreid.models.errors import Refused
from vreid.runtime.sinks.outbox import Away, Message, NotTaken
from vreid.runtime.sinks.table import OutputAddress, tls_context

PREFIX = "vreid"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_KEEPALIVE_S = 15  # a broker reports the loss after 1.5 times this
_CONNECT_S, _ACKNOWLEDGE_S, _GOODBYE_S = 5.0, 10.0, 1.0
_WINDOW = 20


@dataclass(frozen=True)
class Settings:
    """Where to, and how. `tls` is None for a connection that anybody can read."""

    name: str
    host: str
    port: int
    prefix: str
    qos: int
    retain: bool
    client: str
    user: str | None
    password: str | None = field(repr=False)
    tls: SSLContext | None


class MqttCarrier:
    """One connection after another: paho's own reconnection would send twice what the outbox sends again."""

    window = _WINDOW

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: _Connection | None = None

    def connect(self) -> bool:
        """See Carrier. A loss since the last call is reported first, by Away."""
        if self._connection is not None and self._connection.lost:
            self._drop()
            raise Away("the connection is lost")
        if self._connection is None:
            self._connection = _Connection(self._settings)
        return True

    def send(self, messages: Sequence[Message]) -> int:
        """See Carrier. Taken is what the broker acknowledged; with qos=0 what was written to the socket."""
        if self._connection is None:
            raise Away("there is no connection")
        taken = self._connection.publish(messages)
        if taken == len(messages):
            return taken
        lost = self._connection.lost
        self._drop()
        if taken:
            return taken
        if lost:
            raise NotTaken("the broker ended the connection on a message", final=False)
        raise Away(f"the broker did not acknowledge within {_ACKNOWLEDGE_S:.0f} s")

    def close(self) -> None:
        """Say "offline", since a good-bye keeps the broker from saying it itself."""
        if self._connection is not None:
            self._connection.say("offline", wait_s=_GOODBYE_S)
            self._connection.leave()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.cut()
        self._connection = None


class _Connection:
    """From the broker's welcome to the loss. The callbacks run in paho's thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._refusal: str | None = None  # "" is a welcome
        self._acknowledged: set[int] = set()
        self.lost = False
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            settings.client,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.on_connect, client.on_disconnect, client.on_publish = self._answered, self._ended, self._taken
        client.connect_timeout = _CONNECT_S
        client.max_inflight_messages_set(_WINDOW)
        client.will_set(f"{settings.prefix}/status", "offline", qos=1, retain=True)
        if settings.user is not None:
            client.username_pw_set(settings.user, settings.password)
        if settings.tls is not None:
            client.tls_set_context(settings.tls)
        try:
            client.connect(settings.host, settings.port, keepalive=_KEEPALIVE_S)
        except OSError as error:  # also a certificate that does not hold
            raise Away(f"cannot be reached ({error.strerror or error})") from error
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._refusal is not None or self.lost, timeout=_CONNECT_S)
            refusal = self._refusal
        if refusal != "":
            self.cut()
            raise Away(
                "does not answer as a broker" if refusal is None else f"the broker refuses the connection ({refusal})"
            )
        self.say("online")

    def publish(self, messages: Sequence[Message]) -> int:
        """-> how many of the first were acknowledged, in the end all, or before the loss, or in time."""
        qos, retain = self._settings.qos, self._settings.retain
        topics = [one.topic or f"{self._settings.prefix}/{one.about}/{topic_level(one.camera)}" for one in messages]
        with self._changed:
            self._acknowledged.clear()  # numbers come round again
        return self._acknowledged_of(
            [
                self._client.publish(topic, one.body, qos, retain or one.keep).mid
                for topic, one in zip(topics, messages, strict=True)
            ],
            _ACKNOWLEDGE_S,
        )

    def say(self, word: str, wait_s: float = 0.0) -> None:
        """To <prefix>/status, kept there by the broker for whoever comes later."""
        message = self._client.publish(f"{self._settings.prefix}/status", word, qos=1, retain=True)
        self._acknowledged_of([message.mid], wait_s)

    def leave(self) -> None:
        """Say good-bye; paho's thread ends by itself."""
        self._client.disconnect()
        with self._changed:
            self._changed.wait_for(lambda: self.lost, timeout=_GOODBYE_S)

    def cut(self) -> None:
        """End without a good-bye, so that the broker reports it; paho's thread ends by itself."""
        wire = self._client.socket()
        if isinstance(wire, socket):
            with contextlib.suppress(OSError):  # it ended meanwhile
                wire.shutdown(SHUT_RDWR)

    def _acknowledged_of(self, numbers: list[int], wait_s: float) -> int:
        with self._changed:
            self._changed.wait_for(lambda: self.lost or self._acknowledged.issuperset(numbers), timeout=wait_s)
            missing = [place for place, number in enumerate(numbers) if number not in self._acknowledged]
            self._acknowledged.difference_update(numbers)
        return missing[0] if missing else len(numbers)

    def _answered(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self._refusal = str(reason) if reason.is_failure else ""
            self._changed.notify_all()

    def _ended(self, client: Client, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            self.lost = True
            self._changed.notify_all()

    def _taken(self, client: Client, data: Any, number: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._acknowledged.add(number)
            self._changed.notify_all()


def open_mqtt(address: OutputAddress) -> MqttCarrier:
    """mqtt[s]://[user:word@]host[:port][/prefix][?qos=1&retain=0&client=ID&discovery=homeassistant&ca=FILE&cert=FILE&key=FILE]

    Raises Refused."""
    tls = address.scheme == "mqtts"
    address.refuse_other_than("qos", "retain", "client", "discovery", *(("ca", "cert", "key") if tls else ()))
    prefix = prefix_of(address)
    if re.search(r"[+#\0]", prefix):
        raise Refused(f"{address.name}: the topic '{prefix}' has a '+' or '#', which only a reader's may; leave it out")
    return MqttCarrier(
        Settings(
            name=address.name,
            host=address.host,
            port=address.port or _PORTS[address.scheme],
            prefix=prefix,
            qos=int(address.choice("qos", ("0", "1"), "1")),
            retain=address.choice("retain", ("0", "1"), "0") == "1",
            client=address.options.get("client") or f"vreid-{uuid.uuid4().hex[:12]}",
            user=address.user,
            password=address.password,
            tls=tls_context(address) if tls else None,
        )
    )


def prefix_of(address: OutputAddress) -> str:
    """What the topics begin with."""
    return unquote(address.path).strip("/") or PREFIX


def topic_level(camera: str) -> str:
    """The camera's name as one level of a topic."""
    return re.sub(r"[+#/\0]", "_", camera) or "_"
