"""Every wrong request is one sentence on stderr and exit code 2: no traceback, nothing half-written, stdout empty."""

import json
import pickle
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vreid.cli.main import main

RED, GREEN = (0, 0, 255), (0, 255, 0)
BEYOND = 2**31
Wrong = Callable[..., str]


class Place:
    """A folder where everything is right: a film, pictures, a data set, a model, a gallery that knows one vehicle."""

    def __init__(self, folder: Path, model: Path, film: Any) -> None:
        self.folder, self.model = folder, model
        self.film = film(folder / "one.avi", [(RED, 0, 20)])
        self.known = folder / "known.db"
        self.picture = self.jpeg("red.jpg")
        assert main(["gallery", "enrol", str(self.picture), "--gallery", str(self.known), "--model", str(model)]) == 0

    def jpeg(self, name: str, whole: bool = True) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(path), noise)
        if not whole:
            path.write_bytes(path.read_bytes()[:-60])
        return path

    def table(self, *rows: str, columns: str = "path,vehicle,camera") -> Path:
        (self.folder / "set.csv").write_text("\n".join([columns, *rows]) + "\n")
        return self.folder / "set.csv"

    def run(self, *sources: object, **changes: object) -> list[str]:
        """The words of a run that is right but for `sources` and `changes`; None leaves a flag out."""
        flags = {"out": self.folder / "out", "model": self.model, "gallery": self.known, **changes}
        words = ["run", *map(str, sources), "--enrol-unknown"]
        for name, value in flags.items():
            words += [] if value is None else ["--" + name.replace("_", "-"), str(value)]
        return words

    def eval(self, data: object, model: object = None) -> list[str]:
        return ["eval", str(model or self.model), "--data", str(data)]

    def enrol(self, *pictures: object, **changes: object) -> list[str]:
        words = ["gallery", "enrol", *map(str, pictures)]
        for name, value in {"gallery": self.known, "model": self.model, **changes}.items():
            words += ["--" + name, str(value)]
        return words

    def contents(self) -> dict[str, bytes | None]:
        """Every file and folder. SQLite's own WAL files come and go with who looks, so they are left out."""
        paths = [path for path in self.folder.rglob("*") if not path.name.endswith(("-wal", "-shm"))]
        return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


@pytest.fixture
def place(tmp_path: Path, tiny_model: Path, film: Any) -> Place:
    return Place(tmp_path, tiny_model, film)


def sentence_of(code: int, out: str, err: str) -> str:
    assert (code, out) == (2, ""), err
    assert err.startswith("vreid: ") and err.count("\n") == 1 and err.endswith("\n"), err
    assert "Traceback" not in err and "Error" not in err
    return err


@pytest.fixture
def wrong(place: Place, capfd: pytest.CaptureFixture[str]) -> Wrong:
    """The sentence of a wrong request made in this process; the folder is as before."""

    def options(words: list[str]) -> str:
        before = place.contents()
        capfd.readouterr()
        code = main([*words, "--json"])
        said = capfd.readouterr()
        assert place.contents() == before
        return sentence_of(code, said.out, said.err)

    return options


# The command line several times over, each time with a line of its exit code on both streams
OUTSIDE = """
import json, os, sys
from vreid.cli.main import main
for words in json.loads(sys.argv[1]):
    code = main(words)
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        stream.flush()
        os.write(number, b"exit code %d\\n" % code)
"""


