"""From an ONNX model to an engine with its manifest: built once, and again only when something changed."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vreid.deploy.build.table import Names, Source, Work, changes, names_of, open_builder, read_source
from vreid.deploy.settings import BuildOptions
from vreid.models.errors import Refused
from vreid.models.files import refuse_same, sha256_of
from vreid.models.manifest import Manifest, read_manifest, write_manifest
from vreid.runtime.embedder import open_embedder

SUFFIX = ".engine"


@dataclass(frozen=True)
class Built:
    """`path` is the manifest's; `fresh` is false for an engine that was up to date; `why` are the reasons for building it again."""

    manifest: Manifest
    path: Path
    fresh: bool
    why: tuple[str, ...]
    tried: bool  # whether it was run once here


def built_manifest(model: Path, engine: str) -> Path:
    """Where the manifest of a built engine goes by default: student.int8.json -> student.int8.tensorrt.json."""
    return model.with_name(f"{model.stem}.{engine}.json")


def engine_from_onnx(
    model: Path,
    engine: str,
    out: Path | None = None,
    options: BuildOptions | None = None,
    force: bool = False,
    report: Callable[[str], None] = lambda text: None,
) -> Built:
    """Build `engine` (a name of the seam) of the ONNX whose manifest is at `model`, with its manifest at `out`.

    An engine at `out` with the same key and complete bytes is left as it is unless `force`. Engine and manifest are written
    complete or not at all; an engine that this machine can run is run once before. `report` gets a line for each step.
    Raises Refused.
    """
    out = out or built_manifest(model, engine)
    if out.suffix != ".json":
        raise Refused(f"--out is the manifest of the engine, such as build/student.{engine}.json, not {out}")
    builder = open_builder(engine)
    report(f"checking {model.name}")
    source = read_source(model)
    inputs = [model, source.onnx, *([] if options is None or options.checkpoint is None else [options.checkpoint])]
    refuse_same(out, *inputs)
    refuse_same(out.with_name(out.stem + SUFFIX), *inputs)
    work = builder(source, options or BuildOptions())
    found, why = _there(out, source, work)
    if found is not None and not why and not force:
        return Built(found, out, False, (), False)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".build-") as folder:
            return _built(source, work, out, Path(folder), tuple(why), report)
    except OSError as error:
        raise Refused(
            f"cannot write {out} ({error.strerror or error}); choose another --out, or see to the folder's permissions "
            "and the room on the disk"
        ) from error


def _there(out: Path, source: Source, work: Work) -> tuple[Manifest | None, list[str]]:
    """What is at `out` already, and in which fields it is not what would be built."""
    if not out.exists():
        return None, []
    try:
        found = read_manifest(out)
    except Refused:
        return None, [f"{out.name} and its engine are no longer complete"]
    if found.backend != work.backend:
        return found, [f"backend was {found.backend} and is {work.backend}"]
    before = found.built_for or {"onnx": found.sha256}
    return found, changes(before, work.built_for or {"onnx": source.manifest.sha256})


def _built(
    source: Source, work: Work, out: Path, folder: Path, why: tuple[str, ...], report: Callable[[str], None]
) -> Built:
    same_folder = source.onnx.parent.resolve() == out.parent.resolve()
    engine = source.onnx.name if work.compile is None else out.stem + SUFFIX
    temporary, names = folder / engine, names_of(source)
    if work.compile is None:
        temporary.write_bytes(source.data)
    else:
        report(f"building {engine}")
        names = work.compile(temporary)
    manifest = _manifest(source.manifest, work, engine, sha256_of(temporary), names)
    write_manifest(manifest, folder / out.name)
    if work.runs_here:
        report(f"running {engine} once")
        _tried(folder / out.name, manifest)
    if work.compile is not None or not same_folder:
        temporary.replace(out.with_name(engine))
    (folder / out.name).replace(out)
    return Built(manifest, out, True, why, work.runs_here)


def _manifest(source: Manifest, work: Work, engine: str, sha256: str, names: Names) -> Manifest:
    """The manifest stays but for what runs it; the accuracy of another engine is not this one's."""
    return source.model_copy(
        update={
            "engine": engine,
            "sha256": sha256,
            "backend": work.backend,
            "built_for": work.built_for,
            "accuracy": source.accuracy if work.backend == source.backend else None,
            "input": source.input.model_copy(update={"name": names.given}),
            "output": source.output.model_copy(update={"name": names.out}),
        }
    )


def _tried(path: Path, manifest: Manifest) -> None:
    """Opened and run once, at the least and the largest batch: an engine that gives NaN is refused."""
    embedder = open_embedder(path)
    spec = manifest.input
    for batch in {spec.batch[0], spec.batch[2]}:
        embedder.infer(np.full((batch, spec.height, spec.width, 3), 128, np.uint8))
