"""The script of the bundled models: what is missing is said in a sentence, before anything is made."""

import subprocess
import sys
from pathlib import Path

import pytest
from make_students import trained

from vreid.models.errors import Refused

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "make_students.py"


@pytest.mark.parametrize(
    ("there", "says"),
    [((), "there is no"), (("roadside", "roadside-wide", "highway2cam"), "has neither identities.csv")],
)
def test_what_is_missing_ends_it_with_a_sentence(tmp_path: Path, there: tuple[str, ...], says: str) -> None:
    """`there`: folders of data sets, all of them empty; then the script that it calls first refuses them."""
    weights, out = tmp_path / "weights.pt", tmp_path / "out"
    weights.touch()
    for name in there:
        (tmp_path / name).mkdir()
    words = ["vreid-n", "--data", str(tmp_path), "--weights", str(weights), "--out", str(out)]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not out.exists()
    assert says in done.stderr and str(tmp_path / "roadside") in done.stderr and "Traceback" not in done.stderr


def test_a_training_of_other_words_is_not_taken_for_the_one_that_is_done(tmp_path: Path) -> None:
    (tmp_path / "done").write_text("teacher\n--epochs\n2")
    assert trained(tmp_path, "teacher", "--epochs", 2) == tmp_path / "best.pt"
    with pytest.raises(Refused, match="holds another training"):
        trained(tmp_path, "teacher", "--epochs", 3)
