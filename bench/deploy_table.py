"""The deployment table: a student in every precision on every engine that runs here, accuracy and latency in one run.

    python bench/deploy_table.py --data ../shared/data/roadside --out runs/deploy vreid-s runs/cdd/cdd2-seed0/best.pt

Lowers each model (FP32, FP16, INT8 for CPUs and for TensorRT) and builds it for ONNX Runtime and OpenVINO, unless that lies in
--out already; has each lowered form verified against its FP32; then benches all of them together by turns, into
OUT/bench-MODEL. Rows of all that lie there take the place of these models' rows in bench/results/deploy.json, where others
stay; tables go to the screen. Without models nothing is measured. Stop other work first: latencies are what this is for.
"""

import argparse
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from provenance import commit
from rows import RESULTS, write_rows

from vreid.cli import output
from vreid.deploy.bench import bench, no_faster
from vreid.deploy.bench_page import write_bench
from vreid.deploy.build.engine import engine_from_onnx
from vreid.deploy.device import machine, versions
from vreid.deploy.export import onnx_from_checkpoint
from vreid.deploy.lower import half_from, int8_from
from vreid.deploy.settings import Bounds, Quantization, Turns
from vreid.deploy.verify import record, verify
from vreid.models.zoo import manifest_path
from vreid.train.data.records import Dataset
from vreid.train.data.table import read_dataset

ROWS = RESULTS / "deploy.json"


def lowered_forms(model: str, data: Dataset, out: Path) -> Iterator[Path]:
    """The manifests of every form of `model`, FP32 first."""
    name = model if Path(model).suffix != ".pt" else Path(model).parent.name
    if Path(model).suffix == ".pt":
        wide = out / f"{name}.json"
        if not wide.exists():
            onnx_from_checkpoint(Path(model), wide.with_suffix(".onnx"), data=data)
    else:
        wide = manifest_path(model)
    yield wide
    forms = [out / f"{name}.{form}.json" for form in ("fp16", "int8-cpu", "int8-tensorrt")]
    for path in forms:
        if path.exists():
            continue
        lowered = path.with_suffix(".onnx")
        if path == forms[0]:
            half_from(wide, lowered)
        else:
            target = "cpu" if path == forms[1] else "tensorrt"
            made = int8_from(wide, lowered, data, Quantization(target))
            kept = made.choice.kept if made.choice else 0
            output.console().print(f"{path.name}: {kept} layers in float")
        verification = verify(path, str(wide), data, Bounds())
        output.console().print(f"{path.name}: {'passed' if verification.passed else ' '.join(verification.reasons)}")
        if verification.passed:
            record(path, verification)
    yield from forms
    for path in (wide, *forms):
        yield engine_from_onnx(path, "openvino", out / f"{path.stem}.openvino.json").path


def rows_of(document: dict[str, Any]) -> Iterator[dict[str, object]]:
    """One for each model, engine and batch size, in the words of the issue that asked for them."""
    for model in document["models"]:
        accuracy = model["accuracy"] or {"map": None, "rank1": None}
        for timing in model["timings"]:
            yield {
                "model": model["name"],
                "backend": model["backend"],
                "precision": model["precision"],
                "threads": document["threads"],
                "batch": timing["batch"],
                **{key: round(timing[key], 3) for key in ("p50_ms", "p90_ms", "p99_ms")},
                "peak_share": None if timing["peak_share"] is None else round(timing["peak_share"], 3),
                "map": accuracy["map"],
                "rank1": accuracy["rank1"],
                "cosine": None if model["cosine_mean"] is None else round(model["cosine_mean"], 5),
                "bytes": model["file_bytes"],
                **{key: document[key] for key in ("date", "commit")},
                "cpu": document["machine"]["cpu"],
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 8])
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    data = read_dataset(flags.data)
    about = {"machine": machine(), "versions": versions(), "threads": flags.threads}
    about |= {"date": str(date.today()), "commit": commit()}
    for model in flags.models:  # a table each: cosines are to its own FP32
        paths = [str(path) for path in lowered_forms(model, data, flags.out)]
        results = bench(paths, Turns(flags.threads, flags.batches, flags.rounds), data=data)
        write_bench(results, about, flags.out / f"bench-{results[0].name or model}")
        for sentence in (*no_faster(results), *(f"{one.model}: {one.error}" for one in results if one.error)):
            output.console().print(sentence)
    found = sorted(flags.out.glob("bench-*/bench.json"))
    rows = [row for path in found for row in rows_of(json.loads(path.read_text(encoding="utf-8")))]
    measured = {row["model"] for row in rows}
    rows += [row for row in json.loads(ROWS.read_text(encoding="utf-8")) if row["model"] not in measured]
    write_rows(ROWS, rows)
    print("\n".join(path.with_name("bench.md").read_text(encoding="utf-8") for path in found))


if __name__ == "__main__":
    main()
