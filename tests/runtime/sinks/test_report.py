"""The report of a run: a page that is whole, escaped and self-contained, made in bounded memory."""

import base64
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from vreid.report.formats import clock, colour_of, ink_on
from vreid.report.timeline import Bar, timeline
from vreid.runtime.records import FinishedTrack, Match, Trace
from vreid.runtime.sinks.report import BARS, PICTURES, STRANGERS, Album, page, thumbnail
from vreid.runtime.sinks.table import open_sink

EVIL = "<b>\"'&</script>"
VOID = {"meta", "br", "img", "link", "hr", "input"}


def reported(
    camera="a", track=1, vehicle=1, known=False, *, first=0, frames=10, quality=0.5, name=None, score=0.8, kind=2
):
    """A sighting of a vehicle that moves 2 pixels a frame, ten frames a second; its picture is 90 x 240 noise."""
    picture = np.random.default_rng(track).integers(0, 256, (240, 90, 3), dtype=np.uint8)
    times = first / 10, (first + frames - 1) / 10
    feature = np.ones(4, np.float32) / 2
    sighting = FinishedTrack(camera, track, first, first + frames - 1, *times, kind, feature, 3, quality, picture)
    boxes = np.array([[10, 20, 50, 40]], np.float32) + 2 * np.arange(frames, dtype=np.float32)[:, None]
    trace = Trace(np.arange(first, first + frames), boxes, np.full(frames, 0.9, np.float32))
    return sighting, Match(vehicle, name, score, known), trace


def summary(*cameras, **more):
    one = {"frames": 100, "dropped": 2, "tracks": 3, "width": 640, "height": 480, "frame_rate": 10.0, "seconds": 10.0}
    stage = {"count": 100, "p50_ms": 1.5, "p90_ms": 2.5, "p99_ms": 9.0}
    model = {"name": "tiny", "backend": "onnxruntime", "precision": "int8", "fingerprint": "f" * 16}
    return {
        "model": {**model, "params": 1_912_345, "macs": 421_000_000, "flops": 842_000_000},
        "cameras": {camera: one for camera in cameras},
        "vehicles": 2,
        "seen_by_several": 1,
        "known": 1,
        "enrolled": 1,
        "unknown": 0,
        "doubtful": 0,
        "sightings": 3,
        "threshold": 0.58,
        "seconds": 10.0,
        "frames_per_second": 20.0,
        "peak_memory_mb": 321.0,
        "stages": {"decode": stage, "embed": stage},
        "identity": None,
        "started": "2025-11-21T23:40:12+00:00",
        "detector": "motion",
        **more,
    }


