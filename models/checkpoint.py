"""Weights in files: checkpoints of vreid, which load without running code, and weights for a body to start from."""

import hashlib
import json
import pickle
import struct
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from vreid.models.errors import Refused, shown
from vreid.models.files import atomic
from vreid.models.network import NetworkConfig, ReidNetwork, config_from

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

    def learnt_keys(self) -> frozenset[int]:
        """The keys of the pictures that it learnt from; none where it does not say."""
        return frozenset() if self.trained is None else frozenset(self.trained.tolist())


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write complete or not at all; Refused where there is no room."""
    fields = {
        "schema": SCHEMA,
        "config": asdict(checkpoint.config),
        "weights": checkpoint.weights,
        "metrics": checkpoint.metrics,
        "training": checkpoint.training,
        "trained": checkpoint.trained,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic(path) as temporary, temporary.open("wb") as file:  # by a file's name the bytes would hang on it
            torch.save(fields, file)
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
    kinds = (("weights", dict), ("metrics", dict), ("training", dict | None))
    if wrong := [name for name, kind in kinds if not isinstance(fields[name], kind)]:
        raise Refused(f"{path} is a damaged checkpoint, in which {wrong[0]} is not a table; train or download it again")
    refuse_odd(fields["weights"], str(path))
    refuse_not_finite(fields["weights"], str(path))
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
    if classifier and config.classes and not any(map(is_classifier, weights)):
        raise Refused(
            f"the checkpoint is without the layer of its {config.classes} vehicles, as the first part of a stored one is; join "
            "the two parts by bench/stored_checkpoint.py, or give a whole one"
        )
    try:
        with torch.device("meta"):  # only shapes: a wrong description may be of more memory than there is
            shapes = ReidNetwork(config)
        shapes.load_state_dict(weights, assign=True)
    except (TypeError, ValueError, ArithmeticError, RuntimeError, LookupError) as error:
        raise Refused(
            f"the weights do not fit the network they are stored with ({shown(' '.join(str(error).split()), 200)}); train it "
            "again"
        ) from error
    network = ReidNetwork(config)
    network.load_state_dict(weights)
    return network.eval()


def is_classifier(key: str) -> bool:
    """Whether a state-dict key belongs to the identities' layer, which no deployed network keeps."""
    return key.startswith("head.classifier.")


def fingerprint_of(checkpoint: Checkpoint) -> str:
    """Names the embedding space: 16 hex digits over the description and every weight that makes the embedding."""
    digest = hashlib.sha256(json.dumps(asdict(replace(checkpoint.config, classes=0)), sort_keys=True).encode())
    for key in sorted(checkpoint.weights):
        if not is_classifier(key):
            digest.update(key.encode())
            digest.update(checkpoint.weights[key].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


BASE = "https://download.pytorch.org/models/"
DOWNLOADS = {
    "resnet18": BASE + "resnet18-f37072fd.pth",
    "resnet34": BASE + "resnet34-b627a593.pth",
    "resnet50": BASE + "resnet50-11ad3fa6.pth",
    "resnet101": BASE + "resnet101-cd907fc2.pth",
    "mobilenet_v2": BASE + "mobilenet_v2-7ebf99e0.pth",
}


def imagenet_weights(body: str, source: str) -> dict[str, Tensor]:
    """State dict of `source`: a local file (a state dict, a checkpoint of vreid, or .safetensors), a URL, or "imagenet".

    Loads no code. Raises Refused."""
    try:
        if Path(source).is_file():
            weights = _read(source)
        elif source == "imagenet" or source.startswith(("http://", "https://", "file://")):
            weights = _downloaded(body, source)
        else:
            raise Refused(f"there are no weights at {source}; give a local state dict, or 'imagenet' to download them")
    except OSError as error:
        raise Refused(
            f"the weights {source} could not be fetched ({error}); give a local file (docs/training.md says where there are some)"
        ) from error
    except DAMAGED as error:
        raise Refused(f"{source} holds no weights that can be read safely; give a state dict saved by torch") from error
    for name in ("state_dict", "model"):  # how other trainings wrap it
        if isinstance(weights, dict) and isinstance(weights.get(name), dict):
            weights = weights[name]
    if isinstance(weights, dict) and isinstance(weights.get("weights"), dict):  # a checkpoint of vreid: its body
        weights = {
            key[len("body.") :]: value for key, value in weights["weights"].items() if str(key).startswith("body.")
        }
    if not isinstance(weights, dict) or not weights:
        raise Refused(f"{source} is not a state dict; give a file that maps names to tensors")
    refuse_odd(weights, source)
    refuse_not_finite(weights, source)
    if all(key.startswith("module.") for key in weights):  # of DataParallel
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    return OrderedDict(weights)


def refuse_odd(weights: Mapping[Any, Any], source: str) -> None:
    """Raises Refused for what is not a table of names and tensors, and for a tensor that a network's cannot be filled with:
    sparse, complex, quantised, or without the memory of its numbers."""
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise Refused(f"{source} is not a state dict; give a file that maps names to tensors")
        plain = value.layout is torch.strided and not (value.is_meta or value.is_quantized or value.is_complex())
        if not plain or value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise Refused(f"{source} holds {shown(name)} as a tensor that is not dense and real; give other weights")


def refuse_not_finite(weights: Mapping[str, Tensor], source: str) -> None:
    """Raises Refused for weights that hold NaN or infinite numbers, with the tensor's name."""
    for name, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value.float()).all():  # 8-bit floats know no isfinite
            raise Refused(f"{source} holds NaN or infinite numbers in {name}; give other weights")


