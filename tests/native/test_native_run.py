"""The whole run in two languages: `vreid run` and `vreid-native run` write the same sightings, whatever finds the vehicles."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.models.bundled import manifest_path
from vreid.models.manifest import Cost, Input, Manifest, Match, Output, sha256_of, write_manifest
from vreid.runtime.gallery import read_gallery
from vreid.runtime.mot import MotTable, write_mot
from vreid.runtime.session import Session, run_session
from vreid.runtime.sources.synth import synth_truth
from vreid.runtime.sources.table import open_source

Built = Callable[[str], Path]
Native = Callable[..., "subprocess.CompletedProcess[str]"]
BEGAN, MOMENT = "2026-11-22T08:00+01:00", 1795330800.0
CITY = "synth://city?camera={}&seconds=4&cameras=2&vehicles=10&seed=5"
FOLDED = {"score": 1e-3, "quality": 1e-3, "box": 0.011}  # what a float's last digits may change


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a random filter and its mean, in the few operators that every engine has, OpenCV 4's too."""
    onnx = pytest.importorskip("onnx")
    folder, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(0)
    make, kind = onnx.helper, onnx.TensorProto
    nodes = [
        make.make_node("Cast", ["images"], ["floats"], to=kind.FLOAT),
        make.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
        make.make_node("Conv", ["planes", "filters"], ["found"], kernel_shape=[4, 4], strides=[4, 4]),
        make.make_node("Relu", ["found"], ["lit"]),
        make.make_node("GlobalAveragePool", ["lit"], ["mean"]),
        make.make_node("Flatten", ["mean"], ["embedding"], axis=1),
    ]
    filters = onnx.numpy_helper.from_array(rng.normal(size=(16, 3, 4, 4)).astype(np.float32), "filters")
    pixels = make.make_tensor_value_info("images", kind.UINT8, ["batch", 32, 32, 3])
    feature = make.make_tensor_value_info("embedding", kind.FLOAT, ["batch", 16])
    graph = make.make_graph(nodes, "small", [pixels], [feature], [filters])
    engine = folder / "small.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 11)], ir_version=6), engine)
    manifest = Manifest(
        name="small", engine=engine.name, sha256=sha256_of(engine), backend="onnxruntime", precision="fp32",
        input=Input(height=32, width=32, batch=[1, 8, 32]), output=Output(dim=16), cost=Cost(params=0, macs=0, flops=0),
        accuracy=None, match=Match(threshold=0.93, false_match_rate=0.0, gallery=0), fingerprint="small-16",
        built_for=None, made_from=None,
    )  # fmt: skip
    write_manifest(manifest, folder / "small.json")
    return folder / "small.json"


@pytest.fixture(scope="session")
def engine(built: Built) -> str:
    """An engine that this program has; a manifest's own backend may not be compiled in."""
    told = subprocess.run(
        [built("vreid-native"), "info", manifest_path("vreid-s"), "--json"], capture_output=True, check=True
    )
    names = json.loads(told.stdout)["engines"]
    return next(name for name in ("onnxruntime", "openvino", "opencv") if name in names)


@pytest.fixture
def model(engine: str, small_model: Path) -> Path:
    """The bundled model, or a small one where only OpenCV's DNN is there, as under AddressSanitizer."""
    return small_model if engine == "opencv" else manifest_path("vreid-s")


@pytest.fixture
def native(built: Built, engine: str) -> Native:
    """Runs `vreid-native run` as a session says."""

    def ran(session: Session, *more: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [built("vreid-native"), "run", *flags_of(session), "--engine", engine, *more],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    return ran


def flags_of(session: Session) -> list[str]:
    flags = [*session.sources, "--model", str(session.model), "--detector", session.detector, "--out", str(session.out)]
    flags += ["--embed", session.embed, "--began", BEGAN]
    for name in ("gallery", "threshold", "min_score", "new_below"):
        value = getattr(session, name)
        flags += [] if value is None else ["--" + name.replace("_", "-"), str(value)]
    return flags + (["--enrol-unknown"] if session.enrol_unknown else [])


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "sightings.jsonl").read_text().splitlines()]


