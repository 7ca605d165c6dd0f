"""A lowered model appears complete or not at all: engine and manifest are written elsewhere, tried, and moved together."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from vreid.models.errors import MOST_BATCH, Refused, shown
from vreid.models.files import refuse_same, sha256_of
from vreid.models.manifest import Manifest, write_manifest
from vreid.runtime.embedder import Embedder, open_embedder


@contextmanager
def atomic_output(out: Path) -> Iterator[Path]:
    """A temporary path for `out`; when the body succeeds, its file and the .json next to it take their places.

    Raises Refused for another ending than .onnx, and for what the file system refuses; nothing half-written stays.
    """
    refuse_other_than_onnx(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent) as folder:
            temporary = Path(folder) / out.name
            yield temporary
            temporary.replace(out)
            temporary.with_suffix(".json").replace(out.with_suffix(".json"))
    except OSError as error:
        raise Refused(f"cannot write {out} ({error.strerror or error}); make room or choose another --out") from error


def refuse_other_than_onnx(out: Path) -> None:
    """Before any work is done."""
    if out.suffix != ".onnx":
        raise Refused(f"--out is the ONNX file, such as build/student.onnx, not {out}")


def refuse_replaced(out: Path, *inputs: Path) -> None:
    """Before any work is done: `out` and the manifest that is written with it must be none of the files that are read."""
    for written in (out, out.with_suffix(".json")):
        refuse_same(written, *inputs)


def refuse_batch(batch: tuple[int, int, int]) -> None:
    """Before any work is done."""
    if not 1 <= batch[0] <= batch[1] <= batch[2] <= MOST_BATCH:
        given = shown(" ".join(map(str, batch)))
        raise Refused(f"--batch is least, best, most in rising order from 1 to {MOST_BATCH}, not {given}")


def written_and_opened(
    graph: onnx.ModelProto, manifest: Manifest, temporary: Path, threads: int = 1
) -> tuple[Manifest, Embedder]:
    """The graph written to `temporary`, `manifest` next to it with its name and hash, and both opened as the runtime does."""
    temporary.write_bytes(graph.SerializeToString())
    manifest = manifest.model_copy(update={"engine": temporary.name, "sha256": sha256_of(temporary)})
    write_manifest(manifest, temporary.with_suffix(".json"))
    return manifest, open_embedder(temporary.with_suffix(".json"), threads)
