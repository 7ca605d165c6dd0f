"""Data set layouts: what is read, what is recognised, and what is refused by name."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from vreid.models.errors import Refused
from vreid.train.data.records import Dataset, Item
from vreid.train.data.split import join
from vreid.train.data.table import LAYOUTS, layout_of, read_dataset
from vreid.train.evaluate import pictures_of

VERI = {
    "train": ["0001_c001_00000001_0.jpg", "0001_c002_00000002_0.jpg", "0002_c001_00000003_0.jpg"],
    "query": ["0003_c001_00000001_0.jpg"],
    "test": ["0003_c001_00000001_0.jpg", "0003_c020_00000002_0.jpg", "0004_c002_00000003_1.jpg"],
}


def picture(path: Path, seed: int = 0, size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


def veri(folder: Path, parts: tuple[str, ...] = ("train", "query", "test")) -> Path:
    for part in parts:
        for seed, name in enumerate(VERI[part]):
            picture(folder / f"image_{part}" / name, seed)
        (folder / f"name_{part}.txt").write_bytes("\r\n".join([*VERI[part], ""]).encode())
    return folder


def labels(folder: Path) -> None:
    text = (
        '<?xml version="1.0" encoding="gb2312"?>\n<TrainingImages Version="1.0"><!-- 车辆 --><Items number="1">'
        '<Item imageName="0001_c001_00000001_0.jpg" vehicleID="0001" cameraID="c001" colorID="5" typeID="2" />'
        "</Items></TrainingImages>"
    )
    (folder / "train_label.xml").write_bytes(text.encode("gb2312"))
    (folder / "list_type.txt").write_text("1 sedan\n2\tpick up\n")


def test_veri_is_read_with_a_gb2312_xml_that_lacks_some_images(tmp_path: Path) -> None:
    labels(veri(tmp_path))
    dataset = read_dataset(tmp_path)
    assert [(item.vehicle, item.camera, item.kind) for item in dataset.train] == [
        ("0001", "c001", "pick up"),
        ("0001", "c002", ""),
        ("0002", "c001", ""),
    ]
    assert [item.path.name for item in dataset.gallery] == VERI["test"]
    assert dataset.gallery[1].camera == "c020"
    assert (len(dataset.query), dataset.protocol, dataset.name) == (1, "cameras", tmp_path.name)


def test_veri_names_that_do_not_parse_are_labelled_by_the_xml_or_refused(tmp_path: Path) -> None:
    veri(tmp_path, ("train",))
    picture(tmp_path / "image_train" / "odd.jpg")
    (tmp_path / "name_train.txt").write_text("odd.jpg\n")
    with pytest.raises(Refused, match=r"odd\.jpg names no vehicle and camera"):
        read_dataset(tmp_path)
    xml = '<?xml version="1.0" encoding="gb2312"?><I><Item imageName="odd.jpg" vehicleID="7" cameraID="c3"/></I>'
    (tmp_path / "train_label.xml").write_text(xml)
    assert (read_dataset(tmp_path).train[0].vehicle, read_dataset(tmp_path).train[0].camera) == ("7", "c003")


@pytest.mark.parametrize("parts", [("train",), ("query", "test")])
def test_half_of_veri_is_enough(tmp_path: Path, parts: tuple[str, ...]) -> None:
    dataset = read_dataset(veri(tmp_path, parts))
    assert bool(dataset.train) == ("train" in parts)
    assert bool(dataset.query) == bool(dataset.gallery) == ("test" in parts)


def test_veri_wanting_something_is_refused_by_name(tmp_path: Path) -> None:
    (veri(tmp_path / "a") / "name_train.txt").unlink()
    picture(tmp_path / "a" / "image_train" / "odd.jpg")
    with pytest.raises(Refused, match=r"odd\.jpg names no .* without its lists: add name_train\.txt"):
        read_dataset(tmp_path / "a")
    (veri(tmp_path / "b", ("query", "test")) / "image_test" / VERI["test"][2]).unlink()
    with pytest.raises(Refused, match=r"name_test\.txt:3 names " + VERI["test"][2]):
        read_dataset(tmp_path / "b")
    with pytest.raises(Refused, match="half a test part"):
        read_dataset(veri(tmp_path / "c", ("query",)))
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "name_train.txt").write_text("x.jpg\n")
    with pytest.raises(Refused, match="put the images into the folder of the lists"):
        read_dataset(tmp_path / "d")
    (veri(tmp_path / "e") / "train_label.xml").write_text("<Items><Item")
    with pytest.raises(Refused, match="not well-formed XML"):
        read_dataset(tmp_path / "e")
    picture(veri(tmp_path / "f") / "image_train" / "2147483648_c001_1_0.jpg")
    (tmp_path / "f" / "name_train.txt").write_text("2147483648_c001_1_0.jpg\n")
    with pytest.raises(Refused, match="beyond 2147483647"):
        read_dataset(tmp_path / "f")


def vehicleid(folder: Path) -> Path:
    lists = folder / "train_test_split"
    lists.mkdir(parents=True)
    for image in range(1, 10):
        picture(folder / "image" / f"{image:07d}.jpg", image)
    (lists / "train_list.txt").write_text("0000001 11\n0000002 11\n")
    (lists / "test_list_800.txt").write_text("0000003 21\n0000004 21\n0000005 22\n")
    (lists / "test_list_1600.txt").write_text("0000006 31\n0000007 31\n0000008 32\n0000009 32\n")
    return folder


def test_vehicleid_takes_the_smallest_test_list_or_the_requested_one(tmp_path: Path) -> None:
    folder = vehicleid(tmp_path / "vid")
    smallest, larger = read_dataset(folder), read_dataset(f"{folder}:1600")
    assert (len(smallest.train), len(smallest.gallery), len(larger.gallery)) == (2, 3, 4)
    assert smallest.protocol == "one_of_each" and smallest.query == smallest.gallery
    assert len({item.camera for item in larger.gallery}) == 4
    with pytest.raises(Refused, match="there are: 800, 1600"):
        read_dataset(f"{folder}:2400")
    (folder / "image" / "0000004.jpg").unlink()
    with pytest.raises(Refused, match=r"txt:2 names 0000004\.jpg"):
        pictures_of(read_dataset(folder))


def table(folder: Path, text: str, name: str = "cars.csv") -> Path:
    for seed in range(4):
        picture(folder / f"{seed}.jpg", seed)
    (folder / name).write_text(text, encoding="utf-8-sig")
    return folder / name


def test_a_csv_without_a_split_is_leave_one_out(tmp_path: Path) -> None:
    path = table(tmp_path, "path,vehicle,camera,type\n0.jpg,taxi,gate,sedan\n1.jpg,taxi,yard,sedan\n")
    dataset = read_dataset(path)
    assert dataset.train == dataset.query == dataset.gallery
    assert dataset.train[1] == Item(tmp_path / "1.jpg", "taxi", "yard", "sedan")
    assert read_dataset(tmp_path).gallery == dataset.gallery


def test_a_csv_split_fills_the_parts(tmp_path: Path) -> None:
    rows = "0.jpg,a,x,train\n1.jpg,b,x,query\n2.jpg,b,y,test\n3.jpg,c,y,gallery\n"
    dataset = read_dataset(table(tmp_path, "path,vehicle,camera,split\n" + rows))
    parts = [[item.path.name for item in part] for part in (dataset.train, dataset.query, dataset.gallery)]
    assert parts == [["0.jpg"], ["1.jpg"], ["2.jpg", "3.jpg"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("path,vehicle\n0.jpg,a\n", "no column 'camera'"),
        ("path,vehicle,camera\n0.jpg,a,x\n9.jpg,a,x\n", r"line 3: there is no picture 9\.jpg"),
        ("path,vehicle,camera\n0.jpg,a\n", "line 2: 'camera' is empty"),
        ("path,vehicle,camera\n0.jpg,2147483648,x\n", "beyond 2147483647"),
        ("path,vehicle,camera\n0.jpg," + "9" * 5000 + ",x\n", "beyond 2147483647"),
        ("path,vehicle,camera,split\n0.jpg,a,x,later\n", "split 'later' is unknown"),
        ("path,vehicle,camera\n", "no rows"),
        ("", "no column 'path'"),
        ("path,vehicle,camera\n" + "a" * 5000 + ".jpg,a,x\n", "line 2: there is no picture"),
    ],
)
def test_a_wrong_csv_is_refused_by_column_or_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        read_dataset(table(tmp_path, text))


def test_layouts_are_recognised_or_refused(tmp_path: Path) -> None:
    assert set(LAYOUTS) == {"veri", "vehicleid", "veriwild", "market", "vric", "csv", "folders"}
    assert layout_of(veri(tmp_path / "veri")) == "veri"
    assert layout_of(vehicleid(tmp_path / "vid")) == "vehicleid"
    table(tmp_path / "csv", "path,vehicle,camera\n", "a.csv")
    assert layout_of(tmp_path / "csv") == "csv"
    table(tmp_path / "csv", "path,vehicle,camera\n", "b.csv")
    with pytest.raises(Refused, match="several CSV files"):
        layout_of(tmp_path / "csv")
    train = table(tmp_path / "csv", "path,vehicle,camera\n0.jpg,a,x\n", "train.csv")
    assert read_dataset(tmp_path / "csv").train == read_dataset(train).train
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "csv" / "0.jpg"):
        with pytest.raises(Refused, match=r"name_train\.txt.*train_test_split.*path,vehicle,camera"):
            read_dataset(wrong)
    with pytest.raises(Refused, match="csv has no part ':800'; give it without"):
        read_dataset(f"{tmp_path / 'csv'}:800")


def test_joined_training_parts_share_no_label() -> None:
    sets = [
        Dataset(name, (Item(Path("0.jpg"), "1", "c1", key=key),), (), ()) for key, name in enumerate(("a", "b", "a"))
    ]
    joined = join(sets)
    assert {i.vehicle for i in joined} == {i.vehicle for i in join(sets[::-1])}
    assert [i.key for i in sorted(joined, key=lambda i: i.vehicle)] == [
        i.key for i in sorted(join(sets[::-1]), key=lambda i: i.vehicle)
    ]
    assert len({i.vehicle for i in joined}) == 3
    assert len({i.camera for i in joined}) == 3
    with pytest.raises(Refused, match="'c' has no training part"):
        join([Dataset("c", (), sets[0].train, sets[0].train)])
    with pytest.raises(Refused, match="'a' and 'd' hold the same pictures and labels; give the set once"):
        join([sets[0], replace(sets[0], name="d")])
