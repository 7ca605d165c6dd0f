"""Checkpoints: network description, weights and metrics in one file that loads without running code."""

import hashlib
import json
import pickle
import struct
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.models.network import NetworkConfig, ReidNetwork, config_from, fields_of

SCHEMA = 1
FIELDS = {"config", "weights", "metrics", "training"}
# What torch.load of 2.13 raises for cut, changed and foreign files: found with random ones.
DAMAGED = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds: `metrics` are plain numbers and words, `training` is the state to resume from, `trained` (N,)
    int64 the keys of the pictures that it learnt from, where they are known (train/data/records.py)."""

    config: NetworkConfig
    weights: dict[str, Tensor]
    metrics: dict[str, Any]
    training: dict[str, Any] | None = None
    trained: Tensor | None = None


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write complete or not at all; Refused where there is no room."""
    fields = {
        "schema": SCHEMA,
        "config": fields_of(checkpoint.config),
        "weights": checkpoint.weights,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
        "trained": checkpoint.trained,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic(path) as temporary:
            torch.save(fields, temporary)
    except (OSError, RuntimeError) as error:  # torch's writer says the second of a full disk
        raise Refused(f"cannot write {path}; make room on its disk, or choose a folder that may be written") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint safely (weights_only). Raises Refused for anything else than a checkpoint of vreid."""
    path = Path(path)
    if not path.is_file():
        raise Refused(f"there is no checkpoint {path}; train one with 'vreid train'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign files, which the refusal says better
            fields = torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED as error:
        raise Refused(f"{path} is not a checkpoint that can be read safely; train or download it again") from error
    if not isinstance(fields, dict) or fields.get("schema") != SCHEMA or not fields.keys() >= FIELDS:
        raise Refused(f"{path} is not a checkpoint of this vreid (schema {SCHEMA}); train it again")
    return Checkpoint(
        config_from(fields["config"]),
        fields["weights"],
        fields["metrics"],
        fields["training"],
        _keys(fields.get("trained")),
    )


def _keys(value: Any) -> Tensor | None:
    return value if isinstance(value, Tensor) and value.dtype is torch.int64 and value.dim() == 1 else None


def network_from(checkpoint: Checkpoint, classifier: bool = False) -> ReidNetwork:
    """The network in eval mode; without `classifier` the identities' layer of the training is left out."""
    config = checkpoint.config if classifier else replace(checkpoint.config, classes=0)
    weights = {key: value for key, value in checkpoint.weights.items() if classifier or not is_classifier(key)}
    network = ReidNetwork(config)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise Refused(f"the weights do not fit the network they are stored with ({error})") from error
    return network.eval()


def is_classifier(key: str) -> bool:
    """Whether a state-dict key belongs to the identities' layer, which no deployed network keeps."""
    return key.startswith("head.classifier.")


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """Names the embedding space: 16 hex digits over the description and every weight that makes the embedding."""
    digest = hashlib.sha256(json.dumps(fields_of(replace(checkpoint.config, classes=0)), sort_keys=True).encode())
    for key in sorted(checkpoint.weights):
        if not is_classifier(key):
            digest.update(key.encode())
            digest.update(checkpoint.weights[key].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
