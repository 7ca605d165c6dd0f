"""Discovery by Home Assistant over MQTT: what each camera has to show, as its MQTT integration reads it.

The form is that of https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery: a retained JSON text at
homeassistant/<component>/<node>/<object>/config, with a unique id, a device and an availability topic.
"""

import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vreid.runtime.records import FinishedTrack, Match
from vreid.runtime.sinks.jsonl import json_bytes
from vreid.runtime.sinks.mqtt import topic_level
from vreid.runtime.sinks.outbox import Message

ROOT = "homeassistant"
ALERT_S = 60  # for which an alert stays on


class HomeAssistant:
    """Says once what a camera has to show, and counts its vehicles by day."""

    def __init__(self, prefix: str) -> None:
        """`prefix` is that of the output's topics."""
        self._prefix = prefix
        self._announced: set[str] = set()
        self._day = ""
        self._vehicles: dict[str, set[int]] = {}
        self._sightings: dict[str, int] = {}

    def announced(self, camera: str) -> list[Message]:
        """The messages that make a camera known, the first time that it is named."""
        if camera in self._announced:
            return []
        self._announced.add(camera)
        made = configurations(self._prefix, camera)
        return [Message(camera, json_bytes(fields), topic=topic, keep=True) for topic, fields in made.items()]

    def counted(self, sighting: FinishedTrack, match: Match) -> Message:
        """How many vehicles, and sightings, a camera has had on the day of this one, by this machine's clock."""
        day = datetime.fromtimestamp(sighting.seen).date().isoformat()
        if day != self._day:
            self._day, self._vehicles, self._sightings = day, {}, {}
        vehicles = self._vehicles.setdefault(sighting.camera, set())
        if match.vehicle is not None:
            vehicles.add(match.vehicle)
        self._sightings[sighting.camera] = self._sightings.get(sighting.camera, 0) + 1
        fields = {"date": day, "vehicles": len(vehicles), "sightings": self._sightings[sighting.camera]}
        return Message(sighting.camera, json_bytes(fields), "today", keep=True)


def configurations(prefix: str, camera: str) -> dict[str, Mapping[str, Any]]:
    """Topic -> what stands there, of one camera: whether it is online, its last vehicle, vehicles of today, an alert."""
    level = topic_level(camera)
    node = f"vreid_{_plain(f'{prefix}/{camera}')}"
    common = {
        "availability_topic": f"{prefix}/status",
        "payload_available": "online",
        "payload_not_available": "offline",
        "device": {"identifiers": [node], "name": camera, "manufacturer": "vreid", "model": "camera"},
    }
    parts: Mapping[tuple[str, str], Mapping[str, Any]] = {
        ("binary_sensor", "online"): {
            "name": "Online",
            "device_class": "connectivity",
            "state_topic": f"{prefix}/cameras/{level}",
            "value_template": "{{ 'ON' if value_json.state == 'online' else 'OFF' }}",
        },
        ("sensor", "last_vehicle"): {
            "name": "Last vehicle",
            "icon": "mdi:car",
            "state_topic": f"{prefix}/sightings/{level}",
            "value_template": "{{ value_json.name or 'unknown' }}",
            "json_attributes_topic": f"{prefix}/sightings/{level}",
        },
        ("sensor", "vehicles_today"): {
            "name": "Vehicles today",
            "icon": "mdi:counter",
            "state_class": "total",
            "state_topic": f"{prefix}/today/{level}",
            "value_template": "{{ value_json.vehicles }}",
            "json_attributes_topic": f"{prefix}/today/{level}",
        },
        ("binary_sensor", "alert"): {
            "name": "Alert",
            "icon": "mdi:car-emergency",
            "state_topic": f"{prefix}/alerts/{level}",
            "value_template": "ON",
            "off_delay": ALERT_S,
            "json_attributes_topic": f"{prefix}/alerts/{level}",
        },
    }
    return {
        f"{ROOT}/{component}/{node}/{key}/config": {
            **fields,
            **common,
            "unique_id": f"{node}_{key}",
            "object_id": f"{node}_{key}",
        }
        for (component, key), fields in parts.items()
    }


def _plain(text: str) -> str:
    """In the letters that an id may have; another text gives another one."""
    plain = re.sub(r"[^a-zA-Z0-9_-]", "_", text)
    return plain if plain == text else f"{plain}_{zlib.crc32(text.encode()):08x}"
