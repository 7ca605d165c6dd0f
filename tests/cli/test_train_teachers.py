"""`vreid cache-teacher` and `vreid train student` with several teachers, black boxes and few pictures, from end to end."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.cli.main import main

WORDS = ["--epochs", "1", "--threads", "1", "--device", "cpu", "--validation", "0", "--size", "32"]


def trained(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[dict[str, object], str]:
    """(the recipe in the document that --json prints, what was said)."""
    assert main(["train", *map(str, words), *WORDS, "--json"]) == 0
    said = capsys.readouterr()
    recipe: dict[str, object] = json.loads(said.out)["recipe"]
    return recipe, said.err


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([*map(str, words)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("colours")
    rows = ["path,vehicle,camera"]
    for vehicle, camera, picture in np.ndindex(16, 2, 2):
        name = f"{vehicle}_{camera}_{picture}.png"
        colour = np.array([vehicle * 11 % 256, vehicle * 47 % 256, 40 * camera + 5 * picture], np.uint8)
        assert cv2.imwrite(str(folder / name), np.broadcast_to(colour, (24, 24, 3)).copy())
        rows.append(f"{name},{vehicle},c{camera}")
    (folder / "colours.csv").write_text("\n".join(rows) + "\n")
    return folder / "colours.csv"


@pytest.fixture(scope="module")
def teachers(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A ResNet-50, a ResNet-18 of other dimensions, and a file of what vreid-s says."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("teachers")
    for name in ("resnet50", "resnet18"):
        words = ["--recipe", f"teacher_{name}_small", "--data", str(data), "--out", str(folder / name)]
        assert main(["train", "teacher", *words, *WORDS]) == 0
    assert main(["cache-teacher", "vreid-s", "--data", str(data), "--out", str(folder / "answers.npz")]) == 0
    return {
        "a": folder / "resnet50" / "best.pt",
        "b": folder / "resnet18" / "best.pt",
        "answers": folder / "answers.npz",
    }


@pytest.mark.slow
def test_several_teachers_go_into_one_student_that_is_compressed(
    capsys: pytest.CaptureFixture[str], data: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "student"
    given = ["--teacher", teachers["a"], "--teacher", teachers["b"], "--teacher", teachers["answers"]]
    recipe, said = trained(
        capsys, "student", "--data", data, *given, "--fusion", "maxmin", "--compress", "cdd2", "--target-macs", 0.3,
        "--out", out, "--p", 8,
    )  # fmt: skip
    assert recipe["answers"]["by"] == "fusion" and recipe["answers"]["whiten"] == 16 and recipe["distil"] == 1.0
    assert recipe["capacity"]["budget"]["share"] == 0.3 and recipe["network"]["body"] == "resnet50"
    assert "128 teacher queries" in said  # 64 pictures, two teachers; the file costs none
    record = json.loads((out / "log.jsonl").read_text())
    assert record["share"] <= 0.3
    assert {"classification", "triplet", "logits", "distil"} == set(record["losses"])
    assert {path.name for path in out.glob("*.npz")} == {
        "teacher-1.npz", "teacher-2.npz", "teacher-1.projection.npz", "teacher-2.projection.npz", "teacher-3.projection.npz",
    }  # fmt: skip


def test_a_black_box_teaches_without_labels_from_few_pictures(
    capsys: pytest.CaptureFixture[str], data: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    few = ["--fraction", 0.5, "--teacher", "vreid-s"]
    recipe, said = trained(
        capsys, "student", "--recipe", "drd_resnet18_small", "--data", data, *few, "--out", tmp_path / "drd"
    )
    assert recipe["labels"] is False and "32 teacher queries" in said
    assert set(json.loads((tmp_path / "drd/log.jsonl").read_text())["losses"]) == {"distil"}
    rkd = ["--recipe", "student_resnet18_small", "--loss", "rkd", "--unlabelled", "--teacher", teachers["answers"]]
    recipe, said = trained(capsys, "student", *rkd, "--data", data, "--out", tmp_path / "rkd")
    assert recipe["answers"]["by"] == "rkd" and "0 teacher queries" in said


def test_answers_that_do_not_fit_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], data: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    other = data.with_name("other.csv")
    new = data.with_name("new.png")
    assert cv2.imwrite(str(new), np.full((24, 24, 3), 255, np.uint8))
    other.write_text(data.read_text() + "new.png,99,c0\n")
    apart = data.with_name("apart.csv")
    apart.write_text("path,vehicle,camera\nnew.png,99,c0\n")
    capsys.readouterr()
    words = [
        "--teacher",
        teachers["answers"],
        *WORDS,
        "--out",
        tmp_path / "never",
        "--recipe",
        "whiten_mtd_resnet18_small",
    ]
    assert "answers.npz has no embedding of" in refused(capsys, "train", "student", "--data", other, *words)
    for flags, says in (
        (["--fusion", "best", "--data", data], "there is no fusion 'best'"),
        (["--loss", "best", "--recipe", "student_resnet18_small", "--data", data], "there is no loss 'best'"),
        (["--unlabelled", "--data", data], "the fusion 'maxmin' needs labels"),
        (["--fraction", 0, "--data", data], "above 0 and up to 1, not 0"),
        (["--teacher", "net.xml", "--data", data], "net.xml is a bare network; embed the data by vreid cache-teacher"),
        (["--compress", "zip", "--data", data], "there is no compression 'zip'"),
        (["--compress", "cdd2", "--data", data], "learns from a teacher at every step"),
        (["--loss", "rkd", "--teacher", teachers["b"], "--data", data], "is for one teacher"),
        (["--teacher", teachers["answers"], "--data", data], "are one teacher; give each once"),
        (["--fusion", "mean", "--unlabelled", "--undistilled", apart, "--data", data], "learnt from its labels only"),
    ):
        assert says in refused(capsys, "train", "student", *words, *flags)
    assert (
        main(["train", "student", *map(str, words), "--unlabelled", "--unasked", str(apart), "--data", str(data)]) == 2
    )
    assert "--unasked is called --undistilled now" in capsys.readouterr().err
    for verb in ("cache-teacher", "teach"):  # the old verb runs too, and names the new one
        assert main([verb, "vreid-s", "--data", str(data), "--out", str(tmp_path / "answers.txt")]) == 2
        said = capsys.readouterr().err
        assert "called .npz" in said and ("is called vreid cache-teacher now" in said) == (verb == "teach")
    assert not (tmp_path / "never" / "last.pt").exists()


def test_a_classifier_of_other_vehicles_is_refused_though_they_are_as_many(
    capsys: pytest.CaptureFixture[str], data: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    head, *rows = data.read_text().splitlines()
    others = data.with_name("others.csv")
    renamed = [f"{path},other-{vehicle},{camera}" for path, vehicle, camera in (row.split(",") for row in rows)]
    others.write_text("\n".join([head, *renamed]) + "\n")
    words = ["--teacher", teachers["a"], "--compress", "cdd2", "--out", tmp_path / "never", *WORDS]
    capsys.readouterr()
    said = refused(capsys, "train", "student", "--data", others, *words)
    assert "classifier knows other vehicles" in said and "train the teacher further on this --data" in said
    said = refused(capsys, "train", "student", "--data", data, *words, "--recipe", "cdd2_resnet50_small", "--dim", 12)
    assert "cannot begin as its teacher: dim is 12 here and" in said
    assert not (tmp_path / "never" / "last.pt").exists()


def test_one_cache_is_of_all_data_sets_of_a_student(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    rows = ["path,vehicle,camera"]
    for vehicle, camera in np.ndindex(3, 2):
        colour = np.array([30 * camera, 90 * vehicle, 200], np.uint8)
        assert cv2.imwrite(str(other / f"{vehicle}{camera}.png"), np.broadcast_to(colour, (24, 24, 3)).copy())
        rows.append(f"{vehicle}{camera}.png,{vehicle},c{camera}")
    (other / "train.csv").write_text("\n".join(rows) + "\n")
    both = ["--data", data, "--data", other]
    capsys.readouterr()
    assert "name a data set with --data" in refused(capsys, "cache-teacher", "vreid-s", "--out", tmp_path / "no.npz")
    assert main(["cache-teacher", "vreid-s", *map(str, both), "--out", str(tmp_path / "both.npz"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 64 + 6
    words = ["--recipe", "student_resnet18_small", *both, "--loss", "rkd", "--teacher", tmp_path / "both.npz"]
    _, said = trained(capsys, "student", *words, "--out", tmp_path / "run")
    assert "0 teacher queries" in said


def test_teachers_are_standardised_by_camera_where_the_flag_says_so(
    capsys: pytest.CaptureFixture[str], data: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    words = ["--recipe", "whiten_mtd_resnet18_small", "--data", data, "--teacher", teachers["answers"], "--by-camera"]
    recipe, _ = trained(capsys, "student", *words, "--out", tmp_path / "run")
    assert recipe["answers"]["by_camera"] is True and recipe["answers"]["by"] == "fusion"
    assert (tmp_path / "run" / "teacher-1.cameras.npz").exists()
    lone = ["train", "student", "--recipe", "student_resnet18_small", "--data", data, "--out", tmp_path / "no"]
    assert "give --teacher" in refused(capsys, *lone, "--by-camera")


def test_a_teacher_that_learnt_what_is_held_out_is_named(
    capsys: pytest.CaptureFixture[str], data: Path, teachers: dict[str, Path], tmp_path: Path
) -> None:
    words = [
        "--recipe",
        "student_resnet18_small",
        "--data",
        data,
        "--teacher",
        teachers["b"],
        "--out",
        tmp_path / "s",
        "--p",
        8,
    ]
    assert main(["train", "student", *map(str, words), *WORDS, "--validation", "0.25"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"{teachers['b'].name} learnt from 16 of the 16 pictures that are held out here" in said
    assert "few vehicles held out (4 of colours)" in said
