"""CSV data sets: split words, headers, junk, and pictures that are listed twice."""

from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.train.data.checking import Checked, refuse_twice
from vreid.train.data.records import Dataset, Item
from vreid.train.data.split import cut
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import pictures_of


def table(folder: Path, text: str, name: str = "cars.csv") -> Path:
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(b"x")
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        (("train", "val", "test", "test"), (1, 1, 2, 2)),
        (("Train", "VALID", "Query", "Gallery"), (1, 1, 1, 1)),
        (("TRAIN", " validation ", "query", "TEST"), (1, 1, 1, 1)),
    ],
)
def test_split_words_of_any_case(tmp_path: Path, words: tuple[str, ...], counts: tuple[int, ...]) -> None:
    rows = "".join(f"{number}.jpg,{number},c{number},{word}\n" for number, word in enumerate(words))
    dataset = read_dataset(table(tmp_path, "path,vehicle,camera,split\n" + rows))
    assert (len(dataset.train), len(dataset.validation), len(dataset.query), len(dataset.gallery)) == counts
    training, validation = cut(dataset, 0.1)
    assert training.train == dataset.train and validation.query == dataset.validation
    assert not cut(dataset, 0)[1].query


@pytest.mark.parametrize(
    "header", ["path;vehicle;camera", "\ufeff Path ; VEHICLE; Camera ", "\n\npath\tvehicle\tcamera"]
)
def test_headers_with_semicolons_tabs_marks_and_blanks(tmp_path: Path, header: str) -> None:
    row = "0.jpg\t1\ta" if "\t" in header else "0.jpg; 1 ;a"
    dataset = read_dataset(table(tmp_path, f"{header}\n{row}\n"))
    assert [(item.vehicle, item.camera) for item in dataset.train] == [("1", "a")]


def test_a_group_is_read_and_one_that_is_empty_is_none(tmp_path: Path) -> None:
    rows = "0.jpg,1,a,sedan~3\n1.jpg,2,a,\n"
    dataset = read_dataset(table(tmp_path, f"path,vehicle,camera,group\n{rows}"))
    assert [item.group for item in dataset.train] == ["sedan~3", ""]


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="column 'vehicle' twice"):
        read_dataset(table(tmp_path, "path,vehicle,camera,vehicle\n0.jpg,1,a,2\n"))


def test_junk_is_left_out_and_missing_test_rows_are_said_by_the_evaluation(tmp_path: Path) -> None:
    dataset = read_dataset(table(tmp_path, "path,vehicle,camera\n0.jpg,-1,a\n1.jpg,1,a\n"))
    assert [item.vehicle for item in (*dataset.train, *dataset.query, *dataset.gallery)] == ["1"] * 3
    with pytest.raises(Refused, match="no rows of split 'test'"):
        pictures_of(read_dataset(table(tmp_path, "path,vehicle,camera,split\n0.jpg,1,a,train\n")))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "0.jpg,1,a\n1.jpg,1,b\n./0.jpg,1,a\n",
            r"cars\.csv:4: the picture .*0\.jpg is listed already at .*cars\.csv:2",
        ),
        ("0.jpg,1,a\n0.jpg,2,a\n", r"cars\.csv:3: .* is vehicle 2 in camera a, but at .*cars\.csv:2 vehicle 1"),
        ("0.jpg,1,a\n0.jpg,1,b\n", r"cars\.csv:3: .* vehicle 1 in camera b, but at .*cars\.csv:2 .* camera a"),
    ],
)
def test_a_picture_listed_twice_is_refused_by_line(tmp_path: Path, rows: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        read_dataset(table(tmp_path, "path,vehicle,camera\n" + rows))


def test_a_picture_may_be_query_and_gallery_but_not_of_two_vehicles(tmp_path: Path) -> None:
    header = "path,vehicle,camera,split\n0.jpg,1,a,query\n"
    assert read_dataset(table(tmp_path, header + "0.jpg,1,a,gallery\n")).query
    with pytest.raises(Refused, match="keep the right one"):
        read_dataset(table(tmp_path, header + "0.jpg,2,a,gallery\n"))


def test_one_content_of_two_vehicles_or_in_two_sets_is_refused() -> None:
    first, copy, other = (Path(name) for name in ("a.jpg", "copy.jpg", "b.jpg"))
    found = Checked({first: 5, copy: 5, other: 6}, {}, {})

    def made(path: Path, vehicle: str, where: str) -> Dataset:
        return Dataset(where, (Item(path, vehicle, "c", where=where),), (), ())

    refuse_twice([made(first, "1", "x.csv:2"), made(other, "1", "y.csv:2")], found)
    same = Dataset("x", (Item(first, "1", "c"), Item(copy, "01", "c")), (), ())
    refuse_twice([same], found)
    with pytest.raises(Refused, match=r"y\.csv:3: .*copy\.jpg is in two data sets, also at x\.csv:2"):
        refuse_twice([made(first, "1", "x.csv:2"), made(copy, "1", "y.csv:3")], found)
    with pytest.raises(Refused, match=r"y\.csv:3: .* is vehicle 2 .* at x\.csv:2 vehicle 1"):
        refuse_twice([made(first, "1", "x.csv:2"), made(copy, "2", "y.csv:3")], found)
    broken = Checked({first: -1, copy: -1}, {first: "broken", copy: "broken"}, {})
    refuse_twice([made(first, "1", "x.csv:2"), made(copy, "2", "y.csv:3")], broken)
