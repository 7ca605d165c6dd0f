"""The C interface holds: its symbols, its header in both languages, its answers from another language, its examples."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.zoo import manifest_path
from vreid.runtime.gallery import open_gallery, read_gallery

Built = Callable[[str], Path]  # see conftest.py


def words(*line: str | Path, **options: object) -> str:
    """What a program that has to succeed says."""
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def listed(root: Path) -> list[str]:
    text = (root / "runtime/native/c/symbols.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_the_header_declares_what_is_listed(root: Path) -> None:
    header = (root / "runtime/native/include/vreid/vreid.h").read_text()
    declared = re.findall(r"^VREID_API [^;(]*?(\w+)\(", header, re.MULTILINE)
    assert sorted(declared) == sorted(set(declared)) == listed(root) == sorted(listed(root))


def test_the_library_exports_what_is_listed_and_nothing_else(root: Path, built: Built) -> None:
    library = built("libvreid_c.so")
    exported = [line.split()[-1] for line in words("nm", "-D", "--defined-only", library).splitlines()]
    assert sorted(exported) == listed(root)


@pytest.mark.parametrize("language", [["gcc", "-x", "c", "-std=c99"], ["g++", "-x", "c++", "-std=c++11"]])
def test_the_header_is_plain_c_and_plain_cpp(root: Path, language: list[str]) -> None:
    if shutil.which(language[0]) is None:
        pytest.skip(f"there is no {language[0]}")
    header = root / "runtime/native/include/vreid/vreid.h"
    words(*language, "-Wall", "-Wextra", "-Wpedantic", "-Wstrict-prototypes" if language[0] == "gcc" else "-Wshadow",
          "-Werror", "-fsyntax-only", header)  # fmt: skip


FOREIGN = """
import ctypes, json, sys
library = ctypes.CDLL(sys.argv[1])
library.vreid_last_error.restype = ctypes.c_char_p
class Hit(ctypes.Structure):
    _fields_ = [("vehicle", ctypes.c_int64), ("score", ctypes.c_float), ("reserved", ctypes.c_int32)]
