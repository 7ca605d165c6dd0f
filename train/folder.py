"""The folder of a training: best.pt, last.pt (where --resume goes on) and log.jsonl, sound wherever a run is cut off."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vreid.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vreid.models.errors import Refused
from vreid.models.files import locked, naming, remove_leftovers, write_atomic
from vreid.models.network import NetworkConfig
from vreid.train.recipe import EARLIER_NAMES, Recipe

WORDS = {
    "answers": "teacher embeddings",
    "shares": "shares of the data sets",
}  # what a source is called in a message, where not by its name in the checkpoint
MISSING = 0.1  # share of the first start's pictures that may be left out on resuming


@dataclass(frozen=True)
class Folder:
    """Where a training lives; every process sees it, the leading one writes."""

    path: Path

    @property
    def best(self) -> Path:
        """The network to deploy."""
        return self.path / "best.pt"

    @property
    def last(self) -> Path:
        """The last whole epoch, with the state of the training."""
        return self.path / "last.pt"

    @property
    def log(self) -> Path:
        """One JSON record a line, one line an epoch."""
        return self.path / "log.jsonl"


def open_folder(path: Path, resume: bool) -> Folder:
    """The folder of a first start or of one that goes on. Raises Refused rather than overwrite a training or a network."""
    folder = Folder(path)
    if folder.last.exists() and not resume:
        raise Refused(f"{path} already holds a training; continue it with --resume or choose another --out")
    if folder.best.exists() and not folder.last.exists():
        raise Refused(f"{path} holds best.pt and no last.pt to go on from; move it away or choose another --out")
    return folder


def state_in(
    folder: Folder,
    recipe: Recipe,
    config: NetworkConfig,
    seed: int,
    source: Mapping[str, str | Tensor],
    change_epochs: bool = False,
) -> dict[str, Any] | None:
    """The state to go on with, None for a first start. Its "epochs" are those that the training was to have until now, its
    "trained" the keys of the pictures that it has learnt from, where they are known.

    Raises Refused when it was made with other settings, data or teachers; with `change_epochs` the recipe may have another
    number of epochs, more than are done. `source` holds the marks of the pictures and digests of the rest, by name.
    """
    if not folder.last.exists():
        return None
    stored = load_checkpoint(folder.last)
    if stored.training is not None and "marks" not in stored.training and "data" in stored.training:
        raise Refused(
            f"{folder.last} was begun by an earlier vreid, whose validation part depended on the name of the data's folder; "
            "start the training anew with another --out"
        )
    before: dict[str, Any] = stored.metrics.get("recipe", {})
    if not isinstance(before, dict) or not isinstance((stored.training or {}).get("marks", torch.zeros(0)), Tensor):
        raise unfit(folder)
    other = _differing(before, plain(recipe))
    if "epochs" in other:
        _refuse_epochs(folder, stored.metrics.get("epoch", 0), before["epochs"], recipe.epochs, change_epochs)
        other.remove("epochs")
    if stored.metrics.get("seed", seed) != seed:
        other.append("seed")
    if other:
        raise Refused(
            f"{folder.last} was made with another {', '.join(other)}; resume with the flags of the first start"
        )
    # the recipe is the same, so the rest of the description is; a compressed network's widths change by the epoch
    training = stored.training
    if training is None or stored.config.classes != config.classes:
        raise Refused(f"{folder.last} was made with other data; resume with the --data of the first start")
    refuse_other(folder, training, source)
    return {**training, "epochs": before.get("epochs", recipe.epochs), "trained": stored.trained}


def unfit(folder: Folder) -> Refused:
    """What is to be raised for a last.pt that no training of this vreid can have left."""
    return Refused(f"{folder.last} is not a state that a training can go on from; start anew with another --out")


def _refuse_epochs(folder: Folder, done: int, before: int, now: int, change: bool) -> None:
    if not change:
        raise Refused(
            f"{folder.last} is of a training of {before} epochs, and the recipe has {now}; give --epochs {before} to go on "
            "to its end, or more to train longer"
        )
    if now <= done:
        raise Refused(
            f"{folder.last} has {done} of {before} epochs done, so the training cannot end after {now}; give an --epochs "
            f"over {done}"
        )


def refuse_other(folder: Folder, state: Mapping[str, Any] | None, source: Mapping[str, str | Tensor]) -> None:
    """Raises Refused when `state` was learnt from another source than this; one that it does not name counts as the same.

    Of the pictures a few may be missing now, such as broken ones, as long as every vehicle is there.
    """
    if state is None:
        return
    for name, now in source.items():
        before = state.get(name, now)
        if isinstance(now, Tensor):
            _refuse_other_pictures(folder, before, now)
        elif before != now:
            raise Refused(
                f"{folder.last} was made with other {WORDS.get(name, name)}; resume with the flags of the first start"
            )


def _refuse_other_pictures(folder: Folder, before: Tensor, now: Tensor) -> None:
    """before (N,), now (M,): marks of the pictures."""
    added = int((~torch.isin(now, before)).sum())
    missing = int((~torch.isin(before, now)).sum())
    if not added and missing <= MISSING * len(before):
        return
    raise Refused(
        f"{folder.last} was made with other data: of its {len(before)} pictures {missing} are missing now, and {added} are new "
        "or have changed; resume with the --data of the first start, from which up to a tenth may be taken off the list"
    )


def missing_of(state: Mapping[str, Any], source: Mapping[str, str | Tensor]) -> int:
    """How many of the pictures that a training began with are left out now."""
    now = source.get("marks")
    return int((~torch.isin(state["marks"], now)).sum()) if isinstance(now, Tensor) and "marks" in state else 0


@contextmanager
def locked_folder(folder: Folder, epoch: int) -> Iterator[None]:
    """Make the folder, lock it for this process while the block runs, and take off its log what comes after `epoch`,
    to be trained again, or was cut off in a line. A folder made for a training that has no epoch yet goes with it where it fails.
    Raises Refused where it cannot be written, or is another's."""
    made = not folder.path.exists()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.log.touch()
    except OSError as error:
        raise Refused(f"cannot write in the folder {folder.path} ({error.strerror}); choose another --out") from error
    with locked(folder.path, "training in"):
        if not epoch:
            open_folder(folder.path, resume=False)  # another process may have trained since it was looked at
        for path in (folder.best, folder.last, folder.log):
            remove_leftovers(path)
        lines = folder.log.read_text(encoding="utf-8", errors="replace").splitlines()
        write_atomic(folder.log, "".join(f"{line}\n" for line in lines if 0 < _epoch_of(line) <= epoch))
        try:
            yield
        except BaseException:
            if not folder.best.exists() and not folder.log.stat().st_size:
                folder.log.unlink()
                if made and not any(folder.path.iterdir()):
                    folder.path.rmdir()
            raise


def write_epoch(
    folder: Folder, kept: Checkpoint, training: dict[str, Any], record: Mapping[str, Any], best: bool
) -> None:
    """Best, log, last, in this order: an epoch that is cut off in between is not in `last` and is done again."""
    if best:
        save_checkpoint(kept, folder.best)
    with naming(folder.log), folder.log.open("a", encoding="utf-8") as log:
        log.write(json.dumps(record) + "\n")
    save_checkpoint(replace(kept, training=training), folder.last)


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as JSON would write it, since a checkpoint holds plain values only; tables by their earlier names."""
    earlier = {now: before for before, now in EARLIER_NAMES.items()}
    fields: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return {earlier.get(name, name): value for name, value in fields.items()}


def _epoch_of(line: str) -> int:
    try:
        return int(json.loads(line)["epoch"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0


def _differing(stored: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The stored fields that have another value now; a field that is new or gone since then does not count."""
    found: list[str] = []
    for name, value in stored.items():
        if isinstance(value, dict) and isinstance(now.get(name), dict):
            found += _differing(value, now[name])
        elif name in now and now[name] != value:
            found.append(EARLIER_NAMES.get(name, name))
    return found
