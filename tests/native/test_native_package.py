"""What is installed can be used: by CMake, by pkg-config, moved elsewhere, and it shows nothing but its interface."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.zoo import manifest_path

Built = Callable[[str], Path]  # see conftest.py
SHOWN = {  # of C++, by include/vreid: classes and functions
    "Embedder", "Engine", "Gallery", "Refused", "TrackIdentifier", "batch_of", "batch_of_boxes", "cut_out",
    "edit_gallery", "engine_for", "engine_names", "manifest_from", "open_embedder",
    "open_gallery", "pixels_of", "read_gallery", "read_manifest", "read_picture",
    "unit",
}  # fmt: skip
ABI = """
#include <stdio.h>
#include <vreid/vreid.h>
int main(void) { printf("abi %u\\n", vreid_abi_version()); return vreid_abi_version() != VREID_ABI_VERSION; }
"""
CPP = """
#include <vreid/preprocess.hpp>
#include <vreid/errors.hpp>
#include <vreid/gallery.hpp>
#include <iostream>
int main(int, char** words) {
    try { vreid::open_gallery(words[1], {"aaaaaaaa", 4, "m"}, true).add_vehicle("taxi"); vreid::read_gallery(words[2]); }
    catch (const vreid::Refused& refused) { std::cout << refused.what(); }
}
"""


def run(*line: str | Path, env: dict[str, str] | None = None) -> str:
    """The output of a program that has to succeed."""
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def static(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of an installed static library, moved after it was installed."""
    return installed(built("CMakeCache.txt").parent, tmp_path_factory.mktemp("static"))


