"""The native runtime against the Python one: one machine, one run, one engine, by turns, each turn in a process of its own.

    python bench/native_against_python.py --program build/native/runtime/native/program/vreid-native

Embed latency (uint8 pixels of the network's size to features), cutting and resizing 32 boxes of a 1080p frame to batches, the
same boxes in both, time from the start of the process to a manifest read and its hash checked, and to the first embedding,
and memory. The best round of each is printed, as others share the machine. Prints a Markdown table, writes
bench/results/native.json.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS

from vreid.models.manifest import read_model
from vreid.models.zoo import manifest_path

ROWS = RESULTS / "native.json"
FRAME = (1080, 1920, 3)
BOXES = 32
WARM_UP = 2
READ = "import sys; from vreid.models.manifest import read_manifest; read_manifest(sys.argv[1])"
Found = dict[str, float]


def drawn_boxes() -> tuple[Any, Any]:
    """The frame and the boxes of `vreid-native bench`: the numbers of std::mt19937 with seed 0, in the order it draws them."""
    bits = np.random.MT19937()
    bits._legacy_seeding(0)  # type: ignore[attr-defined]
    frame = bits.random_raw(int(np.prod(FRAME))).astype(np.uint8).reshape(FRAME)
    boxes = []
    for _ in range(BOXES):
        width, left, top = (int(bits.random_raw()) % most for most in (361, 1500, 760))
        boxes.append([left, top, left + 40 + width, top + 0.75 * (40 + width)])
    return frame, np.array(boxes, np.float32)


def p50_ms(work: Callable[[], object], runs: int) -> float:
    for _ in range(WARM_UP):
        work()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.percentile(times, 50))


def python_turn(model: str, engine: str, threads: int, runs: int) -> Found:
    """What a fresh Python finds; called in a process of its own."""
    began = time.perf_counter()
    import cv2

    from vreid.models.preprocess import batch_of
    from vreid.runtime.embedder import Embedder
    from vreid.runtime.engines.table import open_engine
    from vreid.runtime.records import cut_out

    path = Path(model)
    manifest, file = read_model(path)
    manifest = manifest.model_copy(update={"backend": engine})
    embedder = Embedder(manifest, open_engine(manifest, file, threads))
    height, width = manifest.input.height, manifest.input.width
    embedder.infer(np.zeros((1, height, width, 3), np.uint8))
    found = {"load_ms": 1000 * (time.perf_counter() - began)}
    cv2.setNumThreads(threads)
    for batch in (1, 8):
        pixels = np.random.default_rng(0).integers(0, 256, (batch, height, width, 3)).astype(np.uint8)
        found[f"embed_{batch}_ms"] = p50_ms(lambda pixels=pixels: embedder.infer(pixels), runs)  # type: ignore[misc]
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines())
    found["memory_mib"] = int(lines["VmHWM"].split()[0]) / 1024
    frame, boxes = drawn_boxes()
    took = p50_ms(lambda: batch_of([cut_out(frame, box, 0.0) for box in boxes], height, width), runs)
    return {**found, "crops_per_s": 1000 * BOXES / took}


def native_turn(program: Path, model: str, engine: str, threads: int, runs: int) -> Found:
    words = [program, "bench", model, "--engine", engine, "--threads", str(threads), "--runs", str(runs), "--json"]
    printed = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    timings = {f"embed_{one['batch']}_ms": one["p50_ms"] for one in printed["timings"]}
    crops = {"crops_per_s": printed["preprocess"]["bgr"]["images_per_s"]}
    return {"load_ms": printed["load_ms"], **timings, "memory_mib": printed["memory_bytes"] / 2**20, **crops}


def seconds_of(words: list[Any]) -> float:
    began = time.perf_counter()
    subprocess.run(words, capture_output=True, check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--model", default="vreid-s")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--python-turn", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    model = str(manifest_path(args.model))
    if args.python_turn:
        print(json.dumps(python_turn(model, args.engine, args.threads, args.runs)))
        return
    flags = ["--program", args.program, "--model", model, "--engine", args.engine, "--threads", str(args.threads)]
    turns: dict[str, list[Found]] = {"python": [], "native": []}
    for _ in range(args.rounds):
        words = [sys.executable, __file__, *flags, "--runs", str(args.runs), "--python-turn"]
        turns["python"].append(json.loads(subprocess.run(words, capture_output=True, check=True).stdout))
        turns["python"][-1]["start_ms"] = 1000 * seconds_of([sys.executable, "-c", READ, model])
        turns["native"].append(native_turn(args.program, model, args.engine, args.threads, args.runs))
        turns["native"][-1]["start_ms"] = 1000 * seconds_of([args.program, "info", model])
    from provenance import commit

    from vreid.deploy.device import machine

    best = {side: {name: (max if name.endswith("_s") else min)(one[name] for one in found) for name in found[0]}
            for side, found in turns.items()}  # fmt: skip
    about = {"engine": args.engine, "threads": args.threads, "model": args.model, "rounds": args.rounds}
    document = {
        "date": str(date.today()),
        "commit": commit(),
        "machine": machine(),
        **about,
        "best": best,
        "turns": turns,
    }
    ROWS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print("| | Python | native | |\n| --- | ---: | ---: | ---: |")
    for name, value in best["native"].items():
        print(f"| {name} | {best['python'][name]:.2f} | {value:.2f} | {value / best['python'][name]:.2f} |")


if __name__ == "__main__":
    main()
