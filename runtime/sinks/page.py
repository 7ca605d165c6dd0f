"""The report's page: one HTML text with everything in it, no script, nothing fetched, all text escaped."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any

from vreid.report.palette import colour_of, hex_of
from vreid.report.timeline import clock, moments, timeline
from vreid.runtime.records import kind_name
from vreid.runtime.sinks.album import PICTURES, Album, Card, Shot, View, by_cameras
from vreid.runtime.sinks.figures import camera_table, headline, latency_table, model_table, number, warnings_of
from vreid.runtime.sinks.style import head


def page(summary: Mapping[str, Any], album: Album) -> str:
    """The whole page of a run: `summary` as `Sink.close` gets it, `album` what was remembered of the sightings."""
    cards = by_cameras(list(album.cards.values()))
    cameras = list(summary.get("cameras") or {})
    cameras += sorted({bar.camera for bar in album.bars} - set(cameras))
    model = summary.get("model") or {}
    return f"""{head(f"Vehicles over {number(len(cameras))} cameras")}<h1>Vehicle re-identification report</h1>
<p class="soft">{_opening(summary, model)}</p>
{headline(summary)}
{warnings_of(summary)}
{_timeline_section(album, cameras, cards)}
{_vehicles_section(album, cards)}
{_strangers_section(album, summary)}
<h2>Latency</h2>
{latency_table(summary)}
<h2>Cameras</h2>
{camera_table(summary)}
<h2>Model</h2>
{model_table(summary)}
<footer>Made by vreid. The figures are in <code>report.json</code> beside this page.</footer>
</main>
</body>
</html>
"""


def _opening(summary: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """When, with what, how long."""
    parts = [
        escape(_moment(str(summary.get("started") or ""))),
        f"model {escape(str(model.get('name', '?')))}",
    ]
    if summary.get("detector"):
        parts.append(f"detector {escape(str(summary['detector']))}")
    if summary.get("seconds"):
        parts.append(f"took {clock(float(summary['seconds']))}")
    return " · ".join(part for part in parts if part)


def _moment(started: str) -> str:
    """2025-11-21T23:40:12+00:00 -> 2025-11-21 23:40:12 UTC; what is no ISO time stays as it is."""
    try:
        return f"{datetime.fromisoformat(started):%Y-%m-%d %H:%M:%S %Z}".strip()
    except ValueError:
        return started


def _timeline_section(album: Album, cameras: Sequence[str], cards: Sequence[Card]) -> str:
    drawing = timeline(album.bars, cameras, [card.vehicle for card in cards])
    if not drawing:
        return ""
    cut = f" Only the latest {len(album.bars):,} sightings are drawn." if album.sightings > len(album.bars) else ""
    return (
        '<h2>Timeline</h2><p class="note">One bar a sighting, one colour a vehicle; a thread leads to its next camera.'
        f'{cut}</p><div class="panel">{drawing}</div>'
    )


def _vehicles_section(album: Album, cards: Sequence[Card]) -> str:
    several = [card for card in cards if len(card.views) > 1]
    one = [card for card in cards if len(card.views) == 1]
    notes = "Known: in the gallery before this run first saw it. New: enrolled by this run."
    if any(view.sightings > 1 for card in cards for view in card.views.values()):
        notes += f" &times;2: two sightings at that camera; its best {PICTURES} pictures are shown, the best first."
    parts = ["<h2>Vehicles</h2>", f'<p class="note">{notes}</p>']
    if album.given_up:
        parts.append(
            f'<p class="note">Cut: this page keeps {len(cards):,} vehicles, those that most cameras saw and of these the '
            f"latest; {album.given_up:,} more had to give way. All are in <code>sightings.jsonl</code> if it was written.</p>"
        )
    if not cards:
        parts.append('<p class="soft">No vehicle was identified.</p>')
    for title, group, style in (("several cameras", several, "cards"), ("one camera", one, "cards small")):
        if group:
            body = "".join(_card(card) for card in group)
            parts.append(f'<h3>Seen by {title} ({len(group):,})</h3><div class="{style}">{body}</div>')
    return "\n".join(parts)


def _card(card: Card) -> str:
    badge = ("known", "known") if card.known else ("new", "new")
    kind = kind_name(max(card.kinds, key=lambda kind: (card.kinds[kind], kind)))
    # A gallery calls whom nobody named vehicle-0012; beside #12 that says nothing.
    named = card.name and card.name != f"vehicle-{card.vehicle:04d}"
    name = f'<span class="name">{escape(str(card.name))}</span>' if named else ""
    views = sorted(card.views.items(), key=lambda item: (item[1].first_time, item[0]))
    several = f" · {len(views)} cameras" if len(views) > 1 else ""
    return (
        f'<article class="card" id="v{card.vehicle}" style="--c:{hex_of(colour_of(card.vehicle))}"><header>'
        f'<b>#{card.vehicle}</b>{name}<span class="badge {badge[0]}">{badge[1]}</span><span>{kind}{several}</span>'
        f'</header><div class="views">{"".join(_view(card, camera, view) for camera, view in views)}</div></article>\n'
    )


def _view(card: Card, camera: str, view: View) -> str:
    score = "enrolled here" if view.score is None else f"score {view.score:.2f}"
    times = f"<small>&times;{view.sightings:,}</small>" if view.sightings > 1 else ""
    pictures = "".join(_picture(shot, f"vehicle {card.vehicle} at {camera}") for shot in view.shots)
    return (
        f'<figure style="--n:{min(2, len(view.shots))}"><figcaption><b>{escape(camera)}</b>{times}'
        f"<span>{moments(view.first_time, view.last_time)}</span><span>{score}</span></figcaption>"
        f'<div class="shots">{pictures}</div></figure>'
    )


def _strangers_section(album: Album, summary: Mapping[str, Any]) -> str:
    if not album.strangers:
        return ""
    unknown = max(int(summary.get("unknown") or 0), len(album.strangers))
    cut = f" The latest {len(album.strangers):,} are shown." if unknown > len(album.strangers) else ""
    body = "".join(
        f'<figure><div class="shots">{_picture(shot, f"unknown {kind_name(shot.kind)} at {shot.camera}")}</div>'
        f"<figcaption>{escape(shot.camera)}<span>{clock(shot.first_time)}</span></figcaption></figure>"
        for shot in album.strangers
    )
    return (
        f'<h2>Unknown <span class="badge unknown">{unknown:,}</span></h2><p class="note">Nobody in the gallery scored '
        f'above the threshold, and they were not enrolled.{cut}</p><div class="panel strangers">{body}</div>'
    )


def _picture(shot: Shot, alt: str) -> str:
    if not shot.jpeg:
        return '<span class="none">no picture</span>'
    return (
        f'<img loading="lazy" alt="{escape(alt)}" title="{escape(alt)}, {moments(shot.first_time, shot.last_time)}" '
        f'src="data:image/jpeg;base64,{b64encode(shot.jpeg).decode("ascii")}">'
    )
