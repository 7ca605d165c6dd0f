"""A window into a run, over HTTP: /metrics for Prometheus, /healthz, /livez and /readyz for whoever restarts it."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from vreid.runtime.metrics_server import Answer, MetricsPage, MetricsServer, host_and_port, json_answer
from vreid.runtime.site_evidence import Pair
from vreid.runtime.status import STALLED_S, StageStatus, Status, why_blind, why_stalled
from vreid.runtime.threshold import Level

__all__ = ["Monitor", "host_and_port"]


class Monitor(MetricsServer):
    """Of one run, which is not looked at unless somebody reads."""

    def __init__(
        self, look: Callable[[], Status], address: str, stalled_s: float = STALLED_S, hosts: Sequence[str] = ()
    ) -> None:
        """As `MetricsServer`; raises Refused."""
        self._look, self._stalled_s = look, stalled_s
        self._metrics = MetricsPage(_Collector(look))  # names, units and labels: docs/outputs.md
        super().__init__(self._answers, address, hosts)

    def _answers(self, path: str, accept: str) -> Answer | None:
        """Metrics, health or readiness."""
        match path:
            case "/metrics":
                return self._metrics.answer(accept)
            case "/healthz" | "/livez":  # a restart mends a pipeline that stands still, but not a lens
                status = self._look()
                reason = why_stalled(status, self._stalled_s) or (why_blind(status) if path == "/healthz" else None)
                sought = sorted(name for name, camera in status.cameras.items() if not camera.alive)
                state: dict[str, Any] = {
                    "healthy": reason is None,
                    "reason": reason,
                    "idle_s": status.idle_s,
                    "sought": sought,
                }
                if status.fleet:  # a centre that is away makes no box unwell
                    state["fleet"] = {box: asdict(one) for box, one in status.fleet.items()}
                return json_answer(200 if reason is None else 503, state)
            case "/readyz":
                ready = self._look().ready
                reason = None if ready else "no frame went through the pipeline yet"
                return json_answer(200 if ready else 503, {"ready": ready, "reason": reason})
        return None


_COUNTER, _GAUGE = CounterMetricFamily, GaugeMetricFamily
_Families = tuple[tuple[type[CounterMetricFamily] | type[GaugeMetricFamily], str, str, str], ...]
# kind, name, help, and the field of the status
_OF_RUN: _Families = (
    (_GAUGE, "vreid_run_start_time_seconds", "When the run began, since 1970.", "started"),
    (_GAUGE, "vreid_run_seconds", "How long the run has lasted.", "seconds"),
    (_GAUGE, "vreid_ready", "1 when every part is open and a first frame is through.", "ready"),
    (_GAUGE, "vreid_idle_seconds", "Since frames last went through the pipeline.", "idle_s"),
    (_GAUGE, "vreid_gallery_vehicles", "Vehicles in the gallery.", "vehicles"),
    (_GAUGE, "vreid_gallery_prototypes", "Prototypes in the gallery.", "prototypes"),
    (_COUNTER, "vreid_sightings", "Tracks that ended and were reported.", "sightings"),
    (_COUNTER, "vreid_sightings_unknown", "Sightings of no vehicle in the gallery.", "unknown"),
    (_COUNTER, "vreid_sightings_withheld", "Unknown ones that a guard kept from being enrolled.", "withheld"),
    (_COUNTER, "vreid_vehicles_enrolled", "Vehicles that this run added to the gallery.", "enrolled"),
    (_COUNTER, "vreid_crops_embedded", "Crops that went through the network.", "embedded"),
    (_COUNTER, "vreid_crops_passed_over", "Crops of tracked vehicles that were not embedded.", "passed_over"),
)
_OF_CAMERA: _Families = (
    (_COUNTER, "vreid_camera_frames", "Frames that went through.", "frames"),
    (_GAUGE, "vreid_camera_frames_per_second", "Frames that went through a second, over the last minute.", "rate"),
    (_COUNTER, "vreid_camera_frames_dropped", "Frames that newer ones replaced.", "dropped"),
    (_COUNTER, "vreid_camera_reconnects", "Attempts to find the camera again.", "reconnects"),
    (_COUNTER, "vreid_camera_tracks", "Tracks that ended and were reported.", "tracks"),
    (_GAUGE, "vreid_camera_open_tracks", "Vehicles that are tracked now.", "open_tracks"),
    (_GAUGE, "vreid_camera_healthy", "0 while its pictures are black, blank or frozen.", "healthy"),
    (_COUNTER, "vreid_camera_blind_seconds", "In which its pictures were black, blank or frozen.", "blind_s"),
    (_GAUGE, "vreid_camera_alarm", "1 while too many new vehicles appear, so that none is enrolled.", "alarm"),
    (_COUNTER, "vreid_camera_alarms", "Alarms of too many new vehicles.", "alarms"),
    (_GAUGE, "vreid_camera_up", "0 while the camera is away.", "alive"),
    (_GAUGE, "vreid_camera_age_seconds", "Since the last frame; +Inf: none yet.", "age_s"),
)
_OF_QUEUE: _Families = (
    (_GAUGE, "vreid_queue_depth", "What lies in the queue.", "depth"),
    (_GAUGE, "vreid_queue_room", "What may lie in the queue.", "room"),
    (_COUNTER, "vreid_queue_dropped", "What the queue dropped.", "dropped"),
)
_OF_FLEET: _Families = (
    (_GAUGE, "vreid_fleet_up", "0 while the centre is away.", "alive"),
    (_COUNTER, "vreid_fleet_sent", "Messages that the centre's log has acknowledged.", "sent"),
    (_COUNTER, "vreid_fleet_pictures_sent", "Pictures that the centre has acknowledged.", "sent_pictures"),
    (_COUNTER, "vreid_fleet_retries", "Attempts that came to nothing.", "retries"),
    (_COUNTER, "vreid_fleet_dropped", "Messages dropped for want of room.", "dropped"),
    (_COUNTER, "vreid_fleet_pictures_dropped", "Pictures that are not sent, for want of room.", "dropped_pictures"),
    (_GAUGE, "vreid_fleet_waiting", "Messages that wait.", "waiting"),
    (_GAUGE, "vreid_fleet_pictures_waiting", "Pictures that wait.", "waiting_pictures"),
    (_GAUGE, "vreid_fleet_waiting_bytes", "Size of what waits.", "waiting_bytes"),
    (_GAUGE, "vreid_fleet_room_bytes", "Size of what may wait.", "room"),
    (_GAUGE, "vreid_fleet_lag_seconds", "Age of the oldest message or picture that waits.", "lag_s"),
    (_COUNTER, "vreid_fleet_received", "Messages of the centre that were taken.", "received"),
    (_GAUGE, "vreid_fleet_unanswered", "Sightings that the centre has given no identity yet.", "unanswered"),
    (_GAUGE, "vreid_fleet_heard_timestamp_seconds", "When the centre was last heard, since 1970; 0: never.", "heard"),
)
_OF_OUTPUT: _Families = (
    (_COUNTER, "vreid_output_sent", "Messages that the peer took.", "sent"),
    (_COUNTER, "vreid_output_dropped", "Messages dropped for want of room.", "dropped"),
    (_COUNTER, "vreid_output_failed", "Messages that the peer would not take.", "failed"),
    (_COUNTER, "vreid_output_retries", "Attempts that came to nothing.", "retries"),
    (_GAUGE, "vreid_output_waiting", "Messages that wait.", "waiting"),
    (_GAUGE, "vreid_output_room", "Messages that may wait.", "room"),
    (_GAUGE, "vreid_output_up", "0 while the peer is away.", "alive"),
)


def _labelled(label: str, parts: Mapping[str, object], families: _Families) -> Iterator[Metric]:
    """Each family with a value of every part, by the part's name."""
    for family, name, text, field in families:
        made = family(name, text, labels=[label])
        for part, status in parts.items():
            made.add_metric([part], float(getattr(status, field)))
        yield made