@pytest.fixture
def wrong_outside(place: Place) -> Callable[..., list[str]]:
    """The same for several requests in a process of its own, where FFmpeg and OpenCV have their say too."""

    def options(*requests: list[str]) -> list[str]:
        before = place.contents()
        command = [sys.executable, "-c", OUTSIDE, json.dumps(requests)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert place.contents() == before and done.returncode == 0, done.stderr
        said = [re.split(r"exit code (\d+)\n", stream) for stream in (done.stdout, done.stderr)]
        assert [len(parts) for parts in said] == [2 * len(requests) + 1] * 2 and said[0][-1] == said[1][-1] == ""
        ends = zip(said[1][1::2], said[0][::2], said[1][::2], strict=False)
        return [sentence_of(int(code), out, err) for code, out, err in ends]

    return options


# Sources


def test_a_missing_file(place: Place, wrong: Wrong) -> None:
    assert "there is no video" in wrong(place.run(place.film, place.folder / "gone.mp4"))
    assert "there is no folder" in wrong(place.run(f"{place.folder}/gone/"))
    assert "nothing to watch" in wrong(place.run())
    assert "2 sources are called 'one'" in wrong(place.run(place.film, place.film))
    assert "there is no source of the kind 'ftp://'" in wrong(place.run("ftp://host/a.mp4"))
    assert "camera" in wrong(place.run("/dev/video97"))


def damaged_video(place: Place, film: Any, kind: str) -> Path:
    path = place.folder / f"bad {kind}.{'mp4' if kind in ('noise', 'no index') else 'avi'}"
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*("mp4v" if kind == "no index" else "MJPG")), 10, (160, 120)
    )
    for _ in range(0 if kind == "no frames" else 40):
        writer.write(np.zeros((120, 160, 3), np.uint8))
    writer.release()
    if kind == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(50_000))
    elif kind == "no bytes":
        path.write_bytes(b"")
    elif kind != "no frames":
        whole = film(path, [(GREEN, 0, 20)], frames=60).read_bytes() if kind == "breaks off" else path.read_bytes()
        path.write_bytes(whole[: int(0.7 * len(whole))])
    return path


def test_a_damaged_video(place: Place, wrong_outside: Callable[..., list[str]], film: Any) -> None:
    kinds = ["noise", "no index", "no bytes", "no frames", "breaks off"]
    paths = [damaged_video(place, film, kind) for kind in kinds]
    every = wrong_outside(*([*place.run(place.film, path), "--strict"] for path in paths))
    for path, said in zip(paths, every, strict=True):
        assert path.name in said and ("record" in said or "copy" in said or "re-encode" in said)


def test_a_truncated_picture(place: Place, wrong: Wrong, wrong_outside: Callable[..., list[str]]) -> None:
    for number in range(8):
        place.jpeg(f"road/{number}.jpg", whole=number != 5)
    (said,) = wrong_outside(place.run(f"{place.folder}/road/"))
    assert "5.jpg is cut short" in said
    bad = place.folder / "road" / "5.jpg"
    assert "5.jpg is cut short" in wrong(place.enrol(place.picture, bad, name="x"))
    table = place.table("red.jpg,1,a", "road/5.jpg,1,b")
    assert "5.jpg is cut short" in wrong(place.eval(table))


def test_a_video_without_a_vehicle(place: Place, wrong: Wrong, film: Any) -> None:
    empty = film(place.folder / "empty.avi", [])
    assert "no vehicle was found in empty" in wrong(place.run(empty))
    assert "no vehicle was found in empty" in wrong(place.run(empty, gallery=place.folder / "new.db"))


# Models


def changed(manifest: Path, **fields: object) -> Path:
    """A copy of the manifest with other fields, beside it."""
    path = manifest.with_name("changed.json")
    path.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))
    return path


def test_a_model_of_another_space_than_the_gallery(place: Place, wrong: Wrong) -> None:
    other = changed(place.model, fingerprint="colour-2", name="colour two")
    for words in (place.run(place.film, model=other), place.enrol(place.picture, model=other, name="x")):
        assert "holds features of the model 'colour'" in wrong(words)


def test_a_manifest_that_is_not_the_engines(place: Place, wrong: Wrong) -> None:
    unknown = changed(place.model, colour_order="RGB")
    assert "colour_order: extra inputs are not permitted" in wrong(place.run(place.film, model=unknown))
    other = changed(place.model, schema=2)
    assert "schema 2 and this vreid reads schema 1" in wrong(place.run(place.film, model=other))
    engine = place.model.with_name("colour.onnx")
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    for words in (place.run(place.film), place.enrol(place.picture, name="x")):
        assert "sha256 differs" in wrong(words)
    engine.unlink()
    assert "not in the same folder" in wrong(place.run(place.film))


