"""An output that is one of the inputs is refused before anything is written, whatever name it is given by."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main
from vreid.models.errors import Refused
from vreid.models.files import refuse_same

pytest.importorskip("torch")
pytest.importorskip("onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four vehicles of one colour each under two cameras."""
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(4, 2):
        name = f"{vehicle}{camera}.png"
        cv2.imwrite(str(tmp_path / name), np.full((12, 12, 3), (60 * vehicle, 40, 200 - 9 * camera), np.uint8))
        rows.append(f"{name},v{vehicle},c{camera}")
    (tmp_path / "set.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "set.csv"


# MODEL is a manifest, ENGINE its ONNX, LINK another name of the ONNX, DATA a CSV file, BENCH a folder whose bench.json is MODEL
COMMANDS = [
    "verify MODEL --against MODEL --data DATA --report MODEL",
    "verify MODEL --against MODEL --data DATA --report ENGINE --dry-run",
    "verify MODEL --against MODEL --data DATA --report DATA",
    "verify MODEL --against MODEL --data DATA --report PICTURE",
    "adopt ENGINE --out ENGINE",
    "adopt ENGINE --out LINK",
    "quantize MODEL --data DATA --out ENGINE",
    "quantize MODEL --data DATA --out LINK",
    "export MODEL --half --out ENGINE",
    "build MODEL --engine openvino --out MODEL",
    "bench MODEL --data DATA --out BENCH",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_an_input_is_refused(
    command: str, tiny_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine, link, bench = tiny_model.with_suffix(".onnx"), tmp_path / "link.onnx", tmp_path / "bench"
    link.symlink_to(engine)
    bench.mkdir()
    (bench / "bench.json").symlink_to(tiny_model)
    names = {
        "MODEL": tiny_model, "ENGINE": engine, "LINK": link, "DATA": data, "BENCH": bench, "PICTURE": tmp_path / "00.png",
    }  # fmt: skip
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main([str(names.get(word, word)) for word in command.split()]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "would replace" in said.err and "another name" in said.err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert link.is_symlink() and (bench / "bench.json").is_symlink()


def test_the_same_file_is_known_by_every_name(tmp_path: Path) -> None:
    one, two, hard = (tmp_path / name for name in ("one", "two", "hard"))
    one.write_text("1")
    two.write_text("1")
    hard.hardlink_to(one)
    refuse_same(two, one)
    refuse_same(tmp_path / "gone", one, tmp_path / "other")
    with pytest.raises(Refused, match="would replace"):  # an input that is not made yet, such as a gallery's log
        refuse_same(tmp_path / "gone", tmp_path / "gone")
    for other in (one, hard, tmp_path / "." / "one"):
        with pytest.raises(Refused, match="would replace"):
            refuse_same(other, two, one)
