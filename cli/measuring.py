"""The data that a verb measures on: which files it takes, and whether a measured checkpoint learnt from them."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from vreid.cli import output
from vreid.models.errors import Refused
from vreid.models.files import refuse_same
from vreid.models.zoo import is_checkpoint

if TYPE_CHECKING:
    from vreid.train.data.records import Dataset, Item


def test_part(path: Path) -> "Dataset":
    """The data set to measure on; what whoever measures must know is printed. Raises Refused as `read_test_part` does."""
    from vreid.train.data.table import read_test_part

    found = read_test_part(path)
    if found.remark:
        output.note(found.remark)
    return found


def training_part(path: Path) -> "Dataset":
    """The data set to learn from or to calibrate on; its file is printed. Raises Refused as `read_train_part` does."""
    from vreid.train.data.table import read_train_part

    found = read_train_part(path)
    if found.remark:
        output.note(found.remark)
    return found


def refuse_read(out: Path, models: Iterable[str], data: "Dataset | None", *inputs: Path) -> None:
    """Raises Refused where writing `out` would replace a file of the models (manifest, engine, checkpoint), a picture of the
    data's test part, or another of the `inputs`."""
    if not out.exists():
        return
    for model in models:
        refuse_same(out, *_files_of(model))
    pictures = () if data is None else dict.fromkeys(item.path for item in (*data.query, *data.gallery))
    refuse_same(out, *inputs, *pictures)


def _files_of(model: str) -> list[Path]:
    """What a MODEL argument is read from, as far as that is known."""
    from vreid.models.manifest import read_model
    from vreid.models.zoo import manifest_path

    if is_checkpoint(model):
        return [Path(model)]
    try:
        path = manifest_path(model)
        return [path, read_model(path)[1].path]
    except Refused:  # said by whoever opens it
        return [Path(model)]


def count_learnt(trained: Collection[int], items: "Iterable[Item]") -> int:
    """How many of the pictures have one of these keys, of which a network has learnt; without keys none is read."""
    from vreid.train.data.records import key_of

    return sum(key_of(item) in trained for item in items) if trained else 0


def warn_if_learnt(model: str, trained: Collection[int], dataset: "Dataset") -> int:
    """How many pictures of the test part have one of these keys, with a warning where some have; without keys none is read."""
    from vreid.train.data.records import Item
    from vreid.train.evaluate import pictures_of

    if not trained:
        return 0
    paths = pictures_of(dataset)
    if count := count_learnt(trained, (Item(path, "", "") for path in paths)):
        output.error(f"{model} learnt from {count} of these {len(paths)} pictures: the figures are not of a test")
    return count


def warn_if_checkpoint_learnt(model: str, dataset: "Dataset") -> int:
    """`warn_if_learnt` of a checkpoint that is a file; 0 for every other model, which does not name what it learnt from."""
    if not is_checkpoint(model):
        return 0
    from vreid.models.checkpoint import load_checkpoint

    return warn_if_learnt(model, load_checkpoint(model).learnt_keys(), dataset)
