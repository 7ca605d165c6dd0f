"""Lists of rendered sets: bends and variants of a body are one group, which falls on one side of every set's cut."""

from pathlib import Path

import pytest
from body_lists import base_body, bodies_in, write_list

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
