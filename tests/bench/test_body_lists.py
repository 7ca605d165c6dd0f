"""Lists of rendered sets: bends and variants of a body are one group, which falls on one side of every set's cut."""

from pathlib import Path

import pytest
from body_lists import base_body, bodies_in, main, write_list
from made_data import noise_set

from vreid.models.errors import Refused
from vreid.train.data.split import cut, refuse_unheld
from vreid.train.data.table import read_train_part


def test_bends_and_variants_have_the_name_of_their_base() -> None:
    names = {
        "gz_pickup~8": "gz_pickup",
        "gz_pickup~10": "gz_pickup",
        "sh_sedan01v2": "sh_sedan01",
        "to_car8": "to_car8",
    }
    assert {name: base_body(name) for name in names} == names


def test_a_list_of_identities_is_read_from_a_table_or_from_records(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"neither identities.csv nor identities.json"):
        bodies_in(tmp_path)
    (tmp_path / "identities.json").write_text('{"00007": {"body": "van~3", "color": "red"}}')
    assert bodies_in(tmp_path) == {"7": "van"}
    (tmp_path / "identities.csv").write_text("vehicle,split,body\n0012,train,vanv2\n")
    assert bodies_in(tmp_path) == {"12": "van"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("csv", b"vehicle,colour\n1,red\n"),
        ("csv", b"vehicle,body\n1,~3\n"),
        ("csv", b"vehicle,body\n1,van\n01,car\n"),
        ("csv", b"\xff\xfe\x00"),
        ("json", b"[1]"),
        ("json", b'{"1": {"color": "red"}}'),
        ("json", b"["),
    ],
)
def test_identities_that_do_not_say_each_body_are_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"identities.{name}").write_bytes(content)
    with pytest.raises(Refused, match=rf"identities\.{name} does not say the body of each vehicle .*; correct it"):
        bodies_in(tmp_path)


def test_a_list_replaces_nothing_and_knows_every_vehicle(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def ran(*words: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["body_lists.py", *map(str, words)])
        return main(), capsys.readouterr().err

    for folder in ("a/train", "b/train"):
        (tmp_path / folder).mkdir(parents=True)
        noise_set(tmp_path / folder, "train.csv", 3, 16, "png")
        (tmp_path / folder / "identities.json").write_text('{"0": {"body": "van~1"}, "1": {"body": "van~2"}}')
    one, other = tmp_path / "a" / "train", tmp_path / "b" / "train"
    listed = (one / "train.csv").read_text()
    for words, says in (
        ((one, "--out", tmp_path / "new"), "leave out vehicle 2; add it"),
        ((one, "--out", one), "would replace"),
        ((one, other, "--out", tmp_path / "new"), "two data sets are called train"),
        ((tmp_path / "c", "--out", tmp_path / "new"), "has neither identities.csv nor identities.json"),
    ):
        code, said = ran(*words)
        assert code == 2 and says in said and said.count("\n") == 1
    assert (one / "train.csv").read_text() == listed and not (tmp_path / "new").exists()
    (one / "identities.csv").write_text("\ufeffvehicle,body\r\n0,van~1\r\n1,van~2\r\n2,carv3\r\n", encoding="utf-8")
    assert ran(one, "--out", tmp_path / "new") == (0, "")
    assert {item.group for item in read_train_part(tmp_path / "new" / "train.csv").train} == {"van", "car"}


@pytest.mark.shared
def test_no_base_body_is_on_both_sides_of_the_cut_of_two_rendered_sets(shared: Path, tmp_path: Path) -> None:
    parts = {"train": set[str](), "held": set[str]()}
    sets = []
    for name, vehicles in (("roadside", 420), ("roadside-wide", 1440)):
        assert write_list(shared / "data" / name, tmp_path / f"{name}.csv") == (vehicles, 21)
        sets.append(read_train_part(tmp_path / f"{name}.csv"))
        training, validation = cut(sets[-1], 0.2, 0)
        parts["train"] |= {item.group for item in training.train}
        parts["held"] |= {item.group for item in validation.query}
        held = len({item.vehicle for item in validation.query})
        assert 0.05 < held / vehicles < 0.35
    refuse_unheld(sets, 0.2, 0)
    assert not parts["train"] & parts["held"] and len(parts["held"]) >= 3 and len(parts["train"] | parts["held"]) == 21
