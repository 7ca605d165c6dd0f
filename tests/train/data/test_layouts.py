"""Layouts of public data sets, in which a test part that cannot be measured never stops a training."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.train.data.records import Item
from vreid.train.data.table import layout_of, read_dataset
from vreid.train.evaluate import pictures_of


def files(folder: Path, *names: str) -> Path:
    """Files that are there; no layout opens a picture."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def labels(items: tuple[Item, ...]) -> list[tuple[str, str, str]]:
    return [(item.path.name, item.vehicle, item.camera) for item in items]


def market(folder: Path) -> Path:
    return files(
        folder,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/-1_c1s1_000452_03.jpg",
        "bounding_box_train/Thumbs.db",
        "query/0003_c1s1_000451_00.jpg",
        "bounding_box_test/0003_c2s1_000451_01.jpg",
        "bounding_box_test/0000_c3s1_000451_01.jpg",
        "bounding_box_test/-1_c3s2_000451_01.jpg",
    )


def veriwild(folder: Path, images: str, lists: str, suffix: str) -> Path:
    files(folder, *(f"{images}/{name}.jpg" for name in ("00001/000001", "00002/000002", "00002/000003")))
    (folder / lists).mkdir(exist_ok=True)
    for name, listed in (
        ("train_list", ["00001/000001"]),
        ("test_3000", ["00002/000002", "00002/000003"]),
        ("test_3000_query", ["00002/000002"]),
    ):
        (folder / lists / f"{name}.txt").write_text("".join(f"{line}{suffix}\n" for line in listed))
    rows = ["id/num;Camera ID;Time;Model;Type;Color"]
    rows += [
        f"{name};{camera};2018;VW;Sedan;red"
        for name, camera in zip(("00001/000001", "00002/000002", "00002/000003"), (10, 20, 30), strict=True)
    ]
    (folder / lists / "vehicle_info.txt").write_text("\n".join(rows))
    return folder


def vric(folder: Path) -> Path:
    files(folder, "train_images/a.jpg", "probe_images/b.jpg", "gallery_images/c.jpg")
    for part, line in (("train", "a.jpg 1 7"), ("probe", "b.jpg 2 7"), ("gallery", "c.jpg 2 8")):
        (folder / f"vric_{part}.txt").write_text(line + "\n\n")
    return folder


def veri_without_lists(folder: Path) -> Path:
    return files(
        folder,
        "image_train/0001_c001_00000001_0.jpg",
        "image_query/0002_c001_00000002_0.jpg",
        "image_test/0002_c002_00000003_0.jpg",
    )


def folders(folder: Path) -> Path:
    return files(folder, "train/car/0.jpg", "train/van/1.png", "test/bus/0.jpg", "test/bus/1.jpg")


def test_market_leaves_out_junk_and_keeps_distractors_in_the_gallery(tmp_path: Path) -> None:
    dataset = read_dataset(market(tmp_path / "m"))
    assert labels(dataset.train) == [("0002_c1s1_000451_03.jpg", "0002", "c001")]
    assert labels(dataset.query) == [("0003_c1s1_000451_00.jpg", "0003", "c001")]
    assert [item.vehicle for item in dataset.gallery] == ["0000", "0003"]
    files(tmp_path / "m", "bounding_box_train/odd.jpg")
    with pytest.raises(Refused, match=r"odd\.jpg names no vehicle and camera"):
        read_dataset(tmp_path / "m")


@pytest.mark.parametrize("images", ["images", "images/images"])
@pytest.mark.parametrize("lists", ["train_test_split", "."])
@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_veriwild_in_all_spellings(tmp_path: Path, images: str, lists: str, suffix: str) -> None:
    folder = veriwild(tmp_path / "w", images, lists, suffix)
    assert layout_of(folder) == "veriwild"
    dataset = read_dataset(folder)
    assert labels(dataset.train) == [("000001.jpg", "00001", "10")]
    assert labels(dataset.query) == [("000002.jpg", "00002", "20")]
    assert [item.camera for item in dataset.gallery] == ["20", "30"]
    assert read_dataset(f"{folder}:3000").query == dataset.query
    with pytest.raises(Refused, match="no test part '5000'; there are: 3000"):
        read_dataset(f"{folder}:5000")


