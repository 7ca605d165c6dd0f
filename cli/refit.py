"""`vreid refit`: the last layer of a trained network anew, in closed form, so that more is found again across cameras."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import count_learnt, training_part
from vreid.models.errors import Refused, refuse_seed, refuse_threads
from vreid.models.files import refuse_same
from vreid.models.zoo import is_checkpoint

if TYPE_CHECKING:
    from vreid.models.checkpoint import Checkpoint
    from vreid.models.preprocess import Floats
    from vreid.train.data.records import Dataset
    from vreid.train.discriminant import Refit


@dataclass(frozen=True)
class Args:
    """Fit the last layer anew by linear discriminant analysis: no training, every picture is embedded once.

    Its cost stays as it is. Exit code 1, and no file, where the vehicles held out are found no better by it, or strangers
    are confused with them more often.
    """

    checkpoint: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt of vreid train, of any recipe, compressed or not."""
    data: tyro.conf.UseAppendAction[list[Path]]
    """Required: a data set whose training part is fitted to, as for vreid train; given several times, all count alike, or by
    FOLDER=SHARE."""
    out: Path
    """The checkpoint .pt to write."""
    validation: float = 0.1
    """Share of the vehicles held out, which choose how strong the fit is; give that of the training, and its --seed."""
    seed: int = 0
    """Of the cut; that of the training."""
    threads: int = 1
    """CPU threads."""
    skip_broken: bool = False
    """Leave out pictures that are damaged or cannot be read; without it they are refused before anything is embedded."""
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    import torch

    from vreid.models.checkpoint import load_checkpoint, network_from
    from vreid.train.data.split import few_held
    from vreid.train.discriminant import refitted

    refuse_threads(args.threads)
    refuse_seed(args.seed)
    if not is_checkpoint(args.checkpoint):
        raise Refused(
            f"the last layer is fitted in a checkpoint (.pt or .pth) of vreid train, not in {args.checkpoint}; those of the "
            "bundled models are in bench/checkpoints of the repository"
        )
    if not is_checkpoint(str(args.out)):
        raise Refused(f"a checkpoint is called .pt, not {args.out.name}; choose such an --out")
    _refuse_out(args)
    torch.set_num_threads(args.threads)
    stored = load_checkpoint(args.checkpoint)
    network = network_from(stored, classifier=stored.config.classes > 0)
    training, validation, shares = _parts(args)
    _refuse_learnt(stored, validation)
    if (few := few_held(validation)) is not None:
        output.note(few)
    with output.counting("embedding") as count:
        found = refitted(network, training, validation, lambda features: _confused(features, validation), shares, count)
    if found is None:
        output.error(
            "no fit finds the vehicles held out better and confuses as few strangers with them, so nothing is written"
        )
        if args.json:
            output.document({"checkpoint": None, "written": False})
        return 1
    _write(args.out, stored, found, training, validation)
    if args.json:
        numbers = {"ridge": found.ridge, "power": found.power, "before": found.before, "after": found.after}
        output.document({"checkpoint": str(args.out), "written": True, **numbers})
    else:
        _say(found, args.out)
    return 0


def _confused(features: "Floats", validation: "list[Dataset]") -> float:
    """The share of strangers that are taken for a known vehicle, which is that of known vehicles that are missed."""
    from vreid.deploy.first_threshold import match_of_features

    return float(match_of_features(features, validation)["false_match_rate"])


def _refuse_out(args: Args) -> None:
    """Raises Refused for a file that cannot be written, that is read, or that a training goes on from."""
    from vreid.models.checkpoint import load_checkpoint

    refuse_same(args.out, Path(args.checkpoint))
    if args.out.is_dir():
        raise Refused(f"{args.out} is a folder; name a file")
    place = next(folder for folder in args.out.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise Refused(
            f"{args.out} cannot be written: {place} is a file or a folder that may not be written to; choose another --out"
        )
    if args.out.exists() and load_checkpoint(args.out).training is not None:
        raise Refused(f"{args.out} is what a training goes on from; give the output another name")


def _parts(args: Args) -> "tuple[list[Dataset], list[Dataset], tuple[float, ...]]":
    """The training and the validation parts, and the shares of the first."""
    from vreid.cli.training import with_shares
    from vreid.train.data.checking import check, keyed, refuse_broken, refuse_twice, without
    from vreid.train.data.split import cut, join, refuse_unheld
    from vreid.train.evaluate import refuse_unfindable

    if not args.data:
        raise Refused("there is nothing to fit to; name a data set with --data FOLDER (docs/data.md)")
    if not 0 < args.validation < 1:
        raise Refused(
            f"vehicles that are held out choose the fit, so --validation is over 0 and under 1, not {args.validation:g}"
        )
    paths, shares = with_shares(args.data)
    sets = [training_part(path) for path in paths]
    with output.counting("checking pictures") as count:
        found = check(sets, None, count)
    if not args.skip_broken:
        refuse_broken(found)
    sets = [keyed(dataset, found) for dataset in sets]
    join(sets)  # refuses a set that is given twice
    refuse_twice(sets, found)
    refuse_unheld(sets, args.validation, args.seed, "")
    cuts = [[without(part, found.faults) for part in cut(dataset, args.validation, args.seed)] for dataset in sets]
    validation = [held for _, held in cuts if held.query]
    refuse_unfindable(validation, "leave the set out")
    return [kept for kept, _ in cuts], validation, shares


def _refuse_learnt(stored: "Checkpoint", validation: "list[Dataset]") -> None:
    """Raises Refused where the network has learnt from vehicles that are to choose."""
    held = [item for part in validation for item in part.query]
    if count := count_learnt(stored.learnt_keys(), held):
        raise Refused(
            f"{count} of the {len(held)} pictures that are held out were learnt from; give the --validation and the --seed of the "
            "training or, if it held out none, other data"
        )


def _write(
    out: Path, stored: "Checkpoint", found: "Refit", training: "list[Dataset]", validation: "list[Dataset]"
) -> None:
    """The checkpoint, with its validation, its first threshold and the pictures that it was fitted to."""
    import numpy as np
    import torch

    from vreid.deploy.first_threshold import match_of
    from vreid.models.checkpoint import Checkpoint, save_checkpoint
    from vreid.train.data.records import keys_of

    metrics = {
        **stored.metrics, "validation": found.after, "match": match_of(found.network, validation),
        "refit": {"ridge": found.ridge, "power": found.power, "data": [part.name for part in training]},
    }  # fmt: skip
    weights = {key: value.contiguous() for key, value in found.network.state_dict().items()}
    keys = [keys_of(part.train) for part in training]
    trained = torch.from_numpy(
        np.unique(np.concatenate([*keys, *([] if stored.trained is None else [stored.trained])]))
    )
    save_checkpoint(Checkpoint(stored.config, weights, metrics, trained=trained), out)


def _say(found: "Refit", out: Path) -> None:
    rows = [
        (name, f"{before['map']:.2f}", f"{after['map']:.2f}", f"{before['rank1']:.2f}", f"{after['rank1']:.2f}")
        for (name, before), after in zip(found.before.items(), found.after.values(), strict=True)
    ]
    output.table("vehicles held out", ("data set", "mAP before", "after", "Rank-1 before", "after"), rows)
    output.result(f"checkpoint: {out} (ridge {found.ridge:g}, power {found.power:g}, {found.gain:+.2f} mAP)")
