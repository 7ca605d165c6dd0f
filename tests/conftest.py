"""What every test may lean on: one thread, the `shared` folder, skips that say their reason, a tiny model, small films."""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from real_postgres import Server, postgres_server

from vreid.models.manifest import Cost, Input, Manifest, Match, Output, write_manifest
from vreid.runtime.sources.table import SOURCES

# Before torch, faiss or BLAS are imported by a test: threads that wait for each other on few cores only add time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
EXTRAS = (
    "alembic", "fastapi", "httpx", "matplotlib", "motrics", "nats", "onnx", "onnxscript", "onnxsim", "playwright", "psycopg",
    "schemathesis", "torch", "torch_pruning", "uvicorn",
)  # fmt: skip
ABSENT = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run; in xdist's workers, which collect in turned orders, sort by path."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.path)
    if not SHARED.is_dir():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason="there is no ../shared beside this checkout"))
    if os.environ.get("VREID_SLOW") != "1":
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow; VREID_SLOW=1 runs it"))
    on_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if on_gpu:
        from vreid.cli.installed import machine

        if not machine().devices:
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="this machine has no NVIDIA device"))


def turned(nodes: list[pytest.Item | pytest.Collector]) -> list[pytest.Item | pytest.Collector]:
    """The nodes of a folder, in each of xdist's workers from another one on: no two rewrite the asserts of one file at once."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    start = len(nodes) * worker // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return nodes[start:] + nodes[:start]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file or a folder of tests that imports what only an extra brings is skipped by that name where it is not installed."""
    report = yield
    if report.passed and isinstance(collector, pytest.Dir):
        report.result = turned(report.result)
    absent = ABSENT.search(str(report.longrepr)) if report.failed else None
    if absent and absent[1].partition(".")[0] in EXTRAS:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {absent[1]} is not installed")
    return report


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder ../shared of data and models that are not in the repository; without it the test is skipped."""
    if not SHARED.is_dir():
        pytest.skip("there is no ../shared beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def colour_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a real network whose feature is the mean colour, at unit length; not to be written to."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("colour")
    make, kind = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Cast", ["images"], ["float"], to=kind.FLOAT),
        make.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        make.make_node("LpNormalization", ["mean"], ["embedding"], axis=1, p=2),
    ]
    pixels = make.make_tensor_value_info("images", kind.UINT8, ["batch", 8, 8, 3])
    feature = make.make_tensor_value_info("embedding", kind.FLOAT, ["batch", 3])
    graph = make.make_graph(nodes, "colour", [pixels], [feature])
    engine = folder / "colour.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), engine)
    manifest = Manifest(
        name="colour", engine=engine.name, sha256=hashlib.sha256(engine.read_bytes()).hexdigest(),
        backend="onnxruntime", precision="fp32", input=Input(height=8, width=8, batch=[1, 8, 32]), output=Output(dim=3),
        cost=Cost(params=0, macs=0, flops=0), accuracy=None, match=Match(threshold=0.9, false_match_rate=0.0, gallery=0),
        fingerprint="colour-1", built_for=None, made_from=None,
    )  # fmt: skip
    write_manifest(manifest, folder / "colour.json")
    return folder / "colour.json"


@pytest.fixture
def tiny_model(colour_model: Path, tmp_path: Path) -> Path:
    """A test's own copy of `colour_model`."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in colour_model.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / colour_model.name


Drive = tuple[tuple[int, int, int], int, int]  # BGR, first frame, top in pixels
Film = Callable[..., Path]


@pytest.fixture(scope="session")
def film() -> Film:
    """Makes a video of 160 x 120: after six empty frames plain boxes of 40 x 24 drive to the right, 5 pixels a frame."""

    def made(path: Path, drives: Sequence[Drive], frames: int = 50, rate: float = 10.0) -> Path:
        road = np.random.default_rng(0).integers(110, 125, (120, 160, 3)).astype(np.uint8)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, (160, 120))
        for index in range(frames):
            picture = road.copy()
            for colour, first, top in drives:
                left = 5 * (index - first - 6) - 40
                if left > -40:
                    cv2.rectangle(picture, (left, top), (left + 39, top + 23), colour, cv2.FILLED)
            writer.write(picture)
        writer.release()
        return path

    return made


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], str]:
    """Makes a V4L2 address of a video: a live camera that loses no frame, however busy the machine (kit/paced_camera.py)."""
    monkeypatch.setitem(SOURCES, "device", "paced_camera:open_paced")

    def plugged(video: Path) -> str:
        return f"v4l2://{video}"

    return plugged


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that signs itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate needs the program openssl")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {cert}"
    about = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command.split(), *about], check=True, capture_output=True)
    return cert, key


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server that tests share; each has galleries of its own in it."""
    with postgres_server() as server:
        server.start("fsync=off", "max_connections=200")
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_STATE_HOME", str(server.folder / "state"))
            yield server
