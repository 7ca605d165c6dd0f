"""Latency of our networks and engines against what a user would pick instead: same pixels, one machine, one run, by turns.

    pip install ncnn pnnx            # optional; without them their rows say so
    python bench/latency_peers.py --models vreid-s runs/vreid-s/best.pt runs/cdd/cdd2-seed0/best.pt

--models: manifests, bundled names and checkpoints; those of one embedding space (one fingerprint) are one network. Torch, ncnn
and the cosine need the checkpoint, INT8 rows need the manifest of 'vreid quantize'. OSNet x1.0 and ResNet-50 (last stride 1)
with random weights stand next to them. All rows of a run are timed in the same rounds, each turn after one call that is not
counted; from uint8 pixels of the network's size to the embedding. Measure on a quiet machine.
Prints a Markdown table, writes bench/results/latency_peers.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from peer_engines import Subject, Way, ways_of
from peer_networks import peer_subjects, reference_of, subjects_of
from provenance import commit
from rows import RESULTS

from vreid.cli import output
from vreid.deploy.bench import timing_of
from vreid.deploy.device import Gemm, machine, share_of_peak
from vreid.deploy.latency import by_turns
from vreid.models.errors import Refused
from vreid.models.preprocess import Image, batch_of
from vreid.runtime.records import Floats

ROWS = RESULTS / "latency_peers.json"
# cosine of the worst picture, less is another network: vreid-s with red and blue changed places has 0.935, in INT8 0.993
LEAST = {"fp32": 0.999, "fp16": 0.99, "int8": 0.95}
CHECKED = 8  # pictures that an engine must answer as torch does, at the least
SIDE = 256  # of the pictures before the resize
# what an engine, a converter or the memory may raise for one row; the others go on
FAULTS = (Refused, RuntimeError, ValueError, TypeError, OSError, MemoryError, cv2.error, subprocess.SubprocessError)
COLUMNS = ("model", "engine", "threads", "input", "params M", "MACs G", "batch", "p50 ms", "p90 ms", "p99 ms", "of peak %",
           "cosine", "note")  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One network in one way at one batch size; with `error` set, what could not be measured is None."""

    model: str
    engine: str
    form: str
    precision: str
    threads: int
    height: int
    width: int
    params: int
    macs: int
    batch: int
    version: str | None = None
    note: str = ""
    cosine: float | None = None  # to torch, of the worst picture
    runs: int = 0
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    peak_share: float | None = None
    best: bool = False  # of the forms of this engine
    error: str | None = None


def pictures(count: int, seed: int = 0) -> list[Image]:
    """Coloured clouds of every coarseness, since a network may answer all noise alike and hide a wrong channel order."""
    random = np.random.default_rng(seed)
    coarse = [random.integers(0, 256, (2 + place % 9, 2 + place % 7, 3)).astype(np.uint8) for place in range(count)]
    return [np.asarray(cv2.resize(one, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8) for one in coarse]


def cosine(found: Floats, reference: Floats) -> float:
    """Of the worst row; nan for another shape or for no numbers."""
    if found.shape != reference.shape or not np.isfinite(found).all():
        return float("nan")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((found * reference).sum(1) / lengths).min())