def veriwild2(folder: Path, lists: str, within: str) -> Path:
    """The test sets of VERI-Wild 2.0: a picture and its vehicle in each line, no camera; pictures of query and gallery apart."""
    (folder / lists).mkdir(parents=True)
    for part, vehicles in (("A", (1,)), ("B", (2,)), ("All", (1, 2))):
        for use, count in (("query", 1), ("gallery", 2)):
            rows = [f"{use}_final/{v:05d}/{n:06d}.jpg {v:05d}" for v in vehicles for n in range(count)]
            files(folder, *((f"{use}/" if within else "") + row.split()[0] for row in rows))
            (folder / lists / f"{part}_{use}.txt").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("lists", ["test_split", "test_split_V2", "."])
@pytest.mark.parametrize("within", ["query", ""])
def test_the_test_sets_of_veriwild_2_have_labels_and_no_cameras(tmp_path: Path, lists: str, within: str) -> None:
    folder = tmp_path / "w2"
    folder.mkdir()
    if lists == ".":
        veriwild2(folder / "x", "y", within)
        for entry in [*(folder / "x").iterdir(), *(folder / "x" / "y").iterdir()]:
            if entry.name != "y":
                entry.rename(folder / entry.name)
        (folder / "x" / "y").rmdir()
        (folder / "x").rmdir()
    else:
        veriwild2(folder, lists, within)
    assert layout_of(folder) == "veriwild"
    dataset = read_dataset(folder)
    assert [item.vehicle for item in dataset.query] == ["00001"] and len(dataset.gallery) == 2
    assert dataset.train == () and "name no cameras" in dataset.remark
    both = read_dataset(f"{folder}:all")
    assert [item.vehicle for item in both.gallery] == ["00001"] * 2 + ["00002"] * 2
    assert len({item.camera for item in (*both.query, *both.gallery)}) == 6  # so that no gallery picture is left out
    assert all(item.path.is_file() for item in (*both.query, *both.gallery))
    with pytest.raises(Refused, match="no test part 'C'; there are: A, B, All"):
        read_dataset(f"{folder}:C")
    (gallery,) = folder.rglob("A_gallery.txt")
    gallery.write_text("gallery_final/00001/000009.jpg 00001\n")
    with pytest.raises(Refused, match=r"A_gallery\.txt:1 names gallery_final/00001/000009\.jpg"):
        read_dataset(folder)
    gallery.write_text("../secret.jpg 00001\n")
    with pytest.raises(Refused, match=r"A_gallery\.txt:1: '\.\./secret"):
        read_dataset(folder)


def test_veriwild_with_the_test_sets_of_both_editions(tmp_path: Path) -> None:
    folder = veriwild2(veriwild(tmp_path / "w", "images", "train_test_split", ""), "test_split", "query")
    assert layout_of(folder) == "veriwild"
    assert len(read_dataset(folder).train) == 1
    assert labels(read_dataset(f"{folder}:3000").query) == [("000002.jpg", "00002", "20")]
    assert [item.vehicle for item in read_dataset(f"{folder}:B").query] == ["00002"]


def test_veriwild_wanting_something_is_refused_by_line(tmp_path: Path) -> None:
    folder = veriwild(tmp_path / "w", "images", ".", "")
    (folder / "train_list.txt").write_text("00001/000001\n00001/000009\n")
    with pytest.raises(Refused, match=r"train_list\.txt:2 names 00001/000009\.jpg"):
        read_dataset(folder)
    (folder / "train_list.txt").write_text("../a\n")
    with pytest.raises(Refused, match=r"train_list\.txt:1: '\.\./a' is not"):
        read_dataset(folder)
    (folder / "train_list.txt").write_text("00001/000001\n")
    (folder / "vehicle_info.txt").unlink()
    dataset = read_dataset(folder)
    assert len(dataset.train) == 1
    with pytest.raises(Refused, match=r"add vehicle_info\.txt"):
        pictures_of(dataset)


def test_vric_and_veri_without_lists(tmp_path: Path) -> None:
    dataset = read_dataset(vric(tmp_path / "vric"))
    assert [labels(part) for part in (dataset.train, dataset.query, dataset.gallery)] == [
        [("a.jpg", "1", "c007")],
        [("b.jpg", "2", "c007")],
        [("c.jpg", "2", "c008")],
    ]
    (tmp_path / "vric" / "vric_train.txt").write_text("a.jpg 1\n")
    with pytest.raises(Refused, match=r"vric_train\.txt:1: 'a\.jpg 1' is not"):
        read_dataset(tmp_path / "vric")
    dataset = read_dataset(veri_without_lists(tmp_path / "veri"))
    assert [len(part) for part in (dataset.train, dataset.query, dataset.gallery)] == [1, 1, 1]
    assert labels(dataset.gallery) == [("0002_c002_00000003_0.jpg", "0002", "c002")]