@pytest.fixture(scope="session")
def shared_library(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a shared one, from build/native-shared (see the Makefile) or the folder in VREID_NATIVE_SHARED_BUILD."""
    build = Path(os.environ.get("VREID_NATIVE_SHARED_BUILD") or root / "build" / "native-shared")
    if not (build / "CMakeCache.txt").is_file():
        pytest.skip(
            "no shared library was built: make native, or cmake -S . -B build/native-shared -DBUILD_SHARED_LIBS=ON"
        )
    return installed(build, tmp_path_factory.mktemp("shared"))


@pytest.fixture(params=["static", "shared_library"])
def prefix(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


def installed(build: Path, folder: Path) -> Path:
    run("cmake", "--install", build, "--prefix", folder / "first")
    return (folder / "first").rename(folder / "moved")


def words_of(prefix: Path, name: str, *flags: str) -> list[str]:
    """What pkg-config says of a package in `prefix`."""
    if shutil.which("pkg-config") is None:
        pytest.skip("there is no pkg-config")
    found = next(prefix.glob(f"lib*/**/pkgconfig/{name}.pc"))
    said = run(
        "pkg-config", "--cflags", "--libs", *flags, name, env={**os.environ, "PKG_CONFIG_PATH": str(found.parent)}
    )
    assert "first" not in said
    return said.split()


def library(prefix: Path, name: str) -> Path:
    return next(prefix.glob(f"lib*/**/{name}"))


@pytest.mark.parametrize("flags", [(), ("--static",)])
def test_a_program_of_c_by_pkg_config(prefix: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "c.c").write_text(ABI)
    libraries = library(prefix, "libvreid_c.so").parent
    run("gcc", tmp_path / "c.c", "-o", tmp_path / "c", *words_of(prefix, "vreid_c", *flags), f"-Wl,-rpath,{libraries}")
    assert run(tmp_path / "c") == "abi 1\n"


def test_a_program_of_cpp_by_pkg_config(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "c.cpp").write_text(CPP)
    libraries = library(prefix, "libvreid_c.so").parent
    run("g++", "-std=c++17", tmp_path / "c.cpp", "-o", tmp_path / "c", *words_of(prefix, "vreid"),
        f"-Wl,-rpath,{libraries}")  # fmt: skip
    assert "there is no gallery" in run(tmp_path / "c", tmp_path / "a.db", tmp_path / "no.db")
    assert (tmp_path / "a.db").is_file()


@pytest.mark.parametrize("package", ["vreid", "vreid_c"])
def test_a_project_of_c_only_by_cmake(prefix: Path, tmp_path: Path, package: str) -> None:
    """The C library of a shared install finds the shared C++ library next to it."""
    (tmp_path / "c.c").write_text(ABI)
    (tmp_path / "c.cpp").write_text(ABI)
    language, source = ("C", "c.c") if package == "vreid_c" else ("CXX", "c.cpp")
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.22)\nproject(c LANGUAGES {language})\nfind_package(vreid REQUIRED)\n"
        f"add_executable(c {source})\ntarget_link_libraries(c PRIVATE vreid::{package})\n"
    )
    run("cmake", "-S", tmp_path, "-B", tmp_path / "b", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", tmp_path / "b")
    assert run(tmp_path / "b/c") == "abi 1\n"


def test_the_libraries_look_next_to_them_first(prefix: Path) -> None:
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf")
    for path in prefix.glob("lib*/**/libvreid*.so"):
        said = run("readelf", "-d", path)
        assert re.search(r"R(UN)?PATH.*\[\$ORIGIN[:\]]", said), said


def test_the_shared_library_shows_its_interface_and_nothing_else(root: Path, shared_library: Path) -> None:
    said = run("nm", "-DC", "--defined-only", library(shared_library, "libvreid.so"))
    symbols = [line.split(maxsplit=2)[2] for line in said.splitlines()]
    listed = (root / "runtime/native/c/symbols.txt").read_text().splitlines()
    assert sorted(name for name in symbols if name.startswith("vreid_")) == [
        name for name in listed if name[:1].isalpha()
    ]
    found = set()
    for symbol in symbols:
        if symbol.startswith("vreid_"):
            continue
        match = re.match(r"(?:typeinfo for |typeinfo name for |vtable for )?vreid::(\w+)", symbol)
        assert match is not None and match[1] in SHOWN, symbol
        found.add(match[1])
    assert found == SHOWN
    assert not [symbol for symbol in symbols if symbol.startswith("vreid::Gallery::Inside")]


def test_the_installed_program_runs_the_bundled_model(static: Path, built: Built, tmp_path: Path) -> None:
    """With no environment at all, by the line in docs/native.md."""
    crop = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "crop.jpg"), crop)
    program = static / "bin/vreid-native"
    if not program.is_file():
        pytest.skip("vreid-native was not built")
    about = json.loads(run(program, "info", manifest_path("vreid-s"), "--json", env={}))
    if not {"openvino", "onnxruntime"} & set(about["engines"]):
        pytest.skip("no engine for the bundled model was built: see docs/native.md")
    said = run(program, "embed", "--model", manifest_path("vreid-s"), tmp_path / "crop.jpg", "--json",
               env={})  # fmt: skip
    assert '"feature"' in said and said.count("\n") > 100


def test_the_appsink_looks_up_boxes_and_whole_frames(built: Built, tmp_path: Path, root: Path) -> None:
    """Through a real pipeline; a box is named by the gallery, and what is wrong is one sentence."""
    program = built("find_appsink")
    model = root / "tests/data/colour/colour.json"
    engines = run(built("vreid-native"), "info", model, "--json")
    engine = "openvino" if '"openvino"' in engines else "opencv"
    (tmp_path / "colour.json").write_text(model.read_text().replace('"onnxruntime"', f'"{engine}"'))
    shutil.copy(model.with_suffix(".onnx"), tmp_path)
    picture = tmp_path / "red.png"
    cv2.imwrite(str(picture), np.full((32, 32, 3), (0, 0, 200), np.uint8))
    said = run(built("find_cpp"), tmp_path / "colour.json", tmp_path / "g.db", picture)
    assert "enrolled as vehicle-0001" in said
    (tmp_path / "boxes.txt").write_text(
        "1,1,10,20,30,40,0.9,2,1\n\n2,1,10,20,30,40,0.9,2,1\n2,2,50,60,30,40,0.9,2,1\n9,1,0,0,5,5\n"
    )
    pipeline = ("videotestsrc num-buffers=3 pattern=red ! video/x-raw,width=160,height=120 ! videoconvert ! "
                "video/x-raw,format=BGR ! appsink name=frames")  # fmt: skip
    line = [str(program), pipeline, str(tmp_path / "colour.json"), str(tmp_path / "g.db")]
    found = [one.split(" (")[0] for one in run(*line, f"replay:{tmp_path / 'boxes.txt'}").splitlines()]
    assert found == ["track 2: vehicle-0001", "track 1: unknown"]
    found = [one.split(" (")[0] for one in run(*line).splitlines()]
    assert found == [f"{frame}: vehicle-0001" for frame in range(3)]
    (tmp_path / "wrong.txt").write_text("1,1,nan,20,30,40\n")
    for wrong, reason in (
        ([*line, f"replay:{tmp_path / 'wrong.txt'}"], "line 1"),
        ([*line, "replay:no.txt"], "cannot be read"),
        (
            [line[0], "filesrc location=/no/such ! decodebin ! videoconvert ! appsink name=frames", *line[2:]],
            "pipeline failed",
        ),
        ([line[0], "videotestsrc ! fakesink", *line[2:]], "no appsink"),
    ):
        done = subprocess.run(wrong, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 2 and reason in done.stderr, done.stderr


def test_a_package_with_tensorrt_names_no_path_of_it(root: Path, tmp_path: Path) -> None:
    """An empty header and library stand in for TensorRT: only what a package would say is tested."""
    folder, build = tmp_path / "trt", tmp_path / "b"
    (folder / "include").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "include/NvInfer.h").touch()
    (tmp_path / "x.c").write_text("int x;")
    run("gcc", "-shared", "-o", folder / "lib/libnvinfer.so", tmp_path / "x.c")
    said = run("cmake", "-S", root, "-B", build, "-DVREID_NATIVE=ON", "-DVREID_TESTS=OFF",
               f"-DTensorRT_ROOT={folder}")  # fmt: skip
    if "left out: engine tensorrt" in said:
        pytest.skip("there is no CUDA toolkit")
    prefix = tmp_path / "prefix"
    package = prefix / "lib/cmake/vreid"
    package.mkdir(parents=True)
    (prefix / "include").mkdir()
    native = build / "runtime/native"
    for file in (native / "vreidConfig.cmake", *(native / "CMakeFiles/Export").glob("*/*.cmake")):
        shutil.copy(file, package)
    for name in ("libvreid.a", "libvreid_c.so.1"):
        (prefix / "lib" / name).touch()
    for version in native.glob("vreidConfigVersion.cmake"):
        shutil.copy(version, package)
    (prefix / "lib" / f"libvreid_c.so.{version_of(root)}").touch()
    targets = "".join(file.read_text() for file in package.glob("vreidTargets*.cmake"))
    assert "nvinfer" not in targets
    shutil.rmtree(folder)  # wherever TensorRT then lies
    user = tmp_path / "user"
    user.mkdir()
    (user / "c.cpp").write_text("int main() {}")
    (user / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(c LANGUAGES CXX)\nfind_package(vreid REQUIRED)\n"
        "add_executable(c c.cpp)\ntarget_link_libraries(c PRIVATE vreid::vreid)\n"
    )
    run("cmake", "-S", user, "-B", user / "b", f"-DCMAKE_PREFIX_PATH={prefix}")


def version_of(root: Path) -> str:
    found = re.search(r'^version = "([^"]+)"', (root / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_tensorrt_engine_compiles_against_a_stand_in(root: Path) -> None:
    """TensorRT's own headers are not here: tests/native/tensorrt declares what is called. It is compiled, and never run."""
    cuda = next(
        (path for path in sorted(Path("/usr/local").glob("cuda*/include")) if (path / "cuda_runtime_api.h").is_file()),
        None,
    )
    if cuda is None:
        pytest.skip("there is no CUDA toolkit in /usr/local")
    opencv = [flag.replace("-I", "-isystem") for flag in run("pkg-config", "--cflags", "opencv4").split()]
    native = root / "runtime/native"
    run("g++", "-std=c++17", "-Wall", "-Wextra", "-Wshadow", "-Wconversion", "-Werror", "-fsyntax-only",
        '-DVREID_TENSORRT_LIBRARY="/trt/libnvinfer.so"', f"-I{native}", f"-I{native / 'include'}", *opencv,
        "-isystem", cuda, "-isystem", root / "tests/native/tensorrt", native / "engines/tensorrt.cpp")  # fmt: skip