class Page(HTMLParser):
    """Reads a page strictly: every tag is closed in its turn. Keeps texts, pictures, ids and links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.texts, self.pictures, self.ids, self.links = [], [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.seen.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs["href"]] if "href" in attrs else []
        self.pictures += [attrs["src"]] if "src" in attrs else []
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


def decoded(source):
    head, _, body = source.partition(",")
    assert head == "data:image/jpeg;base64"
    image = cv2.imdecode(np.frombuffer(base64.b64decode(body, validate=True), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def report_of(tmp_path, sightings, long_summary):
    sink = open_sink("report", tmp_path)
    for sighting in sightings:
        sink.sighting(*sighting)
    sink.close(long_summary)
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_is_whole_self_contained_and_escaped(tmp_path):
    sightings = [
        reported(EVIL, 1, 1, known=True, name=EVIL),
        reported("b", 2, 1, known=True, first=30),
        reported("b", 3, 2, first=40, score=-1.0),
        reported("b", 4, None, first=50),
    ]
    model = {**summary()["model"], "name": EVIL, "fingerprint": EVIL}
    stages = {EVIL: {"count": 1, "p50_ms": 1.0, "p90_ms": 1.0, "p99_ms": 1.0}}
    text = report_of(tmp_path, sightings, summary(EVIL, "b", model=model, stages=stages, detector=EVIL, started=EVIL))
    seen = Page(text)
    assert EVIL not in text and "script" not in seen.seen
    assert sum(EVIL in said for said in seen.texts) >= 8  # every place shows it as text
    assert re.findall(r"(?:https?:)?//\w", re.sub(r"base64,[^\"]*", "", text)) == []  # nothing is fetched
    assert not re.search(r"url\(|@import|<link", text)
    assert {decoded(picture).shape for picture in seen.pictures} == {(160, 60, 3)} and len(seen.pictures) == 4
    assert {"v1", "v2"} <= set(seen.ids) and {link.removeprefix("#") for link in seen.links} <= set(seen.ids)
    assert {"known", "new", "enrolled here", "score 0.80"} <= set(seen.texts)
    assert "IDF1" not in seen.texts  # there was no ground truth
    assert text.index('id="v1"') < text.index('id="v2"')  # two cameras before one
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_figures_stand_on_the_page(tmp_path):
    scores = {"idf1": 0.874, "idp": 0.91, "idr": 0.84, "accuracy": 0.93, "kept_over_cameras": 0.867, "vehicles": 15}
    counts = {"vehicles": 1234, "seen_by_several": 567, "known": 89, "enrolled": 1145, "unknown": 21}
    long_summary = summary("a", "b", identity=scores, **counts)
    said = set(Page(report_of(tmp_path, [], long_summary)).texts)
    figures = {"200", "1,234", "567", "89", "1,145", "21", "87.4 %", "86.7 %", "of 15 kept over cameras"}
    model = {"1.91 M (1,912,345)", "421.00 M (421,000,000) an image", "int8", "onnxruntime", "f" * 16, "0.580"}
    tables = {"decode", "1.50", "2.50", "9.00", "640 × 480", "10.0"}  # noqa: RUF001
    assert figures | model | tables <= said
    assert "842.00 M (842,000,000) an image (2 × MACs)" in said  # noqa: RUF001
    assert json.loads((tmp_path / "report.json").read_text()) == long_summary


def test_thresholds_say_what_they_rest_on(tmp_path):
    pair = {
        "cameras": [EVIL, "b"],
        "threshold": 0.71,
        "pairs": 3,
        "tracks": 6,
        "calibrated": "manifest and site (3 pairs)",
    }
    site = {"calibrated": "site", "false_match_rate": 0.05, "compared": 40.0, "others": 0.74}
    found = {**site, "cameras": [{**pair, "curve": [[0.5, 0.9], [0.6, 0.2], [0.71, 0.05]]}]}
    text = report_of(tmp_path, [], summary(EVIL, "b", calibration=found))
    seen = Page(text)
    assert EVIL not in text and f"{EVIL} and b" in seen.texts and "polyline" in seen.seen
    assert {"Thresholds of this site", "0.710", "manifest and site", "threshold of the manifest"} <= set(seen.texts)
    assert any("Few strangers were seen by" in said for said in seen.texts)
    fixed = Page(report_of(tmp_path, [], summary("a", calibration={"calibrated": "fixed"})))
    assert any("as --threshold gave it" in said for said in fixed.texts) and "known from score" in fixed.texts
    assert "Thresholds of this site" not in Page(report_of(tmp_path, [], summary("a"))).texts


def test_a_page_needs_no_figure(tmp_path):
    Page(report_of(tmp_path, [], {}))
    empty = reported(vehicle=1)[0]
    blank = FinishedTrack(**{**vars(empty), "picture": np.zeros((0, 0, 3), np.uint8)})
    assert "no picture" in Page(report_of(tmp_path, [(blank, *reported()[1:])], {"cameras": {}})).texts


def test_pictures_are_bounded_and_the_best_stay():
    album = Album(vehicles=5)
    for number in range(40):
        album.add(*reported("a", number, 1, known=number > 0, first=number * 10, quality=(number * 7 % 40) / 40)[:2])
    view = album.vehicles[1].views["a"]
    assert [shot.quality for shot in view.shots] == [quality / 40 for quality in range(39, 39 - PICTURES, -1)]
    assert view.sightings == 40 and (view.first_time, view.last_time) == (0.0, 39.9)
    album.add(*reported("b", 41, 1, known=True)[:2])
    for vehicle in range(2, 10):
        album.add(*reported("a", 50 + vehicle, vehicle, first=vehicle)[:2])
    for number in range(STRANGERS + 3):
        album.add(*reported("a", 100 + number, None)[:2])
    assert set(album.vehicles) == {1, 6, 7, 8, 9}  # the one that two cameras saw, and the latest
    assert album.given_up == 4 and len(album.strangers) == STRANGERS
    assert "4 more had to give way" in "".join(page(summary("a", "b"), album))
    album.bars.extend([Bar("a", 0, 1, 1)] * (2 * BARS))
    assert len(album.bars) == BARS


@pytest.mark.parametrize(
    ("height", "width", "shape"), [(90, 60, (90, 60)), (400, 100, (160, 40)), (100, 800, (40, 320))]
)
def test_a_thumbnail_is_small_and_never_enlarged(height, width, shape):
    image = np.zeros((height, width, 3), np.uint8)
    encoded = np.frombuffer(thumbnail(image), np.uint8)
    assert cv2.imdecode(encoded, cv2.IMREAD_COLOR).shape == (*shape, 3)


def test_the_timeline_puts_bars_that_meet_in_rows_of_their_own():
    bars = [Bar("a", 0, 4, 1), Bar("a", 2, 6, 2), Bar("a", 7, 8, 3), Bar("b", 9, 10, 1), Bar("b", 3, 3, None)]
    drawing = timeline(bars, ["a", "b"], [1])
    rects = re.findall(r'<rect x="([\d.]+)%" y="(\d+)" width="([\d.]+)%"', drawing)
    assert [(float(x), float(width)) for x, _, width in rects] == [(0, 40), (20, 40), (70, 10), (30, 0), (90, 10)]
    tops = [int(top) for _, top, _ in rects]
    assert tops[0] == tops[2] < tops[1] < tops[3] == tops[4]
    assert drawing.count('class="thread"') == 1 and drawing.count('href="#v1"') == 2
    Page(drawing)
    assert timeline([], ["a"], []) == ""
    Page(timeline([Bar("a", 5, 5, 1)], ["a"], [1]))


def test_clocks():
    times = (0, 3.26, 59.96, 62.5, 3599.97, 3600, 90061)
    assert [clock(time) for time in times] == ["0:00.0", "0:03.3", "1:00.0", "1:02.5", "1:00:00", "1:00:00", "25:01:01"]


def test_colours_are_stable_apart_and_readable():
    assert colour_of(7) == colour_of(7) and colour_of(None) == (128, 128, 128)
    colours = np.array([colour_of(vehicle) for vehicle in range(1, 13)], float)
    apart = np.linalg.norm(colours[:, None] - colours, axis=2) + np.eye(12) * 999
    assert apart.min() > 30
    assert ink_on((250, 240, 200)) == (0, 0, 0) and ink_on((30, 20, 90)) == (255, 255, 255)
