"""What README's Install says of the core holds: its verbs work where nothing of an extra can be imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OF_EXTRAS = (
    *(
        "torch",
        "torchvision",
        "onnx",
        "onnxsim",
        "onnxscript",
        "onnxruntime.tools",
        "matplotlib",
        "safetensors",
        "tensorboardX",
    ),
    *(
        "motrics",
        "paho",
        "psycopg",
        "alembic",
        "pymilvus",
        "prometheus_client",
        "nats",
        "nkeys",
        "openvino",
        "tensorrt",
        "tensorrt_rtx",
        "torch_tensorrt",
        "pycuda",
        "cuda",
    ),
)
BLOCK = f"""# as sitecustomize.py, so that it holds in the child processes of a verb too
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OF_EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
RUN_ALL = """
import contextlib, io, json, sys
from vreid.cli.main import main
done = {}
for line in sys.stdin.read().splitlines():
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main(line.split())
    done[line] = [code, said.getvalue()]
print(json.dumps(done))
"""
VERBS = """
synth crops --out pictures --vehicles 4 --cameras 2 --per-camera 1
synth city --out videos --vehicles 2 --cameras 1 --seconds 1
eval vreid-s --data pictures
eval hsv --data pictures
bench vreid-s --data pictures --rounds 1 --batches 1
gallery enrol pictures/images --gallery known.db --model vreid-s --name taxi
gallery search pictures/images/00001_c01_000000.jpg --gallery known.db --model vreid-s
gallery list --gallery known.db
run videos/cam1.mp4 --model vreid-s --detector motion --gallery seen.db --enrol-unknown --truth videos --out run
demo --out demo --vehicles 2 --cameras 1 --seconds 1
doctor
"""
NEEDS = {  # a verb of an extra -> the package that its refusal names
    "eval run run --gt videos": "motrics",
    "eval x.pt --data pictures": "torch",
    "train teacher --data pictures --out t": "torch",
    "export x.pt --out x.onnx": "onnx",
    "quantize vreid-s --data pictures --out x.onnx": "onnx",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Each command's exit code and what it printed, run in order in one process that can import nothing of an extra."""
    block, place = tmp_path_factory.mktemp("block"), tmp_path_factory.mktemp("core")
    (block / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    (place / "x.pt").write_bytes(b"")
    ran = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        cwd=place,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(block), os.environ.get("PYTHONPATH", "")))},
        input="\n".join([*VERBS.split("\n")[1:-1], *NEEDS]),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, tuple[int, str]] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("command", VERBS.split("\n")[1:-1])
def test_a_verb_of_the_core_needs_no_extra(command: str, done: dict[str, tuple[int, str]]) -> None:
    code, said = done[command]
    assert code == 0, said


@pytest.mark.parametrize(("command", "package"), NEEDS.items())
def test_a_verb_of_an_extra_names_what_is_missing(command: str, package: str, done: dict[str, tuple[int, str]]) -> None:
    code, said = done[command]
    assert code == 2 and package in said and "Traceback" not in said


def test_the_readme_promises_these_verbs() -> None:
    install = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Install")[2].partition("\n## ")[0]
    line = next(line for line in install.splitlines() if line.startswith("pip install -e . "))
    promised = {verb.strip() for verb in line.partition("#")[2].split(",")}
    assert promised <= {line.split()[0] for line in VERBS.split("\n")[1:-1]}, f"not run without extras: {promised}"
