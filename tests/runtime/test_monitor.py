"""The window into a run: what Prometheus' own parser reads back, and when the health checks say no."""

import json
import math
import re
import socket
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

parser = pytest.importorskip(
    "prometheus_client.parser", reason="metrics need prometheus_client: pip install 'vreid[live]'"
)

from vreid.models.errors import Refused  # noqa: E402
from vreid.runtime.monitor import Monitor  # noqa: E402
from vreid.runtime.status import (  # noqa: E402
    CameraStatus,
    OutputStatus,
    QueueStatus,
    StageStatus,
    Status,
    why_stalled,
)
from vreid.runtime.threshold import Level  # noqa: E402

AWKWARD = 'a"b\\c\nd'
GATE = CameraStatus(200, 7, 2, 5, 3, 0.25, True, True, alarm=True, alarms=2, rate=10.0)
STATUS = Status(
    started=1.7e9, seconds=20.0, ready=True, idle_s=0.5,
    cameras={"gate": GATE, AWKWARD: CameraStatus(0, 0, 9, 0, 0, math.inf, True, False)},
    queues={"frames": QueueStatus(3, 8, 11)}, stages={"embed": StageStatus(40, 1.25, 0.02, 0.05, 0.09)},
    sightings=6, unknown=1, withheld=1, enrolled=2, embedded=30, passed_over=400, vehicles=12, prototypes=25,
    thresholds={("gate", "gate"): Level(0.875, 30, 55.0), (AWKWARD, "gate"): Level(0.75, 2, 4.0)},
    outputs={"mqtt://gate:1883": OutputStatus(4, 1, 2, 3, 5, 1000, False)},
)  # fmt: skip


class Run:
    """What a pipeline would hand out."""

    def __init__(self):
        self.status, self.looks = STATUS, 0

    def __call__(self):
        self.looks += 1
        return self.status


@pytest.fixture
def served():
    run = Run()
    monitor = Monitor(run, "0")
    yield run, f"http://127.0.0.1:{monitor.port}"
    monitor.close()


def ask(url, **headers):
    """-> status, body, Content-Type."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers["Content-Type"]


def scrape(base):
    """-> the families by name, and (name, labels) -> value."""
    code, text, kind = ask(base + "/metrics")
    assert code == 200 and kind.startswith("text/plain; version=")
    families = {family.name: family for family in parser.text_string_to_metric_families(text)}
    samples = [sample for family in families.values() for sample in family.samples]
    values = {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in samples}
    assert len(values) == len(samples)
    return families, values


def test_thresholds_are_by_pair_of_cameras(served):
    _, values = scrape(served[1])
    for name, gate, both in (("vreid_threshold", 0.875, 0.75), ("vreid_threshold_pairs", 30, 2)):
        assert values[name, (("camera_a", "gate"), ("camera_b", "gate"))] == gate
        assert values[name, (("camera_a", AWKWARD), ("camera_b", "gate"))] == both


def status_for(port, *hosts, version="1.1", path="/metrics"):
    """The status of a request with these headers Host."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        lines = "".join(f"Host: {host}\r\n" for host in hosts)
        peer.sendall(f"GET {path} HTTP/{version}\r\n{lines}Connection: close\r\n\r\n".encode())
        return int(peer.makefile("rb").readline().split()[1])


def test_only_requests_for_this_machine_are_answered():
    monitor = Monitor(Run(), "0", hosts=["Gate-1.example", "prometheus"])
    try:
        for path in ("/metrics", "/healthz", "/readyz"):
            for host in (
                "localhost", "LOCALHOST:9100", "localhost.", "127.0.0.1", "127.0.0.1:80", "192.0.2.7:9100", "[::1]",
                "[::1]:9100", "gate-1.example", "GATE-1.example:9100", "gate-1.example.", "prometheus",
            ):  # fmt: skip
                assert status_for(monitor.port, host, path=path) == 200, host
            for host in (
                "evil.example", "evil.example:9100", "localhost.evil.example", "127.0.0.1.evil.example", "gate-1.example.org",
                "xlocalhost", "", "::1]", "[::1", "localhost:9100:1", "localhost@evil.example", "localhost/evil", "1.2.3",
                "127.1", "2130706433", "prometheus evil",
            ):  # fmt: skip
                assert status_for(monitor.port, host, path=path) == 421, host
            assert status_for(monitor.port, path=path) == 421
            assert status_for(monitor.port, "localhost", "evil.example", path=path) == 421
            assert status_for(monitor.port, path=path, version="1.0") == 421
    finally:
        monitor.close()
    for wrong in ("", "a:1", "a b", "http://a"):
        with pytest.raises(Refused, match="--metrics-host"):
            Monitor(Run(), "0", hosts=[wrong])


