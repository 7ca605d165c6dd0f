"""A run's status as Prometheus sees it: counters, gauges and summaries, made anew at every scrape."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder

from vreid.runtime.status import CameraStatus, OutputStatus, QueueStatus, StageStatus, Status

_WINDOW_S = 60.0
_Family = type[CounterMetricFamily] | type[GaugeMetricFamily]


class Metrics:
    """The page that a scrape gets. Names, units and labels: docs/outputs.md."""

    def __init__(self, look: Callable[[], Status]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Collector(look))
        ProcessCollector(registry=self._registry)

    def text(self, accept: str = "") -> tuple[bytes, str]:
        """The header Accept -> the page and its Content-Type."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind


class _Collector:
    def __init__(self, look: Callable[[], Status]) -> None:
        self._look = look
        self._rates = _Rates()

    def describe(self) -> list[Metric]:
        """Nothing, so that a status is only made when somebody scrapes."""
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._look()
        yield from _of_the_run(status)
        yield from _of_cameras(status.cameras, self._rates.of(status))
        yield from _of_queues(status.queues)
        yield _of_stages(status.stages)
        yield from _of_outputs(status.outputs)
        with contextlib.suppress(OSError):  # no /proc
            threads = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").partition("\nThreads:")[2]
            yield GaugeMetricFamily(
                "process_threads", "Threads of this process, native ones too.", float(threads.split()[0])
            )


class _Rates:
    """Frames a second of each camera over the last minute, or since the last scrape if that is longer ago."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._past: deque[tuple[float, dict[str, int]]] = deque([(0.0, {})])  # seconds of the run, frames

    def of(self, status: Status) -> dict[str, float]:
        """Camera -> frames a second."""
        now = {name: camera.frames for name, camera in status.cameras.items()}
        with self._lock:
            while len(self._past) > 1 and status.seconds - self._past[1][0] >= _WINDOW_S:
                self._past.popleft()
            since, before = self._past[0]
            if status.seconds - self._past[-1][0] >= 1.0:  # many scrapers are no reason to remember more
                self._past.append((status.seconds, now))
        passed = max(status.seconds - since, 1e-9)
        return {name: max(0, frames - before.get(name, 0)) / passed for name, frames in now.items()}


def _of_the_run(status: Status) -> Iterator[Metric]:
    gauges = {
        "vreid_run_start_time_seconds": ("When the run began, since 1970.", status.started),
        "vreid_run_seconds": ("How long the run has lasted.", status.seconds),
        "vreid_ready": ("1 when every part is open and a first frame is through.", float(status.ready)),
        "vreid_idle_seconds": ("Since frames last went through the pipeline.", status.idle_s),
        "vreid_gallery_vehicles": ("Vehicles in the gallery.", status.vehicles),
        "vreid_gallery_prototypes": ("Prototypes in the gallery.", status.prototypes),
    }
    counters = {
        "vreid_sightings": ("Tracks that ended and were reported.", status.sightings),
        "vreid_sightings_unknown": ("Sightings of no vehicle in the gallery.", status.unknown),
        "vreid_vehicles_enrolled": ("Vehicles that this run added to the gallery.", status.enrolled),
        "vreid_crops_embedded": ("Crops that went through the network.", status.embedded),
        "vreid_crops_passed_over": ("Crops of tracked vehicles that were not embedded.", status.passed_over),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(name, text, value)
    for name, (text, value) in counters.items():
        yield CounterMetricFamily(name, text, value)


def _of_cameras(cameras: Mapping[str, CameraStatus], rates: Mapping[str, float]) -> Iterator[Metric]:
    def by_camera(family: _Family, name: str, text: str, value: Callable[[CameraStatus], float]) -> Metric:
        return _labelled(family, name, text, "camera", {camera: value(one) for camera, one in cameras.items()})

    counter, gauge = CounterMetricFamily, GaugeMetricFamily
    yield by_camera(counter, "vreid_camera_frames", "Frames that went through.", lambda one: one.frames)
    yield by_camera(counter, "vreid_camera_frames_dropped", "Frames that newer ones replaced.", lambda one: one.dropped)
    yield by_camera(
        counter, "vreid_camera_reconnects", "Attempts to find the camera again.", lambda one: one.reconnects
    )
    yield by_camera(counter, "vreid_camera_tracks", "Tracks that ended and were reported.", lambda one: one.tracks)
    yield by_camera(gauge, "vreid_camera_open_tracks", "Vehicles that are tracked now.", lambda one: one.open_tracks)
    yield by_camera(
        gauge,
        "vreid_camera_healthy",
        "0 while its pictures are black, blank or frozen.",
        lambda one: float(not one.fault),
    )
    yield by_camera(
        counter,
        "vreid_camera_blind_seconds",
        "In which its pictures were black, blank or frozen.",
        lambda one: one.blind_s,
    )
    yield by_camera(gauge, "vreid_camera_up", "0 while the camera is away.", lambda one: float(one.alive))
    yield by_camera(gauge, "vreid_camera_age_seconds", "Since the last frame; +Inf: none yet.", lambda one: one.age_s)
    text = "Frames that went through a second, over the last minute."
    yield _labelled(gauge, "vreid_camera_frames_per_second", text, "camera", rates)


def _of_queues(queues: Mapping[str, QueueStatus]) -> Iterator[Metric]:
    def by_queue(family: _Family, name: str, text: str, value: Callable[[QueueStatus], float]) -> Metric:
        return _labelled(family, name, text, "queue", {queue: value(one) for queue, one in queues.items()})

    yield by_queue(GaugeMetricFamily, "vreid_queue_depth", "What lies in the queue.", lambda one: one.depth)
    yield by_queue(GaugeMetricFamily, "vreid_queue_room", "What may lie in the queue.", lambda one: one.room)
    yield by_queue(CounterMetricFamily, "vreid_queue_dropped", "What the queue dropped.", lambda one: one.dropped)


def _of_stages(stages: Mapping[str, StageStatus]) -> Metric:
    family = SummaryMetricFamily("vreid_stage_seconds", "One call of a stage of the pipeline.", labels=["stage"])
    for stage, one in stages.items():
        for quantile, value in (("0.5", one.p50), ("0.9", one.p90), ("0.99", one.p99)):
            family.add_sample(family.name, {"stage": stage, "quantile": quantile}, value)
        family.add_metric([stage], one.count, one.seconds)
    return family


def _of_outputs(outputs: Mapping[str, OutputStatus]) -> Iterator[Metric]:
    def by_output(family: _Family, name: str, text: str, value: Callable[[OutputStatus], float]) -> Metric:
        return _labelled(family, name, text, "output", {output: value(one) for output, one in outputs.items()})

    counter, gauge = CounterMetricFamily, GaugeMetricFamily
    yield by_output(counter, "vreid_output_sent", "Messages that the peer took.", lambda one: one.sent)
    yield by_output(counter, "vreid_output_dropped", "Messages dropped for want of room.", lambda one: one.dropped)
    yield by_output(counter, "vreid_output_failed", "Messages that the peer would not take.", lambda one: one.failed)
    yield by_output(counter, "vreid_output_retries", "Attempts that came to nothing.", lambda one: one.retries)
    yield by_output(gauge, "vreid_output_waiting", "Messages that wait.", lambda one: one.waiting)
    yield by_output(gauge, "vreid_output_room", "Messages that may wait.", lambda one: one.room)
    yield by_output(gauge, "vreid_output_up", "0 while the peer is away.", lambda one: float(one.alive))


def _labelled(family: _Family, name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    made = family(name, text, labels=[label])
    for key, value in values.items():
        made.add_metric([key], value)
    return made
