"""What the report remembers of a run: pictures and times by vehicle and camera, in bounded memory."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from vreid.models.preprocess import Image
from vreid.report.timeline import Bar
from vreid.runtime.records import Match, Sighting

PICTURES = 6  # per vehicle and camera: the best
VEHICLES = 500
STRANGERS = 48  # unknown tracks: the latest
BARS = 4000  # of the timeline: the latest
_HEIGHT, _WIDTH, _JPEG_QUALITY = 160, 320, 82


@dataclass(frozen=True)
class Shot:
    """One sighting's best crop, encoded, at most 160 pixels high; `jpeg` is empty where there was no crop."""

    camera: str
    kind: int
    first_time: float
    last_time: float
    quality: float
    jpeg: bytes


@dataclass
class View:
    """One vehicle at one camera: its span, its best score as a known vehicle (None if never), its best shots."""

    first_time: float
    last_time: float
    sightings: int = 0
    score: float | None = None
    shots: list[Shot] = field(default_factory=list)


@dataclass
class Card:
    """One vehicle. `known` says whether the gallery knew it when this run first saw it."""

    vehicle: int
    known: bool
    order: int  # of its latest sighting
    name: str | None = None
    kinds: Counter[int] = field(default_factory=Counter)
    views: dict[str, View] = field(default_factory=dict)

    @property
    def first_time(self) -> float:
        """When any camera first saw it, in seconds."""
        return min(view.first_time for view in self.views.values())


class Album:
    """Fills while the run lasts. Full, it gives up the vehicle that the fewest cameras saw, of these the least recent."""

    def __init__(self, vehicles: int = VEHICLES) -> None:
        self.cards: dict[int, Card] = {}
        self.strangers: deque[Shot] = deque(maxlen=STRANGERS)
        self.bars: deque[Bar] = deque(maxlen=BARS)
        self.sightings = self.given_up = 0
        self._most = vehicles

    def add(self, sighting: Sighting, match: Match) -> None:
        """Remember one sighting."""
        self.sightings += 1
        self.bars.append(Bar(sighting.camera, sighting.first_time, sighting.last_time, match.vehicle))
        if match.vehicle is None:
            self.strangers.append(_shot(sighting))
            return
        card = self.cards.get(match.vehicle) or self._new_card(match.vehicle, match.known)
        card.order, card.name = self.sightings, match.name
        card.kinds[sighting.kind] += 1
        view = card.views.setdefault(sighting.camera, View(sighting.first_time, sighting.last_time))
        view.sightings += 1
        view.first_time = min(view.first_time, sighting.first_time)
        view.last_time = max(view.last_time, sighting.last_time)
        if match.known:
            view.score = match.score if view.score is None else max(view.score, match.score)
        if len(view.shots) < PICTURES or sighting.quality > view.shots[-1].quality:
            shots = [*view.shots, _shot(sighting)]
            view.shots = sorted(shots, key=lambda shot: -shot.quality)[:PICTURES]

    def _new_card(self, vehicle: int, known: bool) -> Card:
        if len(self.cards) >= self._most:
            del self.cards[min(self.cards.values(), key=lambda card: (len(card.views), card.order)).vehicle]
            self.given_up += 1
        self.cards[vehicle] = Card(vehicle, known, self.sightings)
        return self.cards[vehicle]


def by_cameras(cards: Sequence[Card]) -> list[Card]:
    """Those that most cameras saw first, then by the time they were first seen."""
    return sorted(cards, key=lambda card: (-len(card.views), card.first_time, card.vehicle))


def thumbnail(image: Image) -> bytes:
    """(H, W, 3) BGR -> JPEG of at most 160 x 320 pixels, never enlarged; empty for an empty picture."""
    if image.size == 0:
        return b""
    height, width = image.shape[:2]
    scale = min(1.0, _HEIGHT / height, _WIDTH / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # INTER_AREA: a thumbnail is looked at, not embedded, so it need not go through the one resize.
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(small), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return encoded.tobytes()


def _shot(sighting: Sighting) -> Shot:
    return Shot(
        sighting.camera,
        sighting.kind,
        sighting.first_time,
        sighting.last_time,
        sighting.quality,
        thumbnail(sighting.picture),
    )