def test_the_host_of_the_address_is_answered():
    monitor = Monitor(Run(), "localhost:0")
    try:
        assert status_for(monitor.port, "localhost:1") == 200 and status_for(monitor.port, "other") == 421
    finally:
        monitor.close()


def test_what_is_scraped_is_the_status(served):
    _, base = served
    _, values = scrape(base)
    expected = {
        ("vreid_camera_frames_total", "camera", "gate"): 200, ("vreid_camera_frames_dropped_total", "camera", "gate"): 7,
        ("vreid_camera_reconnects_total", "camera", AWKWARD): 9, ("vreid_camera_up", "camera", AWKWARD): 0,
        ("vreid_camera_up", "camera", "gate"): 1, ("vreid_camera_age_seconds", "camera", AWKWARD): math.inf,
        ("vreid_camera_age_seconds", "camera", "gate"): 0.25, ("vreid_camera_frames_per_second", "camera", "gate"): 10,
        ("vreid_camera_open_tracks", "camera", "gate"): 3, ("vreid_camera_tracks_total", "camera", "gate"): 5,
        ("vreid_queue_depth", "queue", "frames"): 3, ("vreid_queue_room", "queue", "frames"): 8,
        ("vreid_queue_dropped_total", "queue", "frames"): 11, ("vreid_stage_seconds_count", "stage", "embed"): 40,
        ("vreid_stage_seconds_sum", "stage", "embed"): 1.25, ("vreid_sightings_total",): 6,
        ("vreid_sightings_unknown_total",): 1, ("vreid_sightings_withheld_total",): 1,
        ("vreid_camera_alarm", "camera", "gate"): 1, ("vreid_camera_alarm", "camera", AWKWARD): 0,
        ("vreid_camera_alarms_total", "camera", "gate"): 2,
        ("vreid_vehicles_enrolled_total",): 2, ("vreid_crops_embedded_total",): 30,
        ("vreid_crops_passed_over_total",): 400, ("vreid_gallery_vehicles",): 12, ("vreid_gallery_prototypes",): 25,
        ("vreid_ready",): 1, ("vreid_idle_seconds",): 0.5, ("vreid_run_seconds",): 20,
        ("vreid_run_start_time_seconds",): 1.7e9,
        **{(f"vreid_output_{name}", "output", "mqtt://gate:1883"): value for name, value in {
            "sent_total": 4, "dropped_total": 1, "failed_total": 2, "retries_total": 3, "waiting": 5, "room": 1000, "up": 0,
        }.items()},
    }  # fmt: skip
    for (name, *label), value in expected.items():
        assert values[name, (tuple(label),) if label else ()] == value, name
    for quantile, value in (("0.5", 0.02), ("0.9", 0.05), ("0.99", 0.09)):
        assert values["vreid_stage_seconds", (("quantile", quantile), ("stage", "embed"))] == value


def test_the_process_is_measured_too(served):
    _, values = scrape(served[1])
    if ("process_resident_memory_bytes", ()) not in values:
        pytest.skip("this machine has no /proc")
    assert values["process_resident_memory_bytes", ()] > 1e7 and values["process_open_fds", ()] > 3
    assert threading.active_count() <= values["process_threads", ()] < 1000