@runtime_checkable
class AdaptingBody(Protocol):
    """A body that knows weights of other packages."""

    def adapted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Such weights by the body's own names, any others as they are."""


def load_body(body: nn.Module, weights: dict[str, Tensor]) -> int:
    """Fill `body` and return how many tensors were taken; of `weights` only a classifier may be left over.

    Keys are matched as they are; where a file names the layers otherwise (MobileNetV2 before torchvision), tensors are
    matched in order, each of the same shape and last word. Raises Refused unless every tensor of the body is filled.
    """
    own = body.state_dict()
    weights = body.adapted(weights) if isinstance(body, AdaptingBody) else weights
    wanted = [key for key in own if not key.endswith("num_batches_tracked")]
    given = [item for item in weights.items() if not item[0].endswith("num_batches_tracked")]
    direct = all(key in weights for key in wanted)
    if direct:
        found = {key: weights[key] for key in wanted}
    else:
        # the last word too, since a batch norm's four tensors have one shape and a sorted file another order
        found = {key: value for key, (name, value) in zip(wanted, given, strict=False) if _last(key) == _last(name)}
    for key in wanted:
        if key not in found or found[key].shape != own[key].shape:
            raise Refused(
                f"the weights do not fit the body: {key} should have shape {tuple(own[key].shape)}; give weights of the "
                "recipe's body"
            )
        if not found[key].is_floating_point():
            raise Refused(f"the weights hold {key} in whole numbers; give weights in floating point")
    names = {key: key for key in wanted} if direct else dict(zip(wanted, (name for name, _ in given), strict=False))
    left = weights.keys() - set(names.values())
    left = {key for key in left if not key.endswith("num_batches_tracked") and not _of_classifier(key)}
    if left:
        raise Refused(
            f"the weights are of another network: {len(left)} tensors are left over besides a classifier, such as "
            f"{min(left)}; give weights of the recipe's body"
        )
    body.load_state_dict(found, strict=False)
    return len(found)


def _read(path: str | Path) -> Any:
    """What a local file holds: of .safetensors its tensors by name, of another one what torch stored. Raises Refused."""
    if not is_safetensors(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise Refused(
            f"{path} needs the package safetensors; install it with pip install 'vreid[train]', or pip install safetensors"
        ) from error
    try:
        return load_file(path, device="cpu")
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise Refused(
            f"{path} is not a complete safetensors file ({error}); copy it again, or give a state dict"
        ) from error


def is_safetensors(path: str | Path) -> bool:
    """Whether a file's or an address's name is that of a safetensors file."""
    name = urlsplit(path).path if isinstance(path, str) and "://" in path else str(path)
    return name.lower().endswith(".safetensors")


def _downloaded(body: str, source: str) -> Any:
    """Kept in torch's own cache: the usual file checked by the hash in its name, another one under its address, unless it cannot
    be read."""
    if source == "imagenet":
        if body not in DOWNLOADS:
            raise Refused(f"there is no usual download for {body}; give a local state dict")
        return torch.hub.load_state_dict_from_url(
            DOWNLOADS[body], map_location="cpu", weights_only=True, progress=False, check_hash=True
        )
    end = ".safetensors" if is_safetensors(source) else ".pth"
    kept = Path(torch.hub.get_dir()) / "checkpoints" / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}{end}"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(source, str(kept), progress=False)
    try:
        return _read(kept)
    except (*DAMAGED, Refused):
        kept.unlink()  # of an address that serves the right file later
        raise


def _of_classifier(key: str) -> bool:
    return key.startswith(("fc.", "classifier.", "head."))


def _last(key: str) -> str:
    return key.rpartition(".")[2]
