"""From a float32 model to half precision or INT8: the same inputs and outputs, the same fingerprint, another graph."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from vreid.deploy.graph import biases_moved, half_precision, prepared
from vreid.deploy.model import (
    atomic_output,
    read_onnx,
    refuse_batch,
    refuse_other_than_onnx,
    refuse_replaced,
    written_and_opened,
)
from vreid.deploy.precision import Shares, shares_in
from vreid.deploy.quantize import Choice, Progress, calibration_pictures, chosen, kept_float, quantised, sensitivities
from vreid.deploy.settings import Quantization
from vreid.models.errors import Refused
from vreid.models.manifest import Calibration, Manifest
from vreid.models.preprocess import Embed, Image
from vreid.models.zoo import manifest_path
from vreid.train.data.records import Dataset
from vreid.train.data.split import cut
from vreid.train.evaluate import embedded, refuse_unfindable

SENSED = 4  # batches of 16 pictures: enough to rank layers
LARGEST_SHARE = 0.5  # of the training vehicles that validation may take


@dataclass(frozen=True)
class LoweringResult:
    """What was made; `choice` is None unless layers were to be chosen; `shares` of the MACs in each precision, of INT8 only."""

    manifest: Manifest
    choice: Choice | None = None
    shares: Shares | None = None


def half_from(model: str | Path, out: Path, batch: tuple[int, int, int] | None = None) -> LoweringResult:
    """Write `out` (.onnx), the model in half precision (deploy/graph.py), and its manifest, with another `batch` if one is
    given. Takes every float32 ONNX: exported, adopted or bundled. Raises Refused."""
    manifest, graph = _float_model(model, out)
    if batch is not None:
        refuse_batch(batch)
        manifest = manifest.model_copy(update={"input": manifest.input.model_copy(update={"batch": list(batch)})})
    with atomic_output(out) as temporary:
        about = {"name": out.stem, "precision": "fp16", "accuracy": None}
        found, embedder = written_and_opened(half_precision(graph), manifest.model_copy(update=about), temporary)
        embedder.embed(_noise(manifest))
    return LoweringResult(found)


def int8_from(
    model: str | Path,
    out: Path,
    data: Dataset,
    rules: Quantization,
    max_map_loss: float | None = 0.5,
    validation_images: int = 600,
    threads: int = 1,
    report: Progress = lambda what, done, total: None,
) -> LoweringResult:
    """Write `out` (.onnx), the model in INT8 with explicit Q/DQ (deploy/quantize.py), and its manifest.

    Ranges are measured on `rules.images` pictures of the training part. With `max_map_loss` about `validation_images`
    pictures of other training vehicles decide which layers stay in float (deploy/quantize.py); without, none does.
    `accuracy` of the manifest is emptied and `match` kept: `vreid verify` measures both anew. Raises Refused, also where the
    loss cannot be met.
    """
    refuse_other_than_onnx(out)
    manifest, graph = _float_model(model, out)
    if max_map_loss is None:
        training, validation = data, None
    else:
        share = min(LARGEST_SHARE, validation_images / max(1, len(data.train)))
        training, validation = cut(data, share)
        refuse_unfindable([validation])
    batches, digest = calibration_pictures(training, rules, manifest.input)
    report("calibration", 0, 1)
    plain = prepared(graph)
    biases_moved(plain.graph)  # what is nearly constant would take the range from what distinguishes vehicles
    int8 = quantised(plain, batches, rules)
    report("calibration", 1, 1)
    with atomic_output(out) as temporary:
        about = {"name": out.stem, "precision": "int8", "accuracy": None}
        base = manifest.model_copy(update=about)

        def embeds(model: onnx.ModelProto) -> Embed:
            return written_and_opened(model, base, temporary, threads)[1].embed

        choice = None
        if validation is not None and max_map_loss is not None:
            part = validation
            choice = chosen(
                plain,
                int8,
                sensitivities(plain, int8, batches[:SENSED], embeds, report),
                lambda model: embedded(part, embeds(model), batch=16),
                max_map_loss,
                report,
            )
            if not choice.met:
                last = choice.trials[-1]
                raise Refused(
                    f"with every layer in float INT8 still loses {last.loss:.2f} +- {last.error:.2f} mAP; allow more with "
                    "--max-map-loss, or measure on more pictures with --validation-images"
                )
        names = choice.names() if choice is not None else []
        calibration = Calibration(
            dataset=data.name,
            images=sum(map(len, batches)),
            seed=rules.seed,
            sha256=digest,
            method=rules.method,
            target=rules.target,
            kept_float=names,
        )
        final = kept_float(int8, plain, names) if names else int8
        found, embedder = written_and_opened(
            final, base.model_copy(update={"calibration": calibration}), temporary, threads
        )
        embedder.embed(_noise(manifest))
    return LoweringResult(found, choice, shares_in(final.SerializeToString(), out))


def _float_model(model: str | Path, out: Path) -> tuple[Manifest, onnx.ModelProto]:
    """The manifest and graph of a float32 ONNX, which `out` must not replace."""
    manifest, engine = read_onnx(model)
    refuse_replaced(out, manifest_path(str(model)), engine.path)
    if manifest.precision != "fp32":
        raise Refused(f"{model} is {manifest.precision}; give the float32 ONNX model that it was made from")
    return manifest, onnx.load_model_from_string(engine.data)


def _noise(manifest: Manifest) -> list[Image]:
    """Pictures that every engine must give numbers for; the embedder refuses what is not finite."""
    size = (2, manifest.input.height, manifest.input.width, 3)
    return list(np.random.default_rng(0).integers(0, 256, size).astype(np.uint8))