def test_a_folder_a_vehicle_says_that_it_has_no_cameras(tmp_path: Path) -> None:
    dataset = read_dataset(folders(tmp_path / "f"))
    assert [item.vehicle for item in dataset.train] == ["car", "van"]
    assert dataset.query == dataset.gallery and len({item.camera for item in dataset.query}) == 2
    assert "names no cameras" in dataset.remark
    plain = read_dataset(files(tmp_path / "p", "7/0007_c1_1.jpg", "7/0007_c2_1.jpg"))
    assert plain.train == plain.gallery and [item.camera for item in plain.query] == ["c001", "c002"]
    assert not plain.remark
    trained_on = read_dataset(files(tmp_path / "a", "train/car/0.jpg"))
    with pytest.raises(Refused, match="has no test part: add test/"):
        pictures_of(trained_on)


def cityflow(folder: Path) -> Path:
    files(folder, "image_train/000001.jpg", "image_query/000001.jpg", "image_test/000001.jpg")
    (folder / "train_label.xml").write_text('<I><Item imageName="000001.jpg" vehicleID="1" cameraID="c001"/></I>')
    (folder / "query_label.xml").write_text('<I><Item imageName="000001.jpg" cameraID="c002"/></I>')
    return folder


def no_query(folder: Path) -> Path:
    return files(folder, "bounding_box_train/0002_c1s1_000451_03.jpg")


def no_probe(folder: Path) -> Path:
    (vric(folder) / "vric_probe.txt").unlink()
    return folder


def faulty_row(folder: Path) -> Path:
    files(folder, "0.jpg", "1.jpg")
    (folder / "a.csv").write_text("path,vehicle,camera,split\n0.jpg,1,a,train\n1.jpg,,b,test\n")
    return folder


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (cityflow, "carries no vehicle ids"),
        (no_query, "no folder query"),
        (no_probe, r"VRIC folder without vric_probe\.txt"),
        (faulty_row, "line 3: 'vehicle' is empty"),
    ],
)
def test_a_test_part_that_cannot_be_measured_stops_no_training(
    tmp_path: Path, made: Callable[[Path], Path], says: str
) -> None:
    dataset = read_dataset(made(tmp_path / "x"))
    assert len(dataset.train) == 1
    with pytest.raises(Refused, match=says):
        pictures_of(dataset)


def test_every_layout_is_recognised_and_two_in_one_folder_are_refused(tmp_path: Path) -> None:
    made: dict[str, Callable[[Path], Path]] = {
        "market": market,
        "veriwild": lambda folder: veriwild(folder, "images", "train_test_split", ""),
        "vric": vric,
        "veri": veri_without_lists,
        "folders": folders,
    }
    for name, make in made.items():
        assert layout_of(make(tmp_path / name)) == name
    vric(market(tmp_path / "both"))
    with pytest.raises(Refused, match=r"several layouts \(market, vric\)"):
        layout_of(tmp_path / "both")


def test_names_that_are_not_utf8_are_read_and_such_labels_refused(tmp_path: Path) -> None:
    odd = os.fsdecode(b"0001_c001_\xff.jpg")
    assert labels(read_dataset(files(tmp_path / "veri", f"image_train/{odd}")).train) == [(odd, "0001", "c001")]
    assert read_dataset(files(tmp_path / "f", f"train/car/{os.fsdecode(bytes([0xFF]))}.jpg")).train[0].vehicle == "car"
    with pytest.raises(Refused, match=r"\\xff is a vehicle's label but not UTF-8; rename it"):
        read_dataset(files(tmp_path / "g", f"train/{os.fsdecode(bytes([0xFF]))}/0.jpg"))
    files(tmp_path / "csv", os.fsdecode(b"\xe9.jpg"))
    (tmp_path / "csv" / "a.csv").write_bytes(b"path,vehicle,camera\n\xe9.jpg,1,a\n")
    with pytest.raises(Refused, match=r"a\.csv is not text in UTF-8; save it as UTF-8"):
        read_dataset(tmp_path / "csv")
