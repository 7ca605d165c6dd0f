"""A window into a run, over HTTP: /metrics for Prometheus, /healthz, /livez and /readyz for whoever restarts it."""

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import choose_encoder

from vreid.models.errors import Refused
from vreid.runtime.network_address import answers_to, plain_host
from vreid.runtime.sinks.jsonl import json_text
from vreid.runtime.site_evidence import Pair
from vreid.runtime.status import STALLED_S, StageStatus, Status, why_blind, why_stalled
from vreid.runtime.threshold import Level

_CLIENT_S = 5.0  # a reader that says nothing for so long is left


class Monitor:
    """Serves until `close`, in threads of its own. The run is not looked at unless somebody reads."""

    def __init__(
        self, look: Callable[[], Status], address: str, stalled_s: float = STALLED_S, hosts: Sequence[str] = ()
    ) -> None:
        """`address` is [HOST:]PORT, this machine only by default; port 0 is a free one. Raises Refused.

        A request is answered whose header Host is loopback, an IP address, the HOST of `address` or one of `hosts`, so that
        no web page can read it through a browser by a name of its own (DNS rebinding); others get 421.
        """
        host, port = host_and_port(address)
        names = frozenset(plain_host(name) for name in (*hosts, host))
        if "" in names:
            raise Refused(
                "a --metrics-host is empty or has a port; write the name only, such as --metrics-host gate.local"
            )
        handler = _handler(look, Metrics(look), stalled_s, names)
        try:
            self._server = _server_kind(host)((host, port), handler)
        except OSError as error:
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            raise Refused(
                f"cannot serve metrics at {where} ({error.strerror}); give --metrics another address"
            ) from error
        self.host, self.port = str(self._server.server_address[0]), int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="monitor", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the port and end the thread. May be called twice."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(
    look: Callable[[], Status], metrics: "Metrics", stalled_s: float, names: Collection[str]
) -> type[BaseHTTPRequestHandler]:
    """The kind of handler that answers for this run: the library makes one a request."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_S
        server_version, sys_version = "vreid", ""

        def do_GET(self) -> None:
            """Metrics, health or readiness."""
            if not answers_to(self.headers.get_all("Host", []), names):
                self._json(421, {"reason": "this name is not served here; vreid run --metrics-host NAME lets it pass"})
                return
            match self.path.partition("?")[0]:
                case "/metrics":
                    self._answer(200, *metrics.text(self.headers.get("Accept", "")))
                case "/healthz" | "/livez" as path:  # a restart mends a pipeline that stands still, but not a lens
                    status = look()
                    reason = why_stalled(status, stalled_s) or (why_blind(status) if path == "/healthz" else None)
                    sought = sorted(name for name, camera in status.cameras.items() if not camera.alive)
                    state: dict[str, Any] = {
                        "healthy": reason is None,
                        "reason": reason,
                        "idle_s": status.idle_s,
                        "sought": sought,
                    }
                    if status.fleet:  # a centre that is away makes no box unwell
                        state["fleet"] = {box: asdict(one) for box, one in status.fleet.items()}
                    self._json(200 if reason is None else 503, state)
                case "/readyz":
                    ready = look().ready
                    reason = None if ready else "no frame went through the pipeline yet"
                    self._json(200 if ready else 503, {"ready": ready, "reason": reason})
                case _:
                    self._json(404, {"reason": "there are /metrics, /healthz, /livez and /readyz"})

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """A scrape every few seconds is not worth a line."""

        def _json(self, code: int, value: dict[str, Any]) -> None:
            self._answer(code, (json_text(value) + "\n").encode(), "application/json")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler


def _server_kind(host: str) -> type[ThreadingHTTPServer]:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True
        allow_reuse_port = False  # a taken port is to be noticed

        def server_bind(self) -> None:
            """Without the library's look-up of this machine's name, which waits where there is no resolver."""
            TCPServer.server_bind(self)

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A reader that left in the middle is not an error of the run."""
            if not isinstance(sys.exc_info()[1], OSError):
                super().handle_error(request, client_address)

    return Server


def host_and_port(address: str) -> tuple[str, int]:
    """[HOST:]PORT, an IPv6 host in brackets."""
    host, _, port = address.strip().rpartition(":")
    if not (port.isdecimal() and len(port) <= 5 and int(port) < 65536) or (":" in host and not host.startswith("[")):
        raise Refused(f"'{address}' is not an address to serve metrics at; write a port, such as 9100, or HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


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
