"""`vreid cache-teacher`: embed every picture of a training set by a teacher, once, and keep the embeddings in a file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import training_part
from vreid.deploy.settings import NetworkInput
from vreid.models.errors import MissingExtra, Refused, refuse_batch_size, refuse_threads

if TYPE_CHECKING:
    from vreid.deploy.model import Model
    from vreid.train.data.records import Item


@dataclass(frozen=True)
class Args:
    """A teacher cache takes a teacher's place in `vreid train student --teacher`: the teacher may be a black box, or elsewhere."""

    model: Annotated[str, tyro.conf.Positional]
    """Checkpoint .pt, manifest .json next to its ONNX, or the name of a bundled model; or a foreign network, .xml of OpenVINO or
    .onnx, of which --output may name any layer."""
    data: tyro.conf.UseAppendAction[list[Path]]
    """Required: data set whose training part is embedded. Given several times, one file is for all of them."""
    out: Path
    """The file to write, such as features.npz. What was embedded before a stop is not embedded again."""
    threads: int = 1
    """CPU threads."""
    device: str = "auto"
    """Where a checkpoint runs: auto, cpu or cuda."""
    batch: int = 64
    """Pictures at once."""
    network_input: tyro.conf.OmitArgPrefixes[NetworkInput] = field(default_factory=NetworkInput)
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    from vreid.train.teacher_cache import build_cache

    refuse_batch_size(args.batch)
    refuse_threads(args.threads)
    if args.out.suffix != ".npz":
        raise Refused(f"a teacher cache is called .npz, not {args.out.name}; choose such an --out")
    if not args.data:
        raise Refused("there is nothing to embed; name a data set with --data FOLDER (docs/data.md)")
    items: list[Item] = []
    for path in args.data:
        dataset = training_part(path)
        if not dataset.train:
            raise Refused(f"{path} has no training part to embed")
        items += dataset.train
    model = _opened(args)
    with output.counting("embedding") as count:
        found = build_cache(model.embed, model.fingerprint, items, args.out, args.batch, count)
    pictures, width = found.features.shape
    sentence = f"{args.out}: {pictures} pictures, {width} numbers each; {found.queries} queries to {args.model}"
    numbers = {"pictures": pictures, "dim": width, "queries": found.queries}
    return output.outcome(args.json, sentence, {"out": str(args.out), **numbers, "backend": model.backend})


def _opened(args: Args) -> "Model":
    """The teacher: a model of vreid, or a foreign network."""
    path = Path(args.model)
    if path.suffix.lower() in (".xml", ".onnx"):
        try:
            from vreid.deploy.black_box import black_box
        except ModuleNotFoundError as error:
            raise MissingExtra(f"{path} is run by OpenVINO: pip install 'vreid[openvino]'") from error
        return black_box(path, args.network_input, args.threads)
    if args.network_input != NetworkInput():
        raise Refused(
            "--output and the flags of preprocessing are for an .xml or .onnx; a model of vreid knows its own"
        )
    from vreid.deploy.model import open_model

    return open_model(args.model, args.threads, args.device)
