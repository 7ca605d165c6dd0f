"""The run: over files one joint decision and its record, live every track when it ends; what was decided is never lost."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from paced_camera import PacedCamera

from vreid.models.errors import Refused
from vreid.models.preprocess import Image
from vreid.runtime.camera_pipeline import travel_of
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import Gallery, open_gallery, read_gallery
from vreid.runtime.identify import Identifier
from vreid.runtime.pipeline import Outcome, Parts, Run
from vreid.runtime.records import Detections, Frame
from vreid.runtime.sinks.table import SINKS, open_sink
from vreid.runtime.sources.live import LiveSource
from vreid.runtime.sources.table import Source, open_sources
from vreid.runtime.watched_cameras import CameraParts

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)


def made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


RunOn = Callable[..., Outcome]


class Saturated:
    """A detector of what is painted."""

    first_score = 0.5
    least_travel = 0.0
    kinds = None

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        return [self._painted(frame.image) for frame in frames]

    def forget(self, camera: str) -> None:
        pass

    def _painted(self, image: Image) -> Detections:
        spread = image.max(axis=2).astype(int) - image.min(axis=2)
        _, _, blobs, _ = cv2.connectedComponentsWithStats((spread > 120).astype(np.uint8))
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, area in blobs[1:] if area > 100], np.float32).reshape(
            -1, 4
        )
        return Detections(boxes, np.ones(len(boxes), np.float32), np.full(len(boxes), 2, np.int64))


def camera(name: str, video: Path) -> LiveSource:
    """A camera before which the video's vehicles pass again and again, 25 frames a second."""
    return PacedCamera(name, video, 25.0)


@pytest.fixture
def embedder(tiny_model: Path) -> Embedder:
    return open_embedder(tiny_model)


@pytest.fixture
def run_on(tmp_path: Path, embedder: Embedder) -> RunOn:
    """Runs sources into tmp_path/out with the gallery tmp_path/known.db."""

    def go(
        sources: list[Source],
        stop: threading.Event | None = None,
        starting: Callable[[Parts], Outcome] = lambda parts: Run(parts).to_the_end(),
        **more: Any,
    ) -> Outcome:
        manifest = embedder.manifest
        with open_gallery(
            tmp_path / "known.db", fingerprint=manifest.fingerprint, dim=3, model=manifest.name, write=True
        ) as gallery:
            detector = Saturated()
            parts = Parts(
                [CameraParts(source, detector) for source in sources],
                embedder,
                Identifier(gallery, 0.9, enrol_unknown=True, run="test"),
                [open_sink(name, made(tmp_path / "out")) for name in SINKS],
                stop=stop or threading.Event(),
                **more,
            )
            try:
                return starting(parts)
            finally:
                for source in sources:
                    source.close()

    return go


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "sightings.jsonl").read_text().splitlines()]


def mot_ids(out: Path, name: str) -> set[int]:
    return {int(line.split(",")[1]) for line in (out / "mot" / f"{name}.txt").read_text().splitlines()}


