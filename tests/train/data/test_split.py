"""The validation part: disjoint, the same for every call, and refused early when nothing can be found in it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.data.records import Dataset, Item
from vreid.train.data.split import cut, few_held, refuse_unheld
from vreid.train.data.table import read_dataset
from vreid.train.evaluate import refuse_unfindable, validated


def dataset(vehicles: int = 20, cameras: int = 2, name: str = "set") -> Dataset:
    train = tuple(Item(Path(f"{v}_{c}"), f"{v}", f"c{c}") for v in range(vehicles) for c in range(cameras))
    return Dataset(name, train, (Item(Path("q"), "q", "c0"),), ())


def vehicles_of(items: tuple[Item, ...]) -> set[str]:
    return {item.vehicle for item in items}


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_the_parts_share_no_vehicle_and_lose_no_picture(share: float) -> None:
    whole = dataset()
    training, validation = cut(whole, share)
    assert not vehicles_of(training.train) & vehicles_of(validation.gallery)
    assert len(vehicles_of(validation.gallery)) == round(share * 20)
    assert set(training.train) | set(validation.gallery) == set(whole.train)
    assert validation.query == validation.gallery and validation.train == ()
    assert (training.query, training.name, validation.name) == (whole.query, whole.name, whole.name)


def test_two_calls_share_the_cut_whatever_the_order_of_the_rows() -> None:
    whole = dataset()
    turned = replace(whole, train=whole.train[::-1])
    held = vehicles_of(cut(whole, 0.25, seed=3)[1].gallery)
    assert held == vehicles_of(cut(whole, 0.25, seed=3)[1].gallery) == vehicles_of(cut(turned, 0.25, seed=3)[1].gallery)


def test_the_seed_makes_another_cut_and_the_name_does_not() -> None:
    held = [vehicles_of(cut(dataset(name=name), 0.5, seed)[1].gallery) for name, seed in (("a", 0), ("a", 1), ("b", 0))]
    assert held[0] != held[1] and held[0] == held[2]


def test_the_cut_stays_with_a_picture_less_and_with_numbers_written_otherwise() -> None:
    whole = dataset()
    held = vehicles_of(cut(whole, 0.25)[1].gallery)
    assert vehicles_of(cut(replace(whole, train=whole.train[1:]), 0.25)[1].gallery) == held
    padded = replace(whole, train=tuple(replace(item, vehicle=item.vehicle.zfill(4)) for item in whole.train))
    assert vehicles_of(cut(padded, 0.25)[1].gallery) == {vehicle.zfill(4) for vehicle in held}


def test_few_vehicles_held_out_are_said_and_none_or_enough_are_not() -> None:
    part = {count: cut(dataset(20, name=f"set{count}"), count / 20)[1] for count in (0, 3, 5, 9, 10)}
    assert few_held([part[0]]) is None and few_held([part[10]]) is None and few_held([part[9], part[3]]) is None
    assert "(3 of set3, 5 of set5)" in (few_held([part[3], part[5]]) or "")


def test_no_share_holds_nothing_and_a_wrong_share_is_refused() -> None:
    training, validation = cut(dataset(), 0.0)
    assert training.train == dataset().train and validation.query == ()
    for share in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(Refused, match="from 0 to under 1"):
            cut(dataset(), share)


def grouped(names: str) -> Dataset:
    """Four vehicles of each group, two pictures each."""
    train = tuple(
        Item(Path(f"{name}{v}_{c}"), f"{name}{v}", f"c{c}", group=name)
        for name in names
        for v in range(4)
        for c in (0, 1)
    )
    return Dataset("bodies", train, (), ())


def test_vehicles_of_one_group_fall_on_one_side_in_every_data_set() -> None:
    whole, part = cut(grouped("abcdefghijklmnop"), 0.4), cut(grouped("dgkpx"), 0.4)
    learnt, held = ({item.group for item in items} for items in (whole[0].train, whole[1].query))
    assert held and learnt and not held & learnt and held | learnt == set("abcdefghijklmnop")
    assert {item.group for item in part[1].query} & learnt == set() == {item.group for item in part[0].train} & held
    assert {item.group for item in cut(grouped("abcdefghijklmnop"), 0.2)[1].query} < held
    assert {item.group for item in cut(grouped("abcdefghijklmnop"), 0.4, seed=1)[1].query} != held


def test_vehicles_without_a_group_are_cut_as_ever() -> None:
    mixed = replace(dataset(), train=(*dataset().train, *grouped("abcdefgh").train))
    single = vehicles_of(cut(dataset(), 0.25)[1].query)
    held = cut(mixed, 0.25)[1].query
    assert {item.vehicle for item in held if not item.group} == single
    assert {item.vehicle for item in held if item.group} == vehicles_of(cut(grouped("abcdefgh"), 0.25)[1].query)


def test_a_vehicle_of_two_groups_and_a_share_that_holds_no_group_are_refused() -> None:
    two = grouped("ab")
    two = replace(two, train=(*two.train, replace(two.train[0], path=Path("again"), group="b")))
    with pytest.raises(Refused, match="vehicle a0 is of the group 'b' here and 'a' elsewhere"):
        cut(two, 0.5)
    with pytest.raises(Refused, match="no group of vehicles is held out by the share 1e-06"):
        refuse_unheld([dataset(), grouped("ab")], 1e-6, 0)
    with pytest.raises(
        Refused, match=r"of 20 vehicles none is held out by --validation 1e-06; give 0\.026 or more, or 0"
    ):
        refuse_unheld([dataset()], 1e-6, 0)
    refuse_unheld([dataset()], 0.026, 0)
    with pytest.raises(Refused, match=r"--validation 0\.999 holds out every vehicle of .*; give a lower one"):
        refuse_unheld([dataset()], 0.999, 0)
    refuse_unheld([grouped("ab")], 0, 0)


def test_a_part_with_nothing_to_find_again_is_refused_before_the_training() -> None:
    refuse_unfindable([cut(dataset(), 0.2)[1]])
    single = cut(dataset(cameras=1, name="onecam"), 0.2)[1]
    with pytest.raises(Refused, match="'onecam' is seen by two cameras"):
        refuse_unfindable([cut(dataset(), 0.2)[1], single])
    refuse_unfindable([replace(single, protocol="one_of_each")])
    elsewhere = Dataset("split", (), (Item(Path("q"), "7", "c0"),), (Item(Path("g"), "7", "c1"),))
    refuse_unfindable([elsewhere])


def test_two_sets_of_one_name_are_both_scored(shapes: Callable[..., Path]) -> None:
    part = read_dataset(shapes(4, 2))
    torch.manual_seed(0)
    network = ReidNetwork(NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.125})).eval()
    scores = validated(network, [part, part], (32, 32))
    assert list(scores) == ["shapes", "shapes#2"] and scores["shapes"] == scores["shapes#2"]
    assert all(np.isfinite(list(score.values())).all() for score in scores.values())
