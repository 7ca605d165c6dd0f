"""A checkpoint in half precision and in two files, small enough to be kept in the repository, and one made of them again.

    python bench/stored_checkpoint.py split runs/heavy/best.pt --out bench/checkpoints/vreid-m
    python bench/stored_checkpoint.py join bench/checkpoints/vreid-m --out runs/vreid-m.pt

`vreid-m.pt` has the network, `vreid-m-classes.pt` the classifier of the training's vehicles and the keys of its pictures: with
both, a student that is compressed while it learns begins as this teacher and learns from its logits.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vreid.models.checkpoint import Checkpoint, is_classifier, load_checkpoint, save_checkpoint


def split(checkpoint: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """(the network, the classifier with the pictures' keys), the weights of layers in half precision; vectors of a number a channel
    stay in float32, since a variance may be beyond float16."""
    half = {
        key: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for key, value in checkpoint.weights.items()
    }
    network = {key: value for key, value in half.items() if not is_classifier(key)}
    classes = {key: value for key, value in half.items() if is_classifier(key)}
    bare = replace(checkpoint, training=None)
    return replace(bare, weights=network, trained=None), replace(bare, weights=classes)


def join(network: Checkpoint, classes: Checkpoint) -> Checkpoint:
    """The checkpoint in float32; ValueError for parts of two checkpoints."""
    if (network.config, network.metrics) != (classes.config, classes.metrics):
        raise ValueError("these are parts of two checkpoints")
    weights = {key: _single(value) for key, value in (network.weights | classes.weights).items()}
    return replace(network, weights=weights, trained=classes.trained)


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("split", "join"))
    parser.add_argument(
        "checkpoint", type=Path, help="split: the file; join: the path of the two files without .pt and -classes.pt"
    )
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if args.what == "split":
        network, classes = split(load_checkpoint(args.checkpoint))
        save_checkpoint(network, args.out.with_name(f"{args.out.name}.pt"))
        save_checkpoint(classes, args.out.with_name(f"{args.out.name}-classes.pt"))
    else:
        parts = (args.checkpoint.with_name(f"{args.checkpoint.name}{end}") for end in (".pt", "-classes.pt"))
        save_checkpoint(join(*map(load_checkpoint, parts)), args.out)


if __name__ == "__main__":
    main()
