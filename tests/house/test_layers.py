"""The arrows between the layers hold, and the runtime and every --help work with no torch, onnx or tensorrt."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Set
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "models": {"models"},
    "report": {"models", "report"},
    "synth": {"models", "synth"},
    "train": {"models", "report", "train"},
    "runtime": {"models", "report", "runtime"},
    "serve": {"models", "report", "runtime", "serve"},
    "fleet": {"models", "report", "runtime", "fleet"},
    "deploy": {"models", "report", "train", "runtime", "deploy"},
    "cli": {"models", "report", "synth", "train", "runtime", "serve", "fleet", "deploy", "cli"},
}
MAY_BESIDES = {"runtime/sources/synth.py": {"synth"}}  # a member of the sources, opened by its name
NEVER_IN_RUNTIME = {"torch", "torchvision", "torch_tensorrt", "onnx", "onnxsim", "onnxscript"}
FILES = sorted(path for layer in MAY_IMPORT for path in (ROOT / layer).rglob("*.py"))

BLOCK = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "tensorrt"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
failed = {}
"""
IMPORT_ALL = """
import importlib
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        # A seam's member may need a wheel of its own, and is then imported only where that wheel is.
        if missing in {"torch", "onnx", "tensorrt", "vreid", "numpy", "scipy", "cv2", "faiss", "onnxruntime"}:
            failed[name] = str(error)
print(json.dumps(failed))
"""
HELP_ALL = """
import contextlib, io
from vreid.cli.main import VERBS, main
for verb in VERBS:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            code = main([verb, "--help"])
    except SystemExit as leaving:
        code = leaving.code
    except ImportError as error:
        code = repr(error)
    if code != 0 or "vreid " + verb not in said.getvalue():
        failed[verb] = code
print(json.dumps(failed))
"""


def imported(tree: ast.AST) -> Iterator[str]:
    """The dotted names a file imports, wherever in it, and the modules its "module:function" strings open."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"^(vreid(?:\.\w+)+):\w+$", node.value)


def broken_arrows(layer: str, source: str, besides: Set[str] = frozenset()) -> list[str]:
    """The imports of `source`, a file of `layer` that may also import `besides`, that the layers forbid."""
    wrong = []
    for name in imported(ast.parse(source)):
        top, _, rest = name.partition(".")
        if (
            top in ({""} | set(MAY_IMPORT))
            or (top == "vreid" and rest.partition(".")[0] not in MAY_IMPORT[layer] | besides)
            or (layer in ("report", "runtime") and top in NEVER_IN_RUNTIME)
        ):
            wrong.append(name)
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_layer_may(path: Path) -> None:
    name = path.relative_to(ROOT)
    besides = MAY_BESIDES.get(name.as_posix(), frozenset[str]())
    assert broken_arrows(name.parts[0], path.read_text(encoding="utf-8"), besides) == []


def test_the_root_imports_only_the_runtime_the_models_and_the_client() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    named = {*imported(tree), *(text for text in texts if re.fullmatch(r"vreid(\.\w+)+", text))}
    layers = {name.split(".")[1] for name in named if name.startswith("vreid.")}
    assert layers == {"models", "runtime", "serve"}
    served = {name for name in named if name.startswith("vreid.serve")}
    assert served == {"vreid.serve.client", "vreid.serve.client.Client"}  # which needs no extra


def reduced(arrows: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows without those that others lead to as well (the transitive reduction; there is no circle)."""

    def reached(start: str) -> set[str]:
        below = {to for of, to in arrows if of == start}
        return below.union(*map(reached, below))

    return {(of, to) for of, to in arrows if not any(to in reached(via) for a, via in arrows if a == of and via != to)}


def test_the_drawing_of_the_layers_is_that_of_the_imports() -> None:
    arrows = set()
    for path in [*FILES, ROOT / "__init__.py"]:
        name = path.relative_to(ROOT)
        layer = name.parts[0] if len(name.parts) > 1 else "front"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        texts = (
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        lazy = [text for text in texts if layer == "front" and re.fullmatch(r"vreid(\.\w+)+", text)]
        besides = {f"vreid.{each}" for each in MAY_BESIDES.get(name.as_posix(), ())}
        for found in (*imported(tree), *lazy):
            top, _, rest = found.partition(".")
            to = rest.partition(".")[0]
            if top == "vreid" and to in MAY_IMPORT and to != layer and f"vreid.{to}" not in besides:
                arrows.add((layer, to))
    images = ROOT / "docs" / "images"
    edges = re.findall(r"(\w+) -> (\w+)( \[[^\]]*\])?;", (images / "architecture.dot").read_text(encoding="utf-8"))
    assert {(of, to) for of, to, style in edges if "style" not in style} == reduced(arrows)
    dashed = {(of, to) for of, to, style in edges if "dashed" in style}
    assert dashed == {(name.split("/")[0], to) for name, layers in MAY_BESIDES.items() for to in layers}
    titles = re.findall(
        r"<title>(\w+)&#45;&gt;(\w+)</title>", (images / "architecture.svg").read_text(encoding="utf-8")
    )
    assert set(titles) == {(of, to) for of, to, _ in edges}, "dot -Tsvg architecture.dot > architecture.svg"


@pytest.mark.parametrize(
    ("layer", "source", "wrong"),
    [
        ("models", "from vreid.models.errors import Refused", 0),
        ("models", "import vreid.runtime.records", 1),
        ("models", "from vreid import train", 1),
        ("train", "def f():\n    from vreid.runtime import records", 1),
        ("runtime", "from vreid.synth import city", 1),
        ("synth", "from vreid.runtime import records", 1),
        ("report", "from vreid.runtime import records", 1),
        ("report", "import torch", 1),
        ("runtime", "from vreid.report import page", 0),
        ("runtime", "import torch.nn as nn", 1),
        ("runtime", "import onnxruntime", 0),
        ("runtime", "TABLE = {'a': 'vreid.deploy.export:open'}", 1),
        ("deploy", "from vreid.runtime import records\nfrom vreid.train import loop", 0),
        ("deploy", "from vreid.cli import output", 1),
        ("cli", "from . import output", 1),
        ("cli", "from models.errors import Refused", 1),
    ],
)
def test_the_rule_itself(layer: str, source: str, wrong: int) -> None:
    assert len(broken_arrows(layer, source)) == wrong


def failures(program: str, *arguments: str) -> dict[str, object]:
    """What a subprocess, in which torch, onnx and tensorrt cannot be imported, says went wrong."""
    command = [sys.executable, "-c", BLOCK + program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_runtime_imports_without_torch_onnx_and_tensorrt() -> None:
    files = [path.relative_to(ROOT) for path in FILES if path.relative_to(ROOT).parts[0] in ("report", "runtime")]
    names = [".".join(("vreid", *file.with_suffix("").parts)).removesuffix(".__init__") for file in files]
    assert failures(IMPORT_ALL, *names) == {}


def test_every_verb_helps_without_torch_onnx_and_tensorrt() -> None:
    assert failures(HELP_ALL) == {}


def test_every_verb_has_a_file() -> None:
    from vreid.cli.main import VERBS

    assert [verb for verb in VERBS if not (ROOT / "cli" / f"{verb.replace('-', '_')}.py").is_file()] == []