def test_every_name_follows_the_rules_of_prometheus(served):
    families, _ = scrape(served[1])
    for name, family in families.items():
        assert re.fullmatch(r"(vreid|process)_[a-z0-9_]*[a-z0-9]", name) and family.documentation.endswith("."), name
        assert family.type in ("counter", "gauge", "summary"), name
        assert all(sample.name.endswith("_total") == (family.type == "counter") for sample in family.samples), name
        assert not re.search(r"_(ms|milliseconds|s|mb|ratio|count|sum|total|info)$", name), name
        assert not any(label in ("le", "job", "instance") for sample in family.samples for label in sample.labels)
    text = ask(served[1] + "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert text[1].endswith("# EOF\n") and text[2].startswith("application/openmetrics-text")


def test_a_stalled_pipeline_is_unhealthy_and_cameras_that_are_sought_are_not(served):
    run, base = served
    code, text, kind = ask(base + "/healthz")
    assert (code, kind) == (200, "application/json")
    assert json.loads(text) == {"healthy": True, "reason": None, "idle_s": 0.5, "sought": [AWKWARD]}
    run.status = replace(STATUS, idle_s=31.0)
    code, text, _ = ask(base + "/healthz")
    assert code == 503 and "for 31 s, though these are up: gate" in json.loads(text)["reason"]
    away = {name: replace(camera, alive=False) for name, camera in STATUS.cameras.items()}
    run.status = replace(STATUS, idle_s=4000.0, cameras=away)
    assert ask(base + "/healthz")[0] == 200
    run.status = replace(STATUS, idle_s=math.inf)
    code, text, _ = ask(base + "/healthz")
    assert code == 503 and json.loads(text)["idle_s"] is None
    run.status = STATUS
    assert ask(base + "/healthz")[0] == 200


def test_a_camera_whose_pictures_show_nothing_is_unhealthy_until_they_do(served):
    run, base = served
    blind = replace(GATE, fault="frozen", blind_s=12.0)
    run.status = replace(STATUS, cameras={**STATUS.cameras, "gate": blind})
    code, text, _ = ask(base + "/healthz")
    assert code == 503 and json.loads(text)["reason"] == "gate gives frozen pictures"
    assert ask(base + "/livez")[0] == 200  # a restart would not mend the camera
    _, values = scrape(base)
    assert values["vreid_camera_healthy", (("camera", "gate"),)] == 0
    assert values["vreid_camera_healthy", (("camera", AWKWARD),)] == 1
    assert values["vreid_camera_blind_seconds_total", (("camera", "gate"),)] == 12
    run.status = replace(STATUS, cameras={"gate": replace(GATE, blind_s=13.0)})
    assert ask(base + "/healthz")[0] == 200


def test_the_limit_of_a_stall_is_the_callers():
    assert why_stalled(replace(STATUS, idle_s=5.0)) is None and why_stalled(replace(STATUS, idle_s=5.0), 2.0)
    assert why_stalled(replace(STATUS, idle_s=31.0, cameras={}))


def test_it_is_ready_once_the_run_is(served):
    run, base = served
    assert ask(base + "/readyz")[0] == 200
    run.status = replace(STATUS, ready=False)
    code, text, _ = ask(base + "/readyz")
    assert code == 503 and json.loads(text) == {"ready": False, "reason": "no frame went through the pipeline yet"}
    assert ask(base + "/")[0] == ask(base + "/metrics/x")[0] == 404


def test_a_reader_that_says_nothing_keeps_nobody_else_waiting(served):
    run, base = served
    assert run.looks == 0  # nothing is asked of the run unless somebody reads
    with socket.create_connection(("127.0.0.1", int(base.rsplit(":", 1)[1]))) as silent:
        silent.sendall(b"GET /met")
        assert ask(base + "/healthz")[0] == 200
    head = urllib.request.Request(base + "/healthz", method="HEAD")
    with urllib.request.urlopen(head, timeout=60) as answer:
        assert answer.status == 200 and answer.read() == b""


def test_it_serves_this_machine_only_and_a_taken_port_is_a_sentence():
    monitor = Monitor(Run(), "0")
    assert monitor.host == "127.0.0.1"
    with pytest.raises(Refused, match=rf"cannot serve metrics at 127.0.0.1:{monitor.port} \(Address already in use\)"):
        Monitor(Run(), str(monitor.port))
    threads = threading.active_count()
    monitor.close()
    monitor.close()
    assert threading.active_count() == threads - 1
    Monitor(Run(), f"localhost:{monitor.port}").close()  # the port is free again


@pytest.mark.parametrize("address", ["", "nine", "70000", "host:", "::1:9100", "-1", "9100/metrics"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(Refused, match="write a port, such as 9100, or HOST:PORT"):
        Monitor(Run(), address)


def test_a_host_of_another_name_is_refused():
    with pytest.raises(Refused, match=r"give --metrics, or listen of \[metrics\], another"):
        Monitor(Run(), "192.0.2.1:0")