class _Collector(Collector):
    def __init__(self, look: Callable[[], Status]) -> None:
        self._look = look

    def describe(self) -> list[Metric]:
        """Nothing, so that a status is only made when somebody scrapes."""
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._look()
        yield from (family(name, text, float(getattr(status, field))) for family, name, text, field in _OF_RUN)
        yield from _labelled("camera", status.cameras, _OF_CAMERA)
        yield from _labelled("queue", status.queues, _OF_QUEUE)
        yield _of_stages(status.stages)
        yield from _of_thresholds(status.thresholds)
        yield from _labelled("output", status.outputs, _OF_OUTPUT)
        yield from _labelled("box", status.fleet, _OF_FLEET)
        with contextlib.suppress(OSError):  # no /proc
            threads = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").partition("\nThreads:")[2]
            yield GaugeMetricFamily(
                "process_threads", "Threads of this process, native ones too.", float(threads.split()[0])
            )


def _of_thresholds(levels: Mapping[Pair, Level]) -> Iterator[Metric]:
    labels = ["camera_a", "camera_b"]
    least = GaugeMetricFamily("vreid_threshold", "Least cosine of a known vehicle between two cameras.", labels=labels)
    pairs = GaugeMetricFamily("vreid_threshold_pairs", "Pairs of strangers that it was learnt from.", labels=labels)
    for pair, level in levels.items():
        least.add_metric(pair, level.threshold)
        pairs.add_metric(pair, level.pairs)
    yield from (least, pairs)


def _of_stages(stages: Mapping[str, StageStatus]) -> Metric:
    family = SummaryMetricFamily("vreid_stage_seconds", "One call of a stage of the pipeline.", labels=["stage"])
    for stage, one in stages.items():
        for quantile, value in (("0.5", one.p50), ("0.9", one.p90), ("0.99", one.p99)):
            family.add_sample(family.name, {"stage": stage, "quantile": quantile}, value)
        family.add_metric([stage], one.count, one.seconds)
    return family