def test_what_is_no_model(place: Place, wrong: Wrong) -> None:
    engine = place.model.with_name("colour.onnx")
    table = place.table("red.jpg,1,a", f"{place.jpeg('more.jpg').name},1,b")
    for words in (
        place.run(place.film, model=engine),
        place.eval(table, engine),
        place.enrol(place.picture, model=engine),
    ):
        assert "is a bare engine; give its manifest" in wrong(words)
    assert "there is no model 'nothing'" in wrong(place.run(place.film, model="nothing"))
    assert "there is no manifest" in wrong(place.run(place.film, model=place.folder / "gone.json"))
    assert "is not a JSON manifest" in wrong(place.run(place.film, model=place.picture))


def test_a_path_that_the_system_refuses(place: Place, wrong: Wrong) -> None:
    for words in (
        place.run("x" * 300 + ".mp4"),
        place.run(place.film, model="x" * 300),
        place.run(place.film, gallery=place.folder / ("x" * 300)),
        ["gallery", "list", "--gallery", "x" * 300],
    ):
        assert "File name too long" in wrong(words)
    assert "there is no video ~nobody-here/a.mp4" in wrong(place.run("~nobody-here/a.mp4"))


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("trapped"),))


def test_a_checkpoint_that_is_none(place: Place, wrong: Wrong, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    table, path = place.table("red.jpg,1,a", f"{place.jpeg('more.jpg').name},1,b"), place.folder / "best.pt"
    torch.save({"state_dict": {"x": torch.zeros(9999)}}, path)
    other, noise = path.read_bytes(), np.random.default_rng(0).bytes(5000)
    for content in (b"", b"weights", noise, other, other[:3], other[:9000], pickle.dumps(Trap())):
        path.write_bytes(content)
        assert "is not a checkpoint" in wrong(place.eval(table, path))
        assert "vreid export" in wrong(place.run(place.film, model=path))
    assert not (tmp_path / "trapped").exists()
    path.unlink()
    assert "there is no checkpoint" in wrong(place.eval(table, path))


# Galleries


def test_a_gallery_that_cannot_be_used(place: Place, wrong: Wrong) -> None:
    words = place.run(place.film, gallery=place.folder / "gone.db")
    words.remove("--enrol-unknown")
    assert "there is no gallery" in wrong(words)
    assert "there is no folder" in wrong(place.run(place.film, gallery=place.folder / "gone" / "known.db"))
    assert "is not a gallery" in wrong(place.run(place.film, gallery=place.picture))


@contextmanager
def other_writer(path: Path) -> Iterator[int]:
    """Another vreid that has the gallery open for writing."""
    program = (
        "import sys; from vreid.runtime.gallery import open_gallery\n"
        "with open_gallery(sys.argv[1], fingerprint='colour-1', dim=3, model='colour', write=True):\n"
        "    print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "open\n"
        yield child.pid
        child.communicate("")


def test_a_gallery_that_another_vreid_writes(place: Place, wrong: Wrong) -> None:
    with other_writer(place.known) as number:
        for words in (place.run(place.film), place.enrol(place.picture, name="x")):
            assert f"is being written by process {number}; stop it or use another gallery" in wrong(words)
        assert main([*place.run(place.film)[:2], *place.run()[2:]]) == 0  # without --enrol-unknown it only reads
    assert (place.folder / "out" / "report.json").exists()


@pytest.mark.parametrize("kind", ["IMMEDIATE", "EXCLUSIVE"])
def test_a_gallery_that_another_program_locks(place: Place, wrong: Wrong, kind: str) -> None:
    with closing(sqlite3.connect(place.known, isolation_level=None)) as holder:
        holder.execute(f"BEGIN {kind}")
        for words in (place.run(place.film), place.enrol(place.picture, name="x")):
            assert "is locked by another program; close that program and try again" in wrong(words)
        holder.execute("ROLLBACK")


# Data


def test_a_data_set_that_is_wrong(place: Place, wrong: Wrong) -> None:
    assert "has no column 'camera'" in wrong(place.eval(place.table("red.jpg,1", columns="path,vehicle")))
    assert "there is no data set" in wrong(place.eval(place.folder / "gone"))
    assert "there is no picture gone.jpg" in wrong(place.eval(place.table("gone.jpg,1,a")))
    place.jpeg("blue.jpg")
    assert "no query has its vehicle" in wrong(place.eval(place.table("red.jpg,1,a", "blue.jpg,2,b")))
    assert "set.csv:3: the picture" in wrong(place.eval(place.table("red.jpg,1,a", "red.jpg,2,b")))
    assert "at least 1" in wrong([*place.eval(place.table("red.jpg,1,a")), "--batch", "0"])
    for part in ("query", "test"):
        place.jpeg(f"image_{part}/first.jpg")
    assert "carries no vehicle ids" in wrong(place.eval(place.folder))


def test_ids_beyond_32_bits(place: Place, wrong: Wrong) -> None:
    assert f"vehicle number {BEYOND} is beyond" in wrong(place.eval(place.table(f"red.jpg,{BEYOND},a")))
    (place.folder / "set.csv").unlink()
    for part in ("query", "test"):
        place.jpeg(f"image_{part}/{BEYOND}_c001_1.jpg")
        (place.folder / f"name_{part}.txt").write_text(f"{BEYOND}_c001_1.jpg\n")
    assert f"vehicle number {BEYOND} is beyond" in wrong(place.eval(place.folder))
    boxes = place.folder / "one.txt"
    boxes.write_text(f"1,1,1,1,20,20\n2,{BEYOND},1,1,20,20\n")
    assert f"line 2: id {BEYOND} is not" in wrong(place.run(place.film, detector=f"replay:{boxes}"))
    truth = place.folder / "truth"
    truth.mkdir()
    boxes.rename(truth / "gt_one.txt")
    assert f"line 2: id {BEYOND} is not" in wrong(place.run(place.film, truth=truth))


# Flags


def test_flags_that_are_wrong(place: Place, wrong: Wrong) -> None:
    assert "is a file; give a folder for --out" in wrong(place.run(place.film, out=place.picture))
    assert "cannot write" in wrong(place.run(place.film, out=place.picture / "deeper"))
    assert "there is no detector 'yolo'" in wrong(place.run(place.film, detector="yolo:x.onnx"))
    assert "there is no YOLOX file" in wrong(place.run(place.film, detector="yolox:gone.onnx"))
    assert "nothing to replay" in wrong(place.run(place.film, detector="replay:gone"))
    assert "no option 'speed'" in wrong(place.run(place.film, detector="motion:?speed=3"))
    assert "a cosine from -1 to 1" in wrong(place.run(place.film, threshold="1.5"))
    assert "a cosine from -1 to 1" in wrong(place.run(place.film, threshold="nan"))
    assert "between 0 and 1" in wrong(place.run(place.film, min_score="7"))
    assert "--threads must be at least 1 and at most 1024, not 0" in wrong(place.run(place.film, threads="0"))
    assert "neither gt_one.txt nor one.txt" in wrong(place.run(place.film, truth=place.folder))
    single = [word for word in place.run(place.film, gallery=None) if word != "--enrol-unknown"]
    assert "needs a --gallery to search, or --enrol-unknown" in wrong(single)
    assert "--cameras" in wrong(["demo", "--cameras", "0", "--model", str(place.model)])
    assert "1-16 cameras" in wrong(["demo", "--cameras", "17", "--model", str(place.model)])


@pytest.mark.parametrize(
    "words",
    [
        ["run", "a.mp4", "--out", "out", "--fast"],
        ["run", "a.mp4", "--out", "out", "--threads", "many"],
        ["eval", "x.json"],
        ["eval", "--data", "x"],
        ["demo", "--size", "3"],
        ["gallery", "enrol", "a.jpg"],
    ],
)
def test_what_the_parser_refuses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(words)
    said = capsys.readouterr()
    assert leaving.value.code == 2 and said.out == "" and said.err and "Traceback" not in said.err


@pytest.mark.parametrize("words", [("--out", ""), ("--out=",)])
def test_an_empty_out_is_not_the_current_folder(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "synth://city?seconds=1&vehicles=2", "--model", "vreid-s", "--enrol-unknown", *words]) == 2
    assert "--out is empty" in capsys.readouterr().err and list(tmp_path.iterdir()) == []
