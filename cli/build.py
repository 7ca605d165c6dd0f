"""`vreid build`: make an engine of an ONNX model, for the device at hand."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output


@dataclass(frozen=True)
class Args:
    """Build an engine of an ONNX model, once for a device: what did not change is up to date and left alone."""

    model: Annotated[str, tyro.conf.Positional]
    """Manifest .json of an ONNX model, or the name of a bundled model."""
    engine: str
    """onnxruntime, onnxruntime_cuda, onnxruntime_tensorrt, openvino, tensorrt, tensorrt_rtx or torch_tensorrt."""
    out: Path | None = None
    """Manifest of the engine; MODEL.ENGINE.json beside the model (of a bundled one: here) unless given."""
    dla: int | None = None
    """Core of a Jetson's DLA, for fp16 and int8 in one fixed batch; what cannot go there stays on the GPU."""
    workspace: int | None = None
    """MiB of memory that tensorrt and tensorrt_rtx may use for intermediate results; all that is free unless given."""
    capabilities: tuple[str, ...] = ()
    """Compute capabilities that tensorrt_rtx builds for, such as 8.6 8.9; Ampere and later unless given."""
    checkpoint: Path | None = None
    """Checkpoint of the model, which torch_tensorrt builds from."""
    force: bool = False
    """Build even what is up to date."""
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    """Build and say what there is now."""
    from vreid.deploy.build.engine import engine_from_onnx, manifest_beside
    from vreid.deploy.build.records import Options
    from vreid.models.zoo import ZOO, manifest_path

    model = manifest_path(args.model)
    out = args.out
    if out is None and model.parent == ZOO:
        out = Path(manifest_beside(model, args.engine).name)
    options = Options(args.dla, args.workspace, args.capabilities, args.checkpoint, _cache())
    with output.progress() as bar:
        task = bar.add_task("build", total=None)
        built = engine_from_onnx(
            model, args.engine, out, options, args.force, lambda text: bar.update(task, description=text)
        )
    engine = built.path.with_name(built.manifest.engine)
    if args.json:
        said = {"manifest": str(built.path), "engine": str(engine), "built": built.fresh, "ran_here": built.tried}
        output.document({**said, "why": list(built.why), "built_for": built.manifest.built_for})
        return 0
    for reason in built.why:
        output.note(f"built again: {reason}")
    rows = [("manifest", str(built.path)), ("engine", f"{engine} ({engine.stat().st_size / 1e6:.1f} MB)")]
    rows += [(field, value) for field, value in (built.manifest.built_for or {}).items()]
    title = "built" if built.fresh else "up to date"
    output.table(f"{title}: {built.manifest.name}, {built.manifest.backend}", ("what", "value"), rows)
    if built.fresh and not built.tried:
        output.result("not run here: there is no device for it on this machine")
    return 0


def _cache() -> Path:
    """Where timings of a device are kept between builds."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vreid"
