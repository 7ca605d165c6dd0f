"""vreid doctor says what is true: of this environment, of broken ones, and of machines it is told about."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vreid.cli.doctor import NEEDS, EngineHere, Job, engines, jetpack, jobs, traps
from vreid.cli.installed import DISTRIBUTIONS, Machine, Package, hidden_cv2, machine, numbers

PC = Machine(None, (), None, None)
WITH_GPU = Machine("13.0", ("A GPU (compute capability 8.6)",), None, None)
ORIN = Machine("12.6", ("Orin (compute capability 8.7)",), "36.4.3", "NVIDIA Jetson Orin Nano")
CORE = ("numpy", "scipy", "cv2", "av", "simplejpeg", "onnxruntime", "faiss", "pydantic", "tyro", "rich")
# Runs the verb where some modules are not installed, and says on stderr whether torch was imported.
PROGRAM = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
from vreid.cli.main import main
code = main(["doctor", "--json"])
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""


def doctor(*absent: str, **environment: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, document, and what stderr says, in a new process."""
    command = [sys.executable, "-c", PROGRAM, *absent]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    return done.returncode, json.loads(done.stdout), done.stderr


def there(*modules: str, **changed: Package) -> dict[str, Package]:
    """Packages without a fault, but for those in `changed`."""
    return {module: Package(module, "1.20.0", (module,), None, "") for module in modules} | changed


def job(name: str, packages: dict[str, Package], on: Machine) -> Job:
    return next(found for found in jobs(packages, on) if found.name == name)


def engine(name: str, packages: dict[str, Package], on: Machine) -> EngineHere:
    return next(found for found in engines(packages, on) if found.name == name)


def test_this_environment_can_run_and_torch_is_never_imported() -> None:
    code, said, stderr = doctor()
    assert code == 0 and said["works"] and said["jobs"]["run"]["ready"]
    assert "FFMPEG" in said["packages"]["cv2"]["note"] and "CPU" in said["packages"]["onnxruntime"]["note"]
    assert stderr == "False\n"


def test_a_missing_core_package_is_a_no_with_its_fix() -> None:
    code, said, _ = doctor("faiss", "torch")
    assert code == 1 and not said["works"]
    assert said["jobs"]["run"]["missing"] == ["faiss"] and said["jobs"]["run"]["fix"].endswith("faiss-cpu")
    assert said["jobs"]["train"] == {
        "name": "train",
        "ready": False,
        "missing": ["torch"],
        "fix": "pip install 'vreid[train]'",
    }


def test_the_doctor_knows_every_package_that_the_project_names(root: Path) -> None:
    """But for those of the developers, and for tomli, which Python has itself from 3.11 on."""
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name not in ("dev", "lint")}
    wanted = [line for lines in (project["dependencies"], *extras.values()) for line in lines]
    names = {re.split(r"[^A-Za-z0-9_-]", line, maxsplit=1)[0] for line in wanted} - {"tomli"}
    assert names <= {name for names in DISTRIBUTIONS.values() for name in names}
    needed = {module for modules in NEEDS.values() for module in modules}
    core = {re.split(r"[^A-Za-z0-9_-]", line, maxsplit=1)[0] for line in project["dependencies"]} - {"tomli"}
    assert core == {DISTRIBUTIONS[module][0] for module in NEEDS["run"]}
    assert needed <= set(DISTRIBUTIONS)


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [
        ("safetensors", "weights in safetensors", "train"),
        ("tensorboardX", "TensorBoard events", "tensorboard"),
        ("matplotlib", "training report", "train"),
    ],
)
def test_what_a_training_may_want_besides_torch_has_a_job_and_its_fix(module: str, name: str, extra: str) -> None:
    lacking = job(name, there(*CORE, "torch"), PC)
    assert (lacking.ready, lacking.missing, lacking.fix) == (False, (module,), f"pip install 'vreid[{extra}]'")
    assert job(name, there(*CORE, module), PC).ready and job("train", there(*CORE, "torch"), PC).ready


