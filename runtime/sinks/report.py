"""`report.html`, one page that shows what a run saw, and `report.json`, its summary."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vreid.models.files import write_atomic
from vreid.models.picture import thumbnail_of
from vreid.models.preprocess import Image
from vreid.report.formats import clock, interval, number
from vreid.report.page import Card, Picture, View, pieces, write_page
from vreid.report.timeline import Bar, timeline
from vreid.runtime.records import FinishedTrack, Match, Trace, kind_name
from vreid.runtime.sinks.jsonl import json_text
from vreid.runtime.threshold_summary import MOST_DRAWINGS, site_page

PICTURES = 6  # per vehicle and camera: the best
_VEHICLES = 500
STRANGERS = 48  # unknown tracks: the latest
BARS = 4000  # of the timeline: the latest


@dataclass(frozen=True)
class Shot:
    """One sighting's best crop, encoded, at most 160 pixels high; `jpeg` is empty where there was no crop."""

    camera: str
    kind: int
    first_time: float
    last_time: float
    quality: float
    jpeg: bytes
    kept: str | None = None  # its file in the folder of kept pictures


@dataclass
class SeenView:
    """One vehicle at one camera: its span, its best score as a known vehicle (None if never), its best shots."""

    first_time: float
    last_time: float
    sightings: int = 0
    score: float | None = None
    shots: list[Shot] = field(default_factory=list)


@dataclass
class SeenVehicle:
    """One vehicle. `known` says whether the gallery knew it when this run first saw it."""

    vehicle: int
    known: bool
    order: int  # of its latest sighting
    name: str | None = None
    kinds: Counter[int] = field(default_factory=Counter)
    views: dict[str, SeenView] = field(default_factory=dict)

    @property
    def first_time(self) -> float:
        """When any camera first saw it, in seconds."""
        return min(view.first_time for view in self.views.values())


class Album:
    """Fills while the run lasts. Full, it gives up the vehicle that the fewest cameras saw, of these the least recent."""

    def __init__(self, vehicles: int = _VEHICLES) -> None:
        self.vehicles: dict[int, SeenVehicle] = {}
        self.strangers: deque[Shot] = deque(maxlen=STRANGERS)
        self.bars: deque[Bar] = deque(maxlen=BARS)
        self.sightings = self.given_up = 0
        self._most = vehicles

    def add(self, sighting: FinishedTrack, match: Match) -> None:
        """Remember one sighting."""
        self.sightings += 1
        self.bars.append(Bar(sighting.camera, sighting.first_time, sighting.last_time, match.vehicle))
        if match.vehicle is None:
            self.strangers.append(_shot(sighting))
            return
        one = self.vehicles.get(match.vehicle) or self._new_vehicle(match.vehicle, match.known)
        one.order, one.name = self.sightings, match.name
        one.kinds[sighting.kind] += 1
        view = one.views.setdefault(sighting.camera, SeenView(sighting.first_time, sighting.last_time))
        view.sightings += 1
        view.first_time = min(view.first_time, sighting.first_time)
        view.last_time = max(view.last_time, sighting.last_time)
        if match.known:
            view.score = match.score if view.score is None else max(view.score, match.score)
        if len(view.shots) < PICTURES or sighting.quality > view.shots[-1].quality:
            shots = [*view.shots, _shot(sighting)]
            view.shots = sorted(shots, key=lambda shot: -shot.quality)[:PICTURES]

    def _new_vehicle(self, vehicle: int, known: bool) -> SeenVehicle:
        if len(self.vehicles) >= self._most:
            del self.vehicles[min(self.vehicles.values(), key=lambda one: (len(one.views), one.order)).vehicle]
            self.given_up += 1
        self.vehicles[vehicle] = SeenVehicle(vehicle, known, self.sightings)
        return self.vehicles[vehicle]


def by_cameras(cards: Sequence[SeenVehicle]) -> list[SeenVehicle]:
    """Those that most cameras saw first, then by the time they were first seen."""
    return sorted(cards, key=lambda one: (-len(one.views), one.first_time, one.vehicle))


def thumbnail(image: Image) -> bytes:
    """(H, W, 3) BGR -> JPEG of at most 160 x 320 pixels, never enlarged; empty for an empty picture."""
    return thumbnail_of(image, height=160, width=320, quality=82) or b""


def _shot(sighting: FinishedTrack) -> Shot:
    return Shot(
        sighting.camera,
        sighting.kind,
        sighting.first_time,
        sighting.last_time,
        sighting.quality,
        thumbnail(sighting.picture),
        sighting.kept,
    )


class ReportSink:
    """Of report.html and report.json: remembers pictures while the run lasts, and writes at its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._album = Album()

    def sighting(self, sighting: FinishedTrack, match: Match, trace: Trace) -> None:
        """Remember its picture, encoded, and its times."""
        self._album.add(sighting, match)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write both files, each complete or not at all."""
        write_atomic(self._folder / "report.json", json_text(summary, indent=2) + "\n")
        write_page(self._folder / "report.html", page(summary, self._album))