queries = json.load(sys.stdin)
gallery, count, k, dim = ctypes.c_void_p(), len(queries), 4, len(queries[0])
opened = library.vreid_gallery_open_for(sys.argv[2].encode(), b"aaaaaaaa", dim, b"small", 0, ctypes.byref(gallery))
assert opened == 0, library.vreid_last_error()
hits, found = (Hit * (count * k))(), (ctypes.c_uint32 * count)()
rows = (ctypes.c_float * (count * dim))(*[number for row in queries for number in row])
assert library.vreid_gallery_search(gallery, rows, count, dim, k, hits, found) == 0
print(json.dumps([[(hits[k * row + at].vehicle, hits[k * row + at].score) for at in range(found[row])] for row in range(count)]))
assert library.vreid_gallery_remove(gallery, ctypes.c_int64(1)) == 2
print(library.vreid_last_error().decode(), file=sys.stderr)
library.vreid_gallery_close(gallery)
"""


def test_another_language_finds_the_same_through_it(tmp_path: Path, built: Built) -> None:
    rng, library = np.random.default_rng(0), built("libvreid_c.so")
    with open_gallery(tmp_path / "g.db", fingerprint="aaaaaaaa", dim=8, model="small", write=True) as gallery:
        for row in rng.normal(size=(30, 8)).astype(np.float32):
            gallery.add_prototype(gallery.add_vehicle(), "gate", row)
        queries = rng.normal(size=(9, 8)).astype(np.float32)
        expected = gallery.search(queries, 4)
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN, str(library), str(tmp_path / "g.db")],
        input=json.dumps(queries.tolist()), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert [[hit[0] for hit in row] for row in found] == [[hit.vehicle for hit in row] for row in expected]
    for row, hits in zip(found, expected, strict=True):
        assert np.allclose([hit[1] for hit in row], [hit.score for hit in hits], rtol=0, atol=1e-6)
    assert "was opened for reading" in done.stderr


def model_of(folder: Path, program: Path) -> Path:
    """The bundled model for an engine that this build has."""
    manifest = json.loads(manifest_path("vreid-s").read_text())
    for engine in ("onnxruntime", "openvino"):
        manifest["backend"] = engine
        folder.mkdir(exist_ok=True)
        (folder / "vreid-s.json").write_text(json.dumps(manifest))
        shutil.copy(manifest_path("vreid-s").with_suffix(".onnx"), folder)
        if subprocess.run([program, "info", folder / "vreid-s.json"], capture_output=True, check=False).returncode == 0:
            done = subprocess.run([program, "embed", folder / "vreid-s.json", folder / "no.png"],
                                  capture_output=True, text=True, check=False)  # fmt: skip
            if "without the engine" not in done.stderr:
                return folder / "vreid-s.json"
    pytest.skip("this build has no engine that runs ONNX files")


def pictures(folder: Path) -> list[Path]:
    """Two pictures of each of three vehicles."""
    rng, made = np.random.default_rng(0), list[Path]()
    for vehicle in range(3):
        base = cv2.resize(rng.integers(0, 255, (6, 8, 3)).astype(np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
        for number in range(2):
            image = np.clip(base.astype(int) + rng.integers(-9, 9, base.shape), 0, 255).astype(np.uint8)
            made.append(folder / f"{vehicle}-{number}.png")
            cv2.imwrite(str(made[-1]), image)
    return made


def test_the_examples_are_built_against_an_installed_vreid_and_find(root: Path, tmp_path: Path, built: Built) -> None:
    """find_package(vreid) outside the tree; a gallery enrolled by Python, searched in C, written on in C++."""
    model, build = model_of(tmp_path / "model", built("vreid-native")), built("CMakeCache.txt").parent
    words("cmake", "--install", build, "--prefix", tmp_path / "installed")
    words("cmake", "-S", root / "runtime/native/examples", "-B", tmp_path / "build",
          f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}", "-DCMAKE_BUILD_TYPE=Release")  # fmt: skip
    words("cmake", "--build", tmp_path / "build")
    images = pictures(tmp_path)
    known, firsts, seconds = tmp_path / "known.db", images[0:4:2], images[1:4:2]
    words(sys.executable, "-m", "vreid.cli.main", "gallery", "enrol", *firsts, "--gallery", known, "--model", "vreid-s")
    said = words(tmp_path / "build/find_c", model, known, *seconds).splitlines()
    assert [line.rpartition(" (")[0] for line in said] == [f"{path}: {path.stem[0]}-0" for path in seconds]
    assert all(float(line.rpartition("(")[2].rstrip(")")) > 0.99 for line in said)
    fresh = tmp_path / "fresh.db"
    said = words(tmp_path / "build/find_cpp", model, fresh, *images[:2]).splitlines()
    assert said[0] == f"{images[0]}: enrolled as vehicle-0001"
    assert said[1].startswith(f"{images[1]}: vehicle-0001 (0.99")
    with read_gallery(fresh) as reader:
        assert [vehicle.prototypes for vehicle in reader.vehicles()] == [1]
    wrong = subprocess.run([tmp_path / "build/find_c", model, tmp_path / "no.db", images[0]], capture_output=True, text=True,
                           check=False)  # fmt: skip
    assert (wrong.returncode, wrong.stdout) == (2, "") and "there is no gallery" in wrong.stderr


def test_the_program_searches_as_the_verb_of_python(tmp_path: Path, built: Built) -> None:
    """The same document but for the scores' last digits, filters included; the same sentences."""
    program = built("vreid-native")
    model, images, known = model_of(tmp_path / "model", program), pictures(tmp_path), tmp_path / "known.db"
    python = [sys.executable, "-m", "vreid.cli.main", "gallery"]
    words(*python, "enrol", *images[::2], "--gallery", known, "--model", "vreid-s")
    for flags in (["--k", "2"], ["--name", "0*", "--name", "2*"], ["--camera", "gate"], ["--since", "2026-11-22"]):
        queries = [*images[1::2], "--gallery", known, *flags, "--json"]
        by_python = json.loads(words(*python, "search", *queries, "--model", "vreid-s"))
        by_native = json.loads(words(program, "search", *queries, "--model", model))
        scores = []
        for document in (by_python, by_native):
            hits = [hit for query in document["queries"] for hit in query["matches"]]
            scores.append([hit.pop("score") for hit in hits])
        assert json.dumps(by_native) == json.dumps(by_python), flags
        assert np.allclose(*scores, rtol=0, atol=1e-4)
    for flags in (["--k", "0"], ["--since", "soon"], ["--since", "0h"], ["--since", "2026-02-30"]):
        both = [
            subprocess.run(
                [*map(str, line), images[0], "--gallery", known, *flags], capture_output=True, text=True, check=False
            )
            for line in ([*python, "search", "--model", "vreid-s"], [program, "search", "--model", model])
        ]
        assert [done.returncode for done in both] == [2, 2] and both[0].stdout == both[1].stdout == ""
        assert both[0].stderr.partition(": ")[2] == both[1].stderr.partition(": ")[2], flags
