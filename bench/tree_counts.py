"""Counts of the tree: files, lines, names that stand twice, reaches into private names, and files that work passes through.

    python bench/tree_counts.py [ROOT] [--paths]

ROOT is the root of a checkout, this one by default; what is counted is what git tracks there. With --paths its own `vreid` (of
ROOT/.venv) runs a video, a training of one epoch and an export on synthetic data, and the files whose functions are called
are counted; that takes a minute. One JSON document on stdout.
"""

import argparse
import ast
import json
import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = ("models", "train", "runtime", "deploy", "report", "synth", "cli")
NATIVE = ("runtime/native/",)
SQL = re.compile(
    r"""\.run\(\s*f?["'](SELECT|INSERT|UPDATE|DELETE|PRAGMA|VACUUM|BEGIN|CREATE|DROP|ALTER)|gallery\.run\b"""
)

TRACE = """
import sys, threading, json, pathlib
root = str(pathlib.Path(sys.argv[1]).resolve()) + "/"
seen = set()
def look(frame, event, arg):
    if event == "call":
        seen.add(frame.f_code.co_filename)
threading.setprofile(look); sys.setprofile(look)
from vreid.cli.main import main
try:
    code = main(sys.argv[3:])
finally:
    sys.setprofile(None); threading.setprofile(None)
inside = sorted(name[len(root):] for name in seen if name.startswith(root) and "/.venv/" not in name)
pathlib.Path(sys.argv[2]).write_text(json.dumps(inside))
sys.exit(code)
"""


def tracked(root: Path) -> list[str]:
    """The files that git tracks."""
    return subprocess.run(["git", "-C", root, "ls-files"], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )[:-1]


def static(root: Path) -> dict[str, object]:
    """What can be read from the sources."""
    files = tracked(root)
    package = [name for name in files if name.endswith(".py") and (name.split("/")[0] in PACKAGE or "/" not in name)]
    native = [name for name in files if name.startswith(NATIVE) and name.endswith((".cpp", ".hpp", ".h", ".cu", ".py"))]
    tests = [name for name in files if name.startswith("tests/") and name.endswith(".py")]
    texts = {name: (root / name).read_text(encoding="utf-8") for name in {*package, *native, *tests}}
    lines = {name: text.count("\n") for name, text in texts.items()}
    folders: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name in package:
        folder = name.split("/")[0] if "/" in name else "."
        folders[folder][0] += 1
        folders[folder][1] += lines[name]
    trees = {name: ast.parse(texts[name]) for name in package}
    names: dict[str, set[str]] = defaultdict(set)
    for name, tree in trees.items():
        if not name.startswith("cli/"):  # each verb has its Args and main
            for public in defined(tree):
                names[public].add(name)
    longest = max(
        ((node.end_lineno or 0) - node.lineno + 1, f"{name}:{node.name}")
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    outside = [name for name in (*package, *tests) if not name.startswith(("runtime/galler", "runtime/gallery/"))]
    return {
        "package": {"files": len(package), "lines": sum(lines[name] for name in package)},
        "folders": {name: {"files": count, "lines": total} for name, (count, total) in sorted(folders.items())},
        "native": {"files": len(native), "lines": sum(lines[name] for name in native)},
        "tests": {"files": len(tests), "lines": sum(lines[name] for name in tests)},
        "longest file": max((lines[name], name) for name in package),
        "longest function": longest,
        "functions over 70 lines": over(trees, 70),
        "public names in two modules": len([public for public, where in names.items() if len(where) > 1]),
        "reaches of tests into private names": sum(reaches(ast.parse(texts[name])) for name in tests),
        "SQL given to a gallery from outside": sum(len(SQL.findall(texts[name])) for name in outside),
    }


def defined(tree: ast.Module) -> Iterator[str]:
    """Public names that a module defines at its top: functions, classes and constants."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found = [node.name]
        elif isinstance(node, ast.Assign):
            found = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found = [node.target.id]
        else:
            found = []
        yield from (name for name in found if not name.startswith("_"))


def over(trees: dict[str, ast.Module], most: int) -> int:
    """Functions longer than `most` lines, with their docstrings."""
    return sum(
        (node.end_lineno or 0) - node.lineno + 1 > most
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )


def reaches(tree: ast.Module) -> int:
    """Uses of another object's or module's private name: x._name where x is neither self nor cls, and imports of _name."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[^_]", node.attr):
            count += not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vreid"):
            count += sum(alias.name.startswith("_") for alias in node.names)
    return count


def paths(root: Path) -> dict[str, int]:
    """Files of the package whose functions are called by a run over a video, a training of one epoch, and an export."""
    python = root / ".venv" / "bin" / "python"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)

        def called(*words: str) -> int:
            out = work / "called.json"
            command = [python, "-c", TRACE, root, out, *words]
            subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
            return len(json.loads(out.read_text()))

        called("synth", "crops", "--out", "data", "--vehicles", "24", "--cameras", "4", "--per-camera", "2")
        called("synth", "city", "--out", "videos", "--seconds", "5", "--vehicles", "3", "--cameras", "1")
        recipe = ("--recipe", "teacher_resnet18_small", "--epochs", "1")
        return {
            "a run over a video": called(
                "run", "videos/cam1.mp4", "--out", "out", "--gallery", "known.db", "--enrol-unknown"
            ),
            "a training of one epoch": called("train", "teacher", *recipe, "--data", "data", "--out", "teacher"),
            "an export": called("export", "teacher/best.pt", "--out", "model.onnx"),
        }


def main() -> None:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--paths", action="store_true")
    flags = parser.parse_args()
    counts = static(flags.root)
    if flags.paths:
        counts["files passed through"] = paths(flags.root)
    print(json.dumps(counts, indent=2))


if __name__ == "__main__":
    main()
