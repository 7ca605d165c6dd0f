"""One table of retrieval on a test set: HSV histogram, ImageNet MobileNetV2, and any models of vreid.

python bench/retrieval_table.py --data ../shared/data/roadside --imagenet WEIGHTS runs/teacher/best.pt vreid-s
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vreid.cli import output
from vreid.deploy.model import open_model
from vreid.models.checkpoint import imagenet_weights, load_body
from vreid.models.network import NetworkConfig, ReidNetwork, unit
from vreid.models.preprocess import Embed, Image, batch_of
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import evaluate


def imagenet_mobilenet(weights: str, side: int) -> Embed:
    """Average-pooled last features of an ImageNet MobileNetV2 (last stride 2, as it was trained)."""
    network = ReidNetwork(NetworkConfig("mobilenet_v2", side, side, options={"last_stride": 2}))
    load_body(network.body, imagenet_weights("mobilenet_v2", weights))
    network.eval()

    def embed(images: Sequence[Image]) -> np.ndarray[Any, np.dtype[np.float32]]:
        with torch.inference_mode():
            pixels = torch.from_numpy(batch_of(images, side, side))
            return np.asarray(unit(network(pixels).pooled).numpy(), np.float32)

    return embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="checkpoints, manifests, or bundled names")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--held-out", type=float, help="score on this share of the training vehicles, cut as vreid train cuts"
    )
    parser.add_argument("--imagenet", help="local state dict of an ImageNet MobileNetV2")
    parser.add_argument("--side", type=int, default=128, help="input side of the ImageNet baseline")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    dataset = read_dataset(flags.data)
    if flags.held_out is not None:
        _, dataset = cut(dataset, flags.held_out)
    embeds: list[tuple[str, Embed]] = [("HSV histogram", open_model("hsv", 1).embed)]
    if flags.imagenet:
        embeds.append((f"ImageNet MobileNetV2, {flags.side} px", imagenet_mobilenet(flags.imagenet, flags.side)))
    embeds += [(model, open_model(model, flags.threads).embed) for model in flags.models]
    rows = []
    for name, embed in embeds:
        began = time.monotonic()
        rows.append({"model": name, **asdict(evaluate(dataset, embed)), "seconds": round(time.monotonic() - began, 1)})
    if flags.json:
        output.document({"data": dataset.name, "rows": rows})
        return
    columns = ("model", "map", "rank1", "rank5", "rank10", "minp", "queries", "gallery", "seconds")
    output.table(f"retrieval on {dataset.name}", columns, [[row[column] for column in columns] for row in rows])


if __name__ == "__main__":
    main()