def test_people_read_every_job_and_its_fix_unbroken() -> None:
    program = PROGRAM.replace(', "--json"', "")
    command = [sys.executable, "-c", program, "torch", "openvino"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stderr == "False\n"
    lines = done.stdout.splitlines()
    assert "train: pip install 'vreid[train]'" in lines and "openvino engine: pip install openvino" in lines


def test_gpu_engines_need_a_device_and_then_a_provider_or_tensorrt_with_a_binding() -> None:
    assert "device" in job("gpu engines", there(*CORE), PC).missing[0]
    assert job("gpu engines", there(*CORE), WITH_GPU).fix == "pip install tensorrt cuda-python"
    assert job("gpu engines", there(*CORE, "tensorrt"), WITH_GPU).fix == "pip install cuda-python"
    assert job("gpu engines", there(*CORE, "tensorrt", "pycuda"), WITH_GPU).ready
    provider = Package("onnxruntime", "1.31.0", ("onnxruntime-gpu",), None, "Tensorrt, CUDA, CPU")
    assert job("gpu engines", there(*CORE, onnxruntime=provider), WITH_GPU).ready
    assert not job("gpu engines", there(*CORE, onnxruntime=provider), PC).ready


def test_a_jetson_is_sent_to_jetpack() -> None:
    needed = job("gpu engines", there(*CORE, "tensorrt_rtx", "cuda"), ORIN)
    assert "nvidia-jetpack" in needed.fix and "--system-site-packages" in needed.fix
    assert any("fails by design" in trap for trap in traps(there(*CORE), ORIN))
    eleven = Package("tensorrt", "11.4.0", ("tensorrt",), None, "")
    assert any("TensorRT 10" in trap for trap in traps(there(*CORE, tensorrt=eleven), ORIN))
    ten = Package("tensorrt", "10.3.0", ("tensorrt",), None, "")
    assert traps(there(*CORE, tensorrt=ten), ORIN) == []


def test_the_doctor_knows_every_engine_and_every_builder() -> None:
    from vreid.deploy.build.table import BUILDERS
    from vreid.runtime.engines.table import ENGINES

    assert {found.name for found in engines(there(*CORE), PC)} == set(BUILDERS) | set(ENGINES)
    _, said, _ = doctor()
    assert said["engines"]["onnxruntime"] == {"name": "onnxruntime", "runs": True, "builds": True, "lacks": []}


def test_an_engine_may_be_built_where_it_does_not_run() -> None:
    packages = there(*CORE, "openvino", "tensorrt", "tensorrt_rtx", "cuda")
    here = {name: engine(name, packages, PC) for name in ("openvino", "tensorrt", "tensorrt_rtx", "onnxruntime_cuda")}
    assert (here["openvino"].runs, here["openvino"].builds) == (True, True)
    assert (here["tensorrt"].runs, here["tensorrt"].builds) == (False, False)
    assert (here["tensorrt_rtx"].runs, here["tensorrt_rtx"].builds) == (False, True)
    assert here["onnxruntime_cuda"].lacks == ("the CUDA provider", "an NVIDIA device")
    assert engine("tensorrt", packages, WITH_GPU) == EngineHere("tensorrt", True, True, ())
    assert engine("tensorrt_rtx", packages, WITH_GPU).runs and not engine("tensorrt_rtx", packages, ORIN).runs
    assert engine("tensorrt", there(*CORE, "tensorrt"), ORIN).lacks == ("a CUDA binding",)
    provider = Package("onnxruntime", "1.31.0", ("onnxruntime-gpu",), None, "Tensorrt, CUDA, CPU")
    assert engine("onnxruntime_tensorrt", there(*CORE, onnxruntime=provider), ORIN).runs


def test_a_jetpack_is_known_by_its_release() -> None:
    assert [jetpack(release) for release in ("36.4.3", "35.6.0", "38.2.0")] == ["JetPack 6", "JetPack 5", "JetPack 7"]
    assert jetpack("unknown") == "an unknown JetPack"
    old = Package("tensorrt", "8.5.2.2", ("tensorrt",), None, "")
    (trap,) = traps(there(*CORE, tensorrt=old), ORIN)
    assert "older than the 10.3" in trap


@pytest.mark.parametrize(
    ("package", "word"),
    [
        (
            Package("cv2", "5.0.0", ("opencv-python-headless", "opencv-python"), None, ""),
            "install opencv-python-headless",
        ),
        (Package("onnxruntime", "1.31", ("onnxruntime", "onnxruntime-gpu"), None, "CPU"), "install onnxruntime"),
        (Package("faiss", "1.14.1", ("faiss-cpu",), None, ""), "faiss-cpu>=1.15"),
        (Package("cv2", "5.0.0", ("opencv-python-headless",), None, "FFMPEG no, GStreamer no"), "FFMPEG"),
        (Package("cv2", "5.0.0", ("opencv-python",), "libGL.so.1: cannot open", ""), "libGL.so.1"),
    ],
)
def test_a_trap_is_named(package: Package, word: str) -> None:
    (trap,) = traps(there(*CORE, **{package.module: package}), PC)
    assert word in trap


@pytest.mark.parametrize(("on", "line"), [(WITH_GPU, "13"), (ORIN, "12"), (PC, "13")])
def test_another_package_called_cuda_is_not_the_binding(on: Machine, line: str) -> None:
    other = Package("cuda", "0.0.1", ("cuda",), "it is another package of that name", "")
    found = traps(there(*CORE, tensorrt=Package("tensorrt", "10.3.0", ("tensorrt",), None, ""), cuda=other), on)
    (trap,) = [one for one in found if "cuda" in one]
    assert "not the binding" in trap and f"pip install 'vreid[gpu-cu{line}]'" in trap
    if on.devices:
        assert (
            "cuda"
            in job(
                "gpu engines", there(*CORE, tensorrt=Package("tensorrt", "10.3", (), None, ""), cuda=other), on
            ).missing
        )


def test_a_package_called_cuda_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "cuda").mkdir()
    (tmp_path / "cuda/__init__.py").write_text("")
    _, said, _ = doctor(PYTHONPATH=str(tmp_path))
    assert "another package of that name" in said["packages"]["cuda"]["problem"]
    assert any("the package 'cuda' is not the binding" in trap for trap in said["traps"])


