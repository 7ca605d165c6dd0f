"""`vreid quantize`: an INT8 model from a float32 one, layers kept in float where retrieval needs it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vreid.cli import output
from vreid.cli.measuring import training_part
from vreid.deploy.settings import Quantization
from vreid.models.errors import refuse_beyond, refuse_seed, refuse_threads

if TYPE_CHECKING:
    from vreid.deploy.lower import LoweringResult

SHOWN = 8  # layers in the table


@dataclass(frozen=True)
class Args:
    """INT8 by explicit Q/DQ in the ONNX, ranges measured on training pictures through the runtime's own crops."""

    model: Annotated[str, tyro.conf.Positional]
    """Manifest .json of a float32 ONNX model, or the name of a bundled one."""
    data: Path
    """Data set; only its training part is used: of train.csv and test.csv, train.csv."""
    out: Path
    """The ONNX file; the manifest gets the same name with .json."""
    calibration: tyro.conf.OmitArgPrefixes[Quantization] = field(default_factory=Quantization)
    max_map_loss: float = 0.5
    """Points of mAP that may be lost on validation vehicles cut from train; the most sensitive layers stay in float."""
    every_layer: bool = False
    """Keep none in float and measure no loss."""
    validation_images: int = 600
    """About how many pictures the loss is measured on."""
    threads: int = 1
    """CPU threads."""
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    from vreid.deploy.lower import int8_from
    from vreid.deploy.precision import low_int8

    refuse_seed(args.calibration.seed)
    refuse_threads(args.threads)
    refuse_beyond(images=args.calibration.images, validation_images=args.validation_images)
    data = training_part(args.data)
    with output.progress() as bar:
        tasks = {what: bar.add_task(what, total=None) for what in ("calibration", "validation", "layers")}
        made = int8_from(
            args.model,
            args.out,
            data,
            args.calibration,
            None if args.every_layer else args.max_map_loss,
            args.validation_images,
            args.threads,
            lambda what, done, total: bar.update(tasks[what], completed=done, total=total),
        )
    warning = None if made.shares is None else low_int8(made.shares, args.every_layer)
    if warning is not None:
        output.error(f"warning: {warning}")
    if args.json:
        choice = None if made.choice is None else asdict(made.choice)
        output.document(
            {
                "manifest": made.manifest.model_dump(by_alias=True),
                "choice": choice,
                "shares": made.shares,
                "warning": warning,
            }
        )
        return 0
    _say(args, made)
    if warning is None:
        output.note(
            f"next, on vehicles that the model did not learn from: "
            f"vreid verify {args.out.with_suffix('.json')} --against {args.model} --data TEST_DATA"
        )
    return 0


def _say(args: Args, made: "LoweringResult") -> None:
    from vreid.deploy.precision import share_text

    calibration = made.manifest.calibration
    if calibration is None:
        return
    rows = [
        ("engine", f"{args.out} ({args.out.stat().st_size / 1e6:.1f} MB)"),
        ("calibrated on", f"{calibration.images} pictures of {calibration.dataset}, {calibration.method}"),
        ("made for", calibration.target),
    ]
    if made.shares is not None:
        rows.append(("MACs", share_text(made.shares)))
    if made.choice is not None:
        last = next(trial for trial in made.choice.trials if trial.kept == made.choice.kept)
        rows.append(("mAP lost on validation", f"{last.loss:.2f} +- {last.error:.2f}"))
        rows.append(("layers in float", str(made.choice.kept)))
        shown = made.choice.layers[: min(SHOWN, made.choice.kept)]
        rows += [("", f"{layer.name} ({layer.share:.0%} of the error)") for layer in shown]
        if made.choice.kept > SHOWN:
            rows.append(("", f"and {made.choice.kept - SHOWN} more; --json names all"))
    output.table(f"quantised {made.manifest.name}", ("what", "value"), rows)
