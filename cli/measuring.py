"""The data that a verb measures on: which files it takes, and whether a measured checkpoint learnt from them."""

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.cli import output
from vreid.models.bundled import is_checkpoint

if TYPE_CHECKING:
    from vreid.train.datasets.records import Dataset


def test_part(path: Path) -> "Dataset":
    """The data set to measure on; what whoever measures must know is printed. Raises Refused as `read_test_part` does."""
    from vreid.train.datasets.table import read_test_part

    found = read_test_part(path)
    if found.remark:
        output.note(found.remark)
    return found


def training_part(path: Path) -> "Dataset":
    """The data set to learn from or to calibrate on; its file is printed. Raises Refused as `read_train_part` does."""
    from vreid.train.datasets.table import read_train_part

    found = read_train_part(path)
    if found.remark:
        output.note(found.remark)
    return found


def warn_if_learnt(model: str, trained: Collection[int], dataset: "Dataset") -> int:
    """How many pictures of the test part have one of these keys, with a warning where some have; without keys none is read."""
    from vreid.train.datasets.records import Item
    from vreid.train.evaluate import pictures_of
    from vreid.train.identity import key_of

    if not trained:
        return 0
    paths = pictures_of(dataset)
    count = sum(key_of(Item(path, "", "")) in trained for path in paths)
    if count:
        output.error(f"{model} learnt from {count} of these {len(paths)} pictures: the figures are not of a test")
    return count


def warn_if_checkpoint_learnt(model: str, dataset: "Dataset") -> int:
    """`warn_if_learnt` of a checkpoint that is a file; 0 for every other model, which does not tell what it learnt from."""
    if not is_checkpoint(model):
        return 0
    from vreid.models.checkpoint import load_checkpoint

    trained = load_checkpoint(model).trained
    return 0 if trained is None else warn_if_learnt(model, frozenset(trained.tolist()), dataset)