def test_ids_are_shared_over_cameras_and_written_down(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    one = film(tmp_path / "one.avi", [(RED, 0, 20), (GREEN, 8, 70)])
    two = film(tmp_path / "two.avi", [(GREEN, 0, 20), (RED, 10, 60), (BLUE, 12, 95)])
    seen: list[int] = []
    outcome = run_on(open_sources([str(one), str(two)]), progress=seen.append)
    out = tmp_path / "out"

    written = lines(out)
    ids = {(row["camera"], row["track"]): row["vehicle"] for row in written}
    assert len(written) == 5 and set(ids.values()) == {1, 2, 3}
    assert len({row["vehicle"] for row in written if row["camera"] == "one"}) == 2
    assert mot_ids(out, "one") < mot_ids(out, "two") == {1, 2, 3}
    for sighting, match, trace in outcome.identified:
        assert ids[sighting.camera, sighting.track] == match.vehicle
        rows = (out / "mot" / f"{sighting.camera}.txt").read_text().splitlines()
        frames = [int(row.split(",")[0]) for row in rows if int(row.split(",")[1]) == match.vehicle]
        assert frames == (trace.frames + 1).tolist()
        lanes = {"one": {1: RED, 2: GREEN}, "two": {1: GREEN, 2: RED, 3: BLUE}}
        best = np.argmax(lanes[sighting.camera][sighting.track])
        assert np.argmax(sighting.picture.mean((0, 1))) == best  # the picture shows that vehicle
    assert seen == list(range(2, 101, 2))

    summary = json.loads((out / "report.json").read_text())
    assert summary == json.loads(json.dumps(outcome.summary))
    expected = {
        "vehicles": 3, "seen_by_several": 2, "known": 0, "enrolled": 3, "unknown": 0, "sightings": 5, "frames": 100,
        "threshold": 0.9, "calibration": {"calibrated": "fixed"}, "identity": None,
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected
    assert {"started", "model", "seconds", "frames_per_second", "peak_memory_mb", "stages", "cameras"} < set(summary)
    assert summary["cameras"]["two"] == {
        "frames": 50, "dropped": 0, "tracks": 3, "width": 160, "height": 120, "frame_rate": 10.0
    }  # fmt: skip
    assert set(summary["stages"]) == {"wait", "detect", "track", "preprocess", "embed", "search"}
    assert summary["stages"]["search"]["count"] == 5 and summary["stages"]["detect"]["count"] == 50
    with read_gallery(tmp_path / "known.db") as gallery:
        assert [(v.id, sorted(v.cameras), v.sightings) for v in gallery.vehicles()] == [
            (1, ["one", "two"], 2), (2, ["one", "two"], 2), (3, ["two"], 1)
        ]  # fmt: skip


def test_cameras_of_other_rates_are_watched_together(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    one, two = film(tmp_path / "one.avi", [(RED, 0, 20)]), film(tmp_path / "two.avi", [(RED, 0, 20)], rate=25.0)
    summary = run_on(open_sources([str(one), str(two)])).summary
    assert [view["frames"] for view in summary["cameras"].values()] == [50, 50]
    assert summary["vehicles"] == summary["seen_by_several"] == 1


def test_files_without_a_vehicle_are_refused(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    with pytest.raises(Refused, match="no vehicle was found in empty"):
        run_on(open_sources([str(film(tmp_path / "empty.avi", []))]))
    assert lines(tmp_path / "out") == [] and not (tmp_path / "out" / "report.json").exists()


def test_the_stop_ends_a_run_over_files_with_what_was_seen(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    stop = threading.Event()
    source = open_sources([str(film(tmp_path / "one.avi", [(RED, 0, 20)]))])
    summary = run_on(source, stop, progress=lambda frames: stop.set() if frames == 30 else None).summary
    assert summary["frames"] == 30 and summary["sightings"] == 1


# Live


def test_a_live_run_writes_as_it_goes_and_the_stop_flushes_all(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    video, stop, out = film(tmp_path / "x.avi", [(RED, 0, 20), (GREEN, 20, 70)]), threading.Event(), tmp_path / "out"
    before: list[int] = []
    others = set(threading.enumerate())

    def watch(frames: int) -> None:
        if not before and len(lines(out)) >= 3:
            before.append(len(lines(out)))
        if before and frames % 7 == 0:
            stop.set()

    outcome = run_on([camera("gate-1", video), camera("gate-2", video)], stop, progress=watch)
    assert outcome.identified == []  # bounded memory
    written, summary = lines(out), json.loads((out / "report.json").read_text())
    assert len(written) >= before[0] >= 3
    assert summary["sightings"] == len(written) and summary["vehicles"] == 2 == summary["seen_by_several"]
    assert set(summary["cameras"]) == {"gate-1", "gate-2"} and "wait" in summary["stages"]
    assert mot_ids(out, "gate-1") == mot_ids(out, "gate-2") == {1, 2}
    assert (out / "report.html").stat().st_size > 1000
    with read_gallery(tmp_path / "known.db") as gallery:
        assert gallery.stats().sightings == len(written)
    for thread in set(threading.enumerate()) - others:
        if thread.name.startswith(("read", "camera")):
            thread.join(60)  # a loop that never ends would hold it up; a busy machine does too, for a while
            assert not thread.is_alive()


def test_a_live_run_that_is_stopped_before_any_vehicle_is_no_error(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    stop = threading.Event()
    video = film(tmp_path / "x.avi", [])
    summary = run_on([camera("gate", video)], stop, progress=lambda frames: stop.set() if frames > 5 else None).summary
    assert summary["sightings"] == 0 and json.loads((tmp_path / "out" / "report.json").read_text())["frames"] == 6


def test_a_live_run_that_fails_keeps_what_was_decided(tmp_path: Path, film: Any, run_on: RunOn) -> None:
    """A file beside the camera breaks off in a strict run: the error surfaces, the report is there."""
    whole = film(tmp_path / "cut.avi", [(RED, 0, 20)], frames=200).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: int(0.6 * len(whole))])
    sources = [*open_sources([str(tmp_path / "cut.avi")]), camera("gate", film(tmp_path / "x.avi", [(GREEN, 0, 70)]))]
    with pytest.raises(Refused, match="breaks off"):
        run_on(sources, strict=True)
    summary = json.loads((tmp_path / "out" / "report.json").read_text())
    assert summary["sightings"] == len(lines(tmp_path / "out")) >= 1
    assert mot_ids(tmp_path / "out", "cut")


def test_a_live_run_keeps_no_track_once_written_and_writes_the_open_ones_at_the_stop(
    tmp_path: Path, film: Any, run_on: RunOn
) -> None:
    video, stop, runs, open_then = film(tmp_path / "x.avi", [(RED, 0, 20)]), threading.Event(), [], set()

    def observed(parts: Parts) -> Outcome:
        runs.append(Run(parts))
        return runs[0].to_the_end()

    def watch(frames: int) -> None:
        tracks = runs[0].cameras["gate"].open.items()
        half_way = {number for number, track in tracks if track.crops and travel_of(track) >= 0.7}
        if runs[0].finalizer.tally.sightings >= 2 and half_way:
            open_then.update(half_way)
            stop.set()

    run_on([camera("gate", video)], stop, observed, progress=watch)
    (state,) = runs
    assert open_then and open_then <= {row["track"] for row in lines(tmp_path / "out")}
    assert state.finalizer.identified == [] and state.cameras["gate"].open == {}
    assert state.finalizer.tally.sightings == len(lines(tmp_path / "out")) == state.cameras["gate"].ended


@contextmanager
def reader(path: Path, embedder: Embedder) -> Iterator[Gallery]:
    manifest = embedder.manifest
    with open_gallery(path, fingerprint=manifest.fingerprint, dim=3, model=manifest.name, write=False) as gallery:
        yield gallery


def test_without_enrolment_a_live_run_reads_the_gallery_and_no_more(
    tmp_path: Path, film: Any, run_on: RunOn, embedder: Embedder
) -> None:
    run_on(open_sources([str(film(tmp_path / "one.avi", [(RED, 0, 20)]))]))
    before, stop = (tmp_path / "known.db").read_bytes(), threading.Event()
    video = film(tmp_path / "x.avi", [(RED, 0, 20), (BLUE, 8, 70)])
    with reader(tmp_path / "known.db", embedder) as gallery:
        source = camera("gate", video)
        parts = Parts(
            [CameraParts(source, Saturated())],
            embedder,
            Identifier(gallery, 0.9),
            [open_sink("jsonl", made(tmp_path / "live"))],
            stop=stop,
            progress=lambda frames: stop.set() if frames > 120 else None,
        )
        summary = Run(parts).to_the_end().summary
        source.close()
    assert (tmp_path / "known.db").read_bytes() == before
    written = lines(tmp_path / "live")
    assert {(row["vehicle"], row["known"]) for row in written} == {(1, True), (None, False)}
    assert (summary["known"], summary["enrolled"]) == (1, 0) and summary["unknown"] >= 1


class CountReading(Saturated):
    """Reads from its run what the cameras have lost whenever one of them is exchanged."""

    run: Run
    lost: list[dict[str, int]]

    def forget(self, camera: str) -> None:
        self.lost.append({name: status.dropped for name, status in self.run.camera_status().items()})


def test_a_camera_that_is_opened_anew_or_taken_out_is_never_counted_twice(
    tmp_path: Path, film: Any, run_on: RunOn
) -> None:
    video, stop, detector = film(tmp_path / "x.avi", [(RED, 0, 20)]), threading.Event(), CountReading()
    first, again = [[camera(name, video) for name in ("gate", "yard")] for _ in range(2)]
    for source in (*first, *again):
        source.dropped = 3
    detector.lost = []

    def changed(run: Run) -> None:
        for sources in (again, again[:1]):
            run.change([CameraParts(source, detector) for source in sources])
        stop.set()

    def exchanged(parts: Parts) -> Outcome:
        run = detector.run = Run(replace(parts, cameras=[CameraParts(source, detector) for source in first]))
        thread = threading.Thread(target=changed, args=(run,))
        thread.start()
        try:
            return run.to_the_end()
        finally:
            thread.join()

    summary = run_on([*first, *again], stop, exchanged).summary
    assert detector.lost == [{"gate": 3, "yard": 3}, {"gate": 3, "yard": 3}, {"gate": 6, "yard": 6}]
    assert {name: view["dropped"] for name, view in summary["cameras"].items()} == {"gate": 6, "yard": 6}