def opened(subject: Subject, way: Way, threads: int, batch: int) -> tuple[Row, Callable[[], object] | None]:
    """The row as far as it is known before timing, and what is to be timed; a way that fails or disagrees has a reason."""
    row = Row(subject.name, way.engine, way.form, way.precision, threads, subject.height, subject.width, subject.params,
              subject.macs, batch)  # fmt: skip
    pixels = batch_of(pictures(batch * -(-CHECKED // batch)), subject.height, subject.width)
    row = replace(row, version=way.version())
    try:
        run, note = way.open(subject, threads, batch)
        found = np.concatenate([run(pixels[start : start + batch]) for start in range(0, len(pixels), batch)])
        near = cosine(found, reference_of(subject, threads)(pixels))
        if subject.network is None:
            note = "; ".join(
                part for part in (note, "cosine to the float32 ONNX, since no checkpoint was given") if part
            )
        row = replace(row, note=note, cosine=near)
        if not near >= LEAST[way.precision]:
            return replace(row, error=f"another answer than torch's: cosine {near:.4f}"), None
    except ModuleNotFoundError as error:
        return replace(row, error=f"needs the package '{error.name}': pip install {error.name}"), None
    except FAULTS as error:
        return replace(row, error=" ".join(str(error).split())[:200] or type(error).__name__), None
    return row, partial(run, pixels[:batch])


def timed(runs: Sequence[Callable[[], object]], rounds: int, progress: Callable[[int], object]) -> list[list[float]]:
    """[run] -> ms of its calls, as `by_turns`, but every turn follows one of the same run that is not counted.

    Without that a slow engine would pay for the weights that its predecessor threw out of the cache, and a quick one, which
    has several calls in a turn, would not.
    """
    samples: list[list[float]] = [[] for _ in runs]
    for turn in range(rounds):
        places = list(range(len(runs)))[:: -1 if turn % 2 else 1]
        found = by_turns([runs[place] for place in places for _ in range(2)], 1)
        for place, took in zip(places, found[1::2], strict=True):
            samples[place] += took
        progress(turn + 1)
    return samples


def best_forms(rows: Sequence[Row]) -> list[Row]:
    """The rows with `best` set for the quickest form of each engine, or for its first where all failed."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, row in enumerate(rows):
        groups.setdefault((row.model, row.engine, row.precision, row.batch), []).append(place)
    chosen = {min(group, key=lambda place: rows[place].p50_ms or float("inf")) for group in groups.values()}
    return [replace(row, best=place in chosen) for place, row in enumerate(rows)]


def markdown(rows: Sequence[Row]) -> str:
    """The table of the best forms; the others are in the JSON."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for row in rows:
        if not row.best:
            continue
        measured = (row.p50_ms, row.p90_ms, row.p99_ms, None if row.peak_share is None else 100 * row.peak_share)
        cells = [
            row.model, f"{row.engine} {row.version or ''}".strip() + f", {row.precision}", str(row.threads),
            f"{row.height}x{row.width}", f"{row.params / 1e6:.2f}", f"{row.macs / 1e9:.3f}", str(row.batch),
            *("-" if value is None else f"{value:.{digits}f}" for value, digits in zip(measured, (2, 2, 2, 0), strict=True)),
            "-" if row.cosine is None else f"{row.cosine:.5f}",
            "; ".join(part for part in (row.form, row.note, row.error) if part).replace("|", "/"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured(
    subjects: Sequence[tuple[Subject, bool]], threads: int, batches: Sequence[int], rounds: int
) -> dict[str, Any]:
    """The whole comparison: rows, and the matrix product that ran in the same rounds. True asks for the peers' engines too."""
    rows, runs = [], []
    for subject, peers in subjects:
        for way in ways_of(subject, peers):
            for batch in batches:
                sys.stderr.write(f"opening {subject.name}, {way.engine} {way.form} {way.precision}, batch {batch}\n")
                row, run = opened(subject, way, threads, batch)
                rows.append(row)
                runs.append(run)
    gemm = Gemm(threads)
    alive = [place for place, run in enumerate(runs) if run is not None]
    calls: list[Callable[[], object]] = [gemm]
    calls += [run for run in runs if run is not None]
    product, *samples = timed(calls, rounds, lambda done: sys.stderr.write(f"\rround {done} of {rounds}"))
    sys.stderr.write("\n")
    peak = timing_of(1, product)
    for place, took in zip(alive, samples, strict=True):
        row, timing = rows[place], timing_of(rows[place].batch, took)
        share = share_of_peak(2 * row.macs * row.batch, timing.p50_ms, peak.p50_ms)
        rows[place] = replace(row, runs=timing.runs, p50_ms=timing.p50_ms, p90_ms=timing.p90_ms, p99_ms=timing.p99_ms,
                              peak_share=share)  # fmt: skip
    return {
        "gemm": {"p50_ms": peak.p50_ms, "p90_ms": peak.p90_ms, "gflops": Gemm.flops / peak.p50_ms / 1e6},
        "rows": best_forms(rows),
    }


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["vreid-s"], help="manifests, bundled names, checkpoints")
    parser.add_argument("--peers", nargs="*", default=["osnet", "resnet50"], help="other networks: osnet, resnet50")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--out", type=Path, default=ROWS)
    flags = parser.parse_args(words)
    if min(flags.threads, flags.rounds, *flags.batches) < 1:
        parser.error("threads, rounds and batches are 1 or more")
    cv2.setNumThreads(flags.threads)
    with tempfile.TemporaryDirectory() as folder:
        try:
            subjects = [(one, True) for one in subjects_of(flags.models, Path(folder))]
            subjects += [(one, False) for one in peer_subjects(flags.peers, pictures(16), Path(folder))]
        except Refused as refusal:
            output.error(str(refusal))
            raise SystemExit(2) from refusal
        found = measured(subjects, flags.threads, flags.batches, flags.rounds)
    rows: list[Row] = found["rows"]
    print(markdown(rows))
    print(f"\nA float32 matrix product in the same rounds: {found['gemm']['gflops']:.1f} GFLOP/s.")
    versions = {row.engine: row.version for row in rows if row.version}
    about = {"machine": machine(), "date": date.today().isoformat(), "commit": commit(),
             "threads": flags.threads, "rounds": flags.rounds, "versions": versions, "gemm": found["gemm"]}  # fmt: skip
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    partial = flags.out.with_suffix(".partial")
    partial.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n", encoding="utf-8")
    partial.replace(flags.out)


if __name__ == "__main__":
    main()
