"""What the gate says of every planted fault and of sound lowerings: mAP lost, cosines, first answers, verification, reasons.

python bench/planted_faults.py --data ../shared/data/roadside --model vreid-s --held-out 0.1

With --held-out the pictures are training vehicles that vreid-s never saw; without, the test part. INT8 is calibrated on
training pictures that are not among them. Prints a table, writes bench/results/planted_faults.json.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from faults import FAULTS, OPEN, SOUND, planted
from rows import RESULTS

from vreid.cli import output
from vreid.deploy.quantize import calibration_pictures
from vreid.deploy.settings import Bounds, Quantization
from vreid.deploy.verify import Verification, verify
from vreid.models.errors import Refused
from vreid.models.manifest import read_manifest
from vreid.models.zoo import manifest_path
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset

ROWS = RESULTS / "planted_faults.json"
IMAGES = 256  # that INT8 is calibrated on


def row_of(name: str, sound: bool | None, verification: Verification) -> dict[str, Any]:
    """A row of the table."""
    near = verification.agreement
    return {
        "what": name,
        "sound": sound,
        "map_loss": round(verification.before.map - verification.after.map, 2),
        "cosine_min": None if near is None else round(near.cosine_min, 5),
        "cosine_mean": None if near is None else round(near.cosine_mean, 5),
        "top1": round(verification.top1, 4),
        "passed": verification.passed,
        "reasons": list(verification.reasons),
    }


def wrong_sha(manifest: Path) -> str:
    """What is said when a bit flips and nobody rewrites the hash."""
    engine = manifest.with_name(read_manifest(manifest).engine)
    content = bytearray(engine.read_bytes())
    content[len(content) // 2] ^= 1
    engine.write_bytes(content)
    try:
        read_manifest(manifest)
    except Refused as refusal:
        return str(refusal).replace(f"{engine.parent}/", "")
    return ""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="vreid-s")
    parser.add_argument(
        "--sound", nargs="*", default=[], help="manifests of lowered forms of the model, such as vreid quantize's"
    )
    parser.add_argument("--held-out", type=float, help="share of the training vehicles to judge on, not the test part")
    parser.add_argument("--only", nargs="*", help="names that hold one of these words")
    parser.add_argument("--out", type=Path, default=ROWS)
    parser.add_argument("--threads", type=int, default=1)
    flags = parser.parse_args(words)
    source = manifest_path(flags.model)
    about, graph = read_manifest(source), onnx.load(str(source.with_name(read_manifest(source).engine)))
    dataset = read_dataset(flags.data)
    training, judged = cut(dataset, flags.held_out) if flags.held_out else (dataset, dataset)
    batches, _ = calibration_pictures(training, Quantization(images=IMAGES, reduce_range="no"), about.input)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        made = {Path(path).stem: Path(path) for path in flags.sound}
        for name, fault in {**SOUND, **OPEN, **FAULTS}.items():
            if not flags.only or any(word in name for word in flags.only):
                made[name] = planted(fault, about, graph, batches, Path(folder), f"planted{len(made)}")
        for name, path in made.items():
            verification = verify(path, str(source), judged, Bounds(), flags.threads)
            sound = None if name in OPEN else name not in FAULTS
            rows.append(row_of(name, sound, verification))
            output.console().print(json.dumps(rows[-1]), markup=False)
        path = planted(SOUND["the same graph"], about, graph, batches, Path(folder), "flipped")
        said = wrong_sha(path)
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    part = f"{flags.held_out:g} of the training vehicles, held out" if flags.held_out else "test part"
    found = {"model": flags.model, "data": judged.name, "part": part, "rows": rows, "sha256 not rewritten": said}
    flags.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    columns = ("what", "mAP lost", "least cosine", "mean cosine", "same first vehicle", "verification", "reasons")
    output.table(
        f"{flags.model} on {judged.name}, {part}",
        columns,
        [
            (
                row["what"],
                f"{row['map_loss']:.2f}",
                *("-" if row[key] is None else f"{row[key]:.5f}" for key in ("cosine_min", "cosine_mean")),
                f"{100 * row['top1']:.1f} %",
                "passed" if row["passed"] else "failed",
                len(row["reasons"]),
            )
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