def page(summary: Mapping[str, Any], album: Album) -> Iterator[str]:
    """The page of a run, piece by piece: `summary` as `Sink.close` gets it, `album` what was remembered of the sightings."""
    cameras: Mapping[str, Mapping[str, Any]] = summary.get("cameras") or {}
    stages: Mapping[str, Mapping[str, Any]] = summary.get("stages") or {}
    model: Mapping[str, Any] = summary.get("model") or {}
    calibration: Mapping[str, Any] = summary.get("calibration") or {}
    frames = sum(int(camera.get("frames") or 0) for camera in cameras.values())
    names = [*cameras, *sorted({bar.camera for bar in album.bars} - set(cameras))]
    kept = str((summary.get("kept") or {}).get("url") or "")
    cards = by_cameras(list(album.vehicles.values()))
    several = [card for card in cards if len(card.views) > 1]
    one = [card for card in cards if len(card.views) == 1]
    return pieces(
        "run.html.j2",
        run={"identity": None, **summary, "cameras": cameras, "stages": stages, "model": model, "frames": frames},
        cameras=names,
        opening=_opening(summary, model),
        warnings=_warnings(cameras),
        timeline=timeline(album.bars, names, [card.vehicle for card in cards]),
        album=album,
        groups=[
            ("several cameras", len(several), (_card(card, kept) for card in several), "cards"),
            ("one camera", len(one), (_card(card, kept) for card in one), "cards small"),
        ],
        repeated=any(view.sightings > 1 for card in cards for view in card.views.values()),
        most_pictures=PICTURES,
        strangers=max(int(summary.get("unknown") or 0), len(album.strangers)),
        stranger_pictures=((shot, _picture(shot, f"unknown {kind_name(shot.kind)}", kept)) for shot in album.strangers),
        site=site_page(calibration, len(cameras), MOST_DRAWINGS) if calibration else None,
        longest=max((float(stage.get("p99_ms") or 0) for stage in stages.values()), default=0) or 1.0,
        camera_rows=[_camera_row(name, camera) for name, camera in cameras.items()],
    )


def _opening(summary: Mapping[str, Any], model: Mapping[str, Any]) -> list[str]:
    """When, with what, how long."""
    parts = [_moment(str(summary.get("started") or "")), f"model {model.get('name', '?')}"]
    if summary.get("detector"):
        parts.append(f"detector {summary['detector']}")
    if summary.get("seconds"):
        parts.append(f"took {clock(float(summary['seconds']))}")
    return [part for part in parts if part]


def _moment(started: str) -> str:
    """2025-11-21T23:40:12+00:00 -> 2025-11-21 23:40:12 UTC; what is not an ISO time stays as it is."""
    try:
        return f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M:%S %Z}".strip()
    except ValueError:
        return started


def _warnings(cameras: Mapping[str, Mapping[str, Any]]) -> Sequence[tuple[str, str]]:
    """What was wrong with the cameras' videos or pictures, and what is worth knowing of them."""
    return [
        (name, text)
        for name, camera in cameras.items()
        for text in [*(camera.get("warnings") or ()), *(camera.get("notes") or ())]
    ]


def _camera_row(name: str, camera: Mapping[str, Any]) -> list[str]:
    width, height = (number(camera.get(side), group=False) for side in ("width", "height"))
    return [
        name,
        number(camera.get("frames")),
        f"{width} × {height}",  # noqa: RUF001
        number(camera.get("frame_rate") or None, 1),
        number(camera.get("dropped")),
        number(camera.get("tracks")),
        number(camera.get("seconds"), 1),
    ]


def _card(card: SeenVehicle, kept: str) -> Card:
    """`kept` is the URL of the folder of kept pictures, "" where there is none."""
    # A gallery calls a vehicle that nobody named vehicle-0012; next to #12 that adds nothing.
    name = card.name if card.name and card.name != f"vehicle-{card.vehicle:04d}" else ""
    kind = kind_name(max(card.kinds, key=lambda kind: (card.kinds[kind], kind)))
    several = f" · {len(card.views)} cameras" if len(card.views) > 1 else ""
    views = sorted(card.views.items(), key=lambda item: (item[1].first_time, item[0]))
    return Card(
        card.vehicle,
        [_view(card.vehicle, camera, view, kept) for camera, view in views],
        name,
        "known" if card.known else "new",
        f"{kind}{several}",
    )


def _view(vehicle: int, camera: str, view: SeenView, kept: str) -> View:
    score = "enrolled here" if view.score is None else f"score {view.score:.2f}"
    pictures = [_picture(shot, f"vehicle {vehicle}", kept) for shot in view.shots]
    return View(camera, [interval(view.first_time, view.last_time), score], pictures, view.sightings)


def _picture(shot: Shot, what: str, kept: str) -> Picture:
    alt = f"{what} at {shot.camera}"
    link = kept + quote(shot.kept) if kept and shot.kept else ""
    return Picture(shot.jpeg, alt, f"{alt}, {interval(shot.first_time, shot.last_time)}", link)