def agree(ours: Path, theirs: Path) -> None:
    """Every field of every line, in order; scores within a thousandth, boxes but for how their last digit is rounded."""
    mine, other = lines_of(ours), lines_of(theirs)
    assert [list(line) for line in mine] == [list(line) for line in other]
    for one, two in zip(mine, other, strict=True):
        rest = {name: value for name, value in one.items() if name not in FOLDED}
        assert rest == {name: value for name, value in two.items() if name not in FOLDED}
        for name, slack in FOLDED.items():
            assert one[name] == (None if two[name] is None else pytest.approx(two[name], abs=slack)), (name, one, two)
    counts = (
        "vehicles",
        "seen_by_several",
        "known",
        "enrolled",
        "unknown",
        "sightings",
        "embedded",
        "passed_over",
        "frames",
    )
    report, told = (json.loads((folder / "report.json").read_text()) for folder in (ours, theirs))
    assert list(report) == list(told)
    assert {name: report[name] for name in counts} == {name: told[name] for name in counts}
    assert report["cameras"] == told["cameras"] and report["started"] == told["started"]
    assert list(report["stages"]) == list(told["stages"])


def both(session: Session, native: Native, folder: Path) -> list[dict[str, Any]]:
    """One session in each language, each with a gallery of its own; the lines that both wrote."""
    for name in ("python", "native"):
        (folder / name).mkdir(exist_ok=True)
    ours = replace(session, out=folder / "native/out", gallery=folder / "native/known.db" if session.gallery else None)
    theirs = replace(
        session, out=folder / "python/out", gallery=folder / "python/known.db" if session.gallery else None
    )
    native(ours)
    cv2.setNumThreads(1)
    run_session(theirs, threading.Event())
    agree(ours.out, theirs.out)
    return lines_of(ours.out)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras of one scene as PNGs, which no decoder changes, and where their vehicles are."""
    folder = tmp_path_factory.mktemp("city")
    for number in (1, 2):
        camera = folder / f"cam{number}"
        camera.mkdir()
        for frame in open_source(CITY.format(number)):
            cv2.imwrite(str(camera / f"{frame.index}.png"), frame.image, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        rows = [(index + 1, one) for index, seen in synth_truth(CITY.format(number)).items() for one in seen]
        boxes = np.array([(one.x, one.y, one.w, one.h) for _, one in rows], np.float32)
        visibility = np.array([one.visibility for _, one in rows], np.float32)
        ids, frames = (
            np.array(numbers, np.int64) for numbers in ([one.vehicle for _, one in rows], [n for n, _ in rows])
        )
        scores, kinds = np.ones(len(rows), np.float32), np.full(len(rows), 2, np.int64)
        write_mot(folder / f"cam{number}.txt", MotTable(frames, ids, boxes, scores, kinds, visibility))
    return folder


def session_of(city: Path, model: Path, detector: str, **more: Any) -> Session:
    options = {"enrol_unknown": True, "gallery": Path("known.db"), "began": MOMENT, **more}
    return Session((f"{city}/cam1/", f"yard={city}/cam2/%d.png"), model, detector, Path("out"), **options)


def test_replayed_boxes_and_a_second_run(city: Path, model: Path, native: Native, tmp_path: Path) -> None:
    (city / "yard.txt").write_text((city / "cam2.txt").read_text())
    session = session_of(city, model, f"replay:{city}")
    first = both(session, native, tmp_path)
    assert len(first) > 8 and any(not line["known"] for line in first)
    again = both(session, native, tmp_path)  # against the galleries of the first
    assert all(line["known"] for line in again)
    # each goes on with the gallery that the other has written
    for name in ("known.db",):
        one, two = tmp_path / "python" / name, tmp_path / "native" / name
        (one.rename(tmp_path / "kept"), two.rename(one), (tmp_path / "kept").rename(two))
    assert [line["vehicle"] for line in both(session, native, tmp_path)] == [line["vehicle"] for line in again]
    with read_gallery(tmp_path / "native/known.db") as mine, read_gallery(tmp_path / "python/known.db") as theirs:
        ours, other = mine.stats(), theirs.stats()
        assert (ours.vehicles, ours.prototypes, ours.sightings) == (other.vehicles, other.prototypes, other.sightings)
        assert (ours.oldest, ours.newest) == (other.oldest, other.newest)


@pytest.mark.parametrize(
    ("detector", "more"),
    [
        ("motion:?min_area=0.002&warm_up=8", {"embed": "every", "gallery": None}),
        ("motion", {"enrol_unknown": False, "threshold": 0.5, "gallery": None}),
        ("motion", {"threshold": 0.8, "new_below": 0.3, "min_score": 0.7}),
    ],
)
def test_found_vehicles(
    city: Path, model: Path, native: Native, tmp_path: Path, detector: str, more: dict[str, Any]
) -> None:
    session = session_of(city, model, detector, **more)
    if not session.enrol_unknown:  # a search alone, in a gallery that knows half of the scene
        for name in ("python", "native"):
            (tmp_path / name).mkdir()
            known = replace(session_of(city, model, detector), sources=session.sources[:1], out=tmp_path / "known")
            run_session(replace(known, gallery=tmp_path / name / "known.db"), threading.Event())
        session = replace(session, gallery=Path("known.db"))
    assert len(both(session, native, tmp_path)) > 5


def test_films_that_a_decoder_has_to_decode(native: Native, tmp_path: Path, small_model: Path, film: Any) -> None:
    films = [film(tmp_path / f"{name}.avi", drives) for name, drives in {
        "one": [((0, 0, 255), 0, 20), ((0, 255, 0), 8, 70)], "two": [((0, 255, 0), 0, 20), ((0, 0, 255), 10, 60)],
    }.items()]  # fmt: skip
    session = Session([*map(str, films)], small_model, "motion", Path("out"), enrol_unknown=True, began=MOMENT)
    assert len({line["vehicle"] for line in both(session, native, tmp_path)}) == 2


@pytest.mark.shared
@pytest.mark.parametrize("detector", ["replay:{video}", "yolox:{yolox}", "yolox:{yolox}?tiles=2", "motion"])
def test_a_real_codec(model: Path, native: Native, tmp_path: Path, shared: Path, detector: str) -> None:
    video, yolox = shared / "data/roadside-video", shared / "models/yolox_nano.onnx"
    films = [str(video / f"cam{number}.mp4") for number in ((1,) if "tiles" in detector else (1, 2, 3))]
    text = detector.format(video=video, yolox=yolox)
    session = Session(films, model, text, Path("out"), enrol_unknown=True, began=MOMENT)
    assert len(both(session, native, tmp_path)) > 10 * len(films)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sources": ("nothing.mp4",)}, "there is no video nothing.mp4; check the path"),
        ({"sources": ("a=x/", "a=y/")}, "2 sources are called 'a'; give each its own name, such as a-a=URI"),
        ({"detector": "radar"}, "there is no detector 'radar'; choose one of: motion, replay, yolox"),
        ({"detector": "motion:?warm=1"}, "the detector 'motion' has no option 'warm'; it has: min_area, warm_up"),
        ({"detector": "motion:?warm_up=1e9"}, "the option warm_up of the detector 'motion' lies between 0 and 10000, not at 1e9"),
        ({"detector": "replay:nowhere"}, "there is nothing to replay at 'nowhere'; write replay:FILE or replay:FOLDER"),
        ({"detector": "yolox:nowhere"}, "there is no YOLOX file 'nowhere'; write yolox:FILE with the path of an ONNX file"),
        ({"threshold": 2.0}, "a threshold is a cosine from -1 to 1, not 2"),
        ({"new_below": 0.95}, "vehicles are new below a score from -1 to the threshold"),
        ({"enrol_unknown": False}, "a run needs a --gallery to search, or --enrol-unknown to begin an empty one"),
        ({"detector": "motion:?warm_up=999"}, "no vehicle was found in one; try another --detector or a lower --min-score"),
        ({"gallery": Path("no/known.db")}, "there is no folder"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_sentence_and_leaves_nothing(
    native: Native, tmp_path: Path, small_model: Path, film: Any, changes: dict[str, Any], said: str
) -> None:
    one = film(tmp_path / "one.avi", [((0, 0, 255), 0, 20)], frames=20)
    gallery = changes.pop("gallery", None)
    before = contents(tmp_path)
    session = Session((str(one),), small_model, "motion", tmp_path / "deep/out", enrol_unknown=True)
    if gallery is not None:
        session = replace(session, gallery=tmp_path / gallery)
    done = native(replace(session, **changes), check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vreid-native: ") and said in done.stderr and done.stderr.count("\n") == 1
    assert contents(tmp_path) == before and not (tmp_path / "deep").exists()


def waited_for(happened: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def started(program: Path, flags: Sequence[str]) -> "subprocess.Popen[str]":
    leaks = Path(__file__).with_name("leaks.supp")
    told = {**os.environ, "LSAN_OPTIONS": f"suppressions={leaks}:print_suppressions=0"}
    return subprocess.Popen(
        [program, "run", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=told
    )


def test_a_run_over_files_that_is_stopped_leaves_nothing(
    city: Path, model: Path, built: Built, engine: str, tmp_path: Path
) -> None:
    session = replace(session_of(city, model, "motion"), out=tmp_path / "out", gallery=tmp_path / "known.db")
    process = started(built("vreid-native"), [*flags_of(session), "--engine", engine])
    waited_for(lambda: any(tmp_path.glob(".out-*/sightings.jsonl")), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert "stopped; nothing was written" in process.communicate()[1]
    assert [path for path in contents(tmp_path) if not path.endswith(".lock")] == []


BALL = (
    "gst:videotestsrc is-live=true pattern=ball ! videorate ! video/x-raw,width=320,height=240,framerate=20/1 "
    "! videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1"
)


def test_a_live_run_grows_and_ends_well(
    built: Built, engine: str, tmp_path: Path, small_model: Path, film: Any
) -> None:
    """A moving ball as the camera, and a film beside it, of which no frame is lost."""
    beside = film(tmp_path / "beside.avi", [((0, 0, 255), 0, 20)])
    session = Session(
        (f"ball={BALL}", f"film={beside}"), small_model, "motion:?min_area=0.0001", tmp_path / "out",
        tmp_path / "known.db", enrol_unknown=True, embed="every",
    )  # fmt: skip
    file = tmp_path / "out/sightings.jsonl"
    for turn in (1, 2):  # the second goes on in the file of the first
        before = file.read_bytes() + b'{"a piece of a li' if turn == 2 else b""
        if before:
            file.write_bytes(before)
        process = started(built("vreid-native"), [*flags_of(session), "--engine", engine, "--json"])
        try:
            waited_for(lambda told=before: file.exists() and len(file.read_bytes()) > len(told), process)  # type: ignore[misc]
        except AssertionError as error:
            if "GStreamer" in str(error) or "gives no picture" in str(error):
                pytest.skip(f"this OpenCV shows no gst: source ({error})")
            raise
        time.sleep(1.5)  # the film's end, and more of the ball
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, "")
        report = json.loads(out)
        assert report == json.loads((tmp_path / "out/report.json").read_text())
        assert report["cameras"]["film"]["frames"] == 50 and report["cameras"]["ball"]["frames"] > 5
        assert report["cameras"]["ball"]["reconnects"] == 0 and report["sightings"] > 0
        lines = lines_of(tmp_path / "out")
        assert {line["camera"] for line in lines} <= {"ball", "film"}
        assert all(abs(line["seen"] - time.time()) < 120 for line in lines if line["camera"] == "ball")
    with read_gallery(tmp_path / "known.db") as gallery:
        assert gallery.stats().sightings == len(lines_of(tmp_path / "out"))


SYSTEM, SERVER = "/usr/bin/python3", "bench/rtsp_server.py"


def test_an_rtsp_camera_that_goes_away_comes_back(
    root: Path, built: Built, engine: str, tmp_path: Path, small_model: Path
) -> None:
    import socket

    needs = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    if sys.platform != "linux" or subprocess.run([SYSTEM, "-c", needs], capture_output=True, check=False).returncode:
        pytest.skip("no GStreamer RTSP server: apt install gir1.2-gst-rtsp-server-1.0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])

    def served() -> "subprocess.Popen[bytes]":
        server = subprocess.Popen([SYSTEM, SERVER, str(port), "gate="], cwd=root, stdout=subprocess.PIPE)
        until = time.monotonic() + 15
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return server
            except OSError:
                time.sleep(0.1)
        server.kill()
        pytest.skip("the RTSP server does not start here")

    server = served()
    session = Session(
        (f"rtsp://127.0.0.1:{port}/gate",), small_model, "motion:?min_area=0.0001", tmp_path / "out", enrol_unknown=True
    )
    process = started(built("vreid-native"), [*flags_of(session), "--engine", engine])
    try:
        waited_for(lambda: (tmp_path / "out/sightings.jsonl").exists(), process)
        time.sleep(2)
        server.kill()
        server.wait()
        server = served()
        time.sleep(5)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0, process.communicate()[1]
    finally:
        server.kill()
        server.wait()
        if process.poll() is None:
            process.kill()
    camera = json.loads((tmp_path / "out/report.json").read_text())["cameras"][f"127.0.0.1_{port}_gate"]
    assert camera["reconnects"] > 0 and camera["frames"] > 5 and (camera["width"], camera["height"]) != (0, 0)
