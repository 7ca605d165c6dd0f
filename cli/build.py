"""`vreid build`: make an engine of an ONNX model, for the device at hand."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from vreid.cli import output
from vreid.deploy.settings import BuildOptions


@dataclass(frozen=True)
class Args:
    """Build an engine of an ONNX model, once for a device: what did not change is up to date and left as it is."""

    model: Annotated[str, tyro.conf.Positional]
    """Manifest .json of an ONNX model, or the name of a bundled model."""
    engine: str
    """tensorrt, tensorrt_rtx or torch_tensorrt, which compile an engine; or onnxruntime, onnxruntime_cuda, onnxruntime_tensorrt or
    openvino, which run the ONNX file itself and get a manifest of their own."""
    out: Path | None = None
    """Manifest of the engine; MODEL.ENGINE.json next to the model (of a bundled one: here) unless given."""
    builder: tyro.conf.OmitArgPrefixes[BuildOptions] = field(default_factory=BuildOptions)
    force: bool = False
    """Build even what is up to date."""
    json: bool = False
    """Print one JSON document."""


def main(args: Args) -> int:
    from vreid.deploy.build.engine import built_manifest, engine_from_onnx
    from vreid.models.zoo import ZOO, manifest_path
    from vreid.runtime.public_models import cache_folder

    model = manifest_path(args.model)
    out = args.out
    if out is None and model.parent == ZOO:
        out = Path(built_manifest(model, args.engine).name)
    options = replace(args.builder, cache=args.builder.cache or cache_folder(os.environ))
    with output.progress() as bar:
        task = bar.add_task("build", total=None)
        built = engine_from_onnx(
            model, args.engine, out, options, args.force, lambda text: bar.update(task, description=text)
        )
    engine = built.path.with_name(built.manifest.engine)
    if args.json:
        found = {"manifest": str(built.path), "engine": str(engine), "built": built.fresh, "ran_here": built.tried}
        output.document({**found, "why": list(built.why), "built_for": built.manifest.built_for})
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