def test_the_cv2_of_pip_hides_the_one_of_jetpack(tmp_path: Path) -> None:
    """A stand-in for JetPack's files: a library that needs libopencv_videoio, where Debian puts it."""
    place = tmp_path / "usr/lib/python3.10/dist-packages"
    (place / "cv2/python-3.10").mkdir(parents=True)
    library = place / "cv2/python-3.10/cv2.cpython-310-aarch64-linux-gnu.so"
    assert hidden_cv2(tmp_path) is None
    for content, seen in ((b"", None), (b"GStreamer:      NO\n", None), (b"\0libopencv_videoio.so.408\0", str(place))):
        library.write_bytes(content)
        assert hidden_cv2(tmp_path) == seen
    library.write_bytes(b"x  GStreamer:                   YES (1.20.3)\n")
    assert hidden_cv2(tmp_path) == str(place)
    pip = Package("cv2", "5.0.0", ("opencv-python-headless",), None, "FFMPEG yes, GStreamer no")
    sound = {"tensorrt": Package("tensorrt", "10.3.0", ("tensorrt",), None, ""), "cv2": pip}
    (trap,) = traps(there(*CORE, **sound), replace(ORIN, system_cv2=str(place)))
    assert f"hides the one in {place}" in trap and "pip uninstall -y opencv-python-headless" in trap
    (trap,) = traps(there(*CORE, **sound), ORIN)
    assert "use JetPack's cv2" in trap


def test_no_trap_without_a_fault() -> None:
    assert traps(there(*CORE), PC) == []  # so torchvision may be missing


def test_versions_are_read_as_numbers() -> None:
    assert numbers("1.15.1") == (1, 15, 1) and numbers("2.13.0+cpu") == (2, 13, 0) and numbers("unknown") == ()


def test_a_jetson_release_is_read(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n")
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    found = machine(tmp_path)
    assert found.jetson == "36.4.3" and found.model == "NVIDIA Jetson Orin Nano"
    assert machine(tmp_path / "empty").jetson is None


DRIVER = """
#include <string.h>
int cuDriverGetVersion(int *v) { *v = 12060; return 0; }
int cuInit(unsigned f) { return f; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Stub", n); return d; }
int cuDeviceGetAttribute(int *v, int what, int d) { *v = what == 75 ? 8 : what == 76 ? 7 : -1; return d; }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler to make a stub of libcuda with")
def test_the_driver_answers(tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    library = str(tmp_path / "libcuda.so.1")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, str(tmp_path / "driver.c")], check=True, timeout=60)
    _, said, _ = doctor(LD_LIBRARY_PATH=str(tmp_path))
    assert said["machine"]["driver"] == "12.6" and said["machine"]["devices"] == ["Stub (compute capability 8.7)"]
