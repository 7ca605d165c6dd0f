"""A checkpoint in half precision and in two files, small enough to be kept in the repository, and one made of them again.

    python bench/stored_checkpoint.py split runs/heavy/best.pt --out bench/checkpoints/vreid-m
    python bench/stored_checkpoint.py join bench/checkpoints/vreid-m --out runs/vreid-m.pt

`vreid-m.pt` has the network, `vreid-m-classes.pt` the classifier of the training's vehicles and the keys of its pictures: with
both, a student that is compressed while it learns begins as this teacher and learns from its logits.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vreid.models.checkpoint import (
    Checkpoint,
    is_classifier,
    load_checkpoint,
    network_from,
    refuse_not_finite,
    save_checkpoint,
)
from vreid.models.errors import Refused
from vreid.models.files import refuse_same


def split(checkpoint: Checkpoint) -> tuple[Checkpoint, Checkpoint]:
    """(the network, the classifier with the pictures' keys), the weights in half precision; a vector of a number a channel stays in
    float32 where one of its numbers is beyond float16, as a variance may be."""
    half = {key: _half(value) for key, value in checkpoint.weights.items()}
    refuse_not_finite(half, "the checkpoint in half precision")
    network = {key: value for key, value in half.items() if not is_classifier(key)}
    classes = {key: value for key, value in half.items() if is_classifier(key)}
    bare = replace(checkpoint, training=None)
    return replace(bare, weights=network, trained=None), replace(bare, weights=classes)


def _half(value: Tensor) -> Tensor:
    if not value.is_floating_point():
        return value
    narrow = value.half()
    return narrow if value.ndim > 1 or torch.allclose(narrow.to(value), value, rtol=2**-10, atol=0) else value


def join(network: Checkpoint, classes: Checkpoint) -> Checkpoint:
    """The checkpoint in float32. Raises Refused for parts of two checkpoints, and for two that do not make one."""
    if (network.config, network.metrics) != (classes.config, classes.metrics):
        raise Refused("these are parts of two checkpoints; give the two that were split from one")
    weights = {key: _single(value) for key, value in (network.weights | classes.weights).items()}
    whole = replace(network, weights=weights, trained=classes.trained)
    network_from(whole, classifier=True)
    return whole


def _single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def parts_of(path: Path) -> tuple[Path, Path]:
    """The two files by their name without its end."""
    return path.with_name(f"{path.name}.pt"), path.with_name(f"{path.name}-classes.pt")


def main() -> int:
    """Split or join one checkpoint; 2 where it is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("split", "join"))
    parser.add_argument("checkpoint", type=Path, help="of split the file, of join the two files' name without its end")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        if args.what == "split":
            outputs = parts_of(args.out)
            for out in outputs:
                refuse_same(out, args.checkpoint)
            for part, out in zip(split(load_checkpoint(args.checkpoint)), outputs, strict=True):
                save_checkpoint(part, out)
        else:
            inputs = parts_of(args.checkpoint)
            refuse_same(args.out, *inputs)
            save_checkpoint(join(*map(load_checkpoint, inputs)), args.out)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
