"""What `import vreid` shows to users: its page is up to date, its examples run, and its types are seen from a wheel."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from vreid.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_of_the_interface_is_made_from_the_docstrings() -> None:
    pytest.importorskip("griffe")
    done = subprocess.run([sys.executable, ROOT / "bench" / "api_page.py"], capture_output=True, text=True, check=True)
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert done.stdout == page, "docs/api.md is old: python bench/api_page.py > docs/api.md"


def test_every_exported_name_is_on_the_page() -> None:
    import vreid

    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    missing = [
        name for name in vreid.__all__ if f"## {name}\n" not in page and f"* `{name}`:" not in page and name[0] != "_"
    ]
    assert missing == []


@pytest.mark.slow  # starts six processes
def test_the_examples_run(tmp_path: Path) -> None:
    walk = [sys.executable, ROOT / "examples" / "walkthrough.py"]
    walked = subprocess.run(walk, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert walked.returncode == 0, walked.stderr
    assert "vehicle 1: " in walked.stdout and "cam1 " in walked.stdout
    assert list(tmp_path.iterdir()) == []  # so that it can be run again
    words = [
        "synth",
        "crops",
        "--out",
        str(tmp_path / "pictures"),
        "--vehicles",
        "4",
        "--cameras",
        "2",
        "--per-camera",
        "2",
    ]
    assert main(words) == 0
    known = tmp_path / "known"
    for vehicle in (1, 2):
        (known / f"taxi {vehicle}").mkdir(parents=True)
        for picture in (tmp_path / "pictures" / "images").glob(f"0000{vehicle}_c01_*.jpg"):
            (known / f"taxi {vehicle}" / picture.name).write_bytes(picture.read_bytes())
    query = next((tmp_path / "pictures" / "images").glob("00002_c02_*.jpg"))
    find = [sys.executable, ROOT / "examples" / "find_again.py", known, query]
    for _ in range(2):  # the second time the vehicles are there
        found = subprocess.run(find, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.startswith("taxi 2: ")
    refused = subprocess.run([*find[:-1], "missing.jpg"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "missing.jpg" in refused.stderr and "Traceback" not in refused.stderr
    nowhere = [*find[:2], "nowhere", query]
    refused = subprocess.run(nowhere, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and refused.stderr.startswith("there is no folder nowhere")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known", "pictures"]


def test_types_travel_with_the_package() -> None:
    spec = importlib.util.find_spec("vreid")
    assert spec is not None and spec.origin is not None
    assert (Path(spec.origin).parent / "py.typed").is_file()
