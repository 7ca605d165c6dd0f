"""P x K batches: their shape, what an epoch uses, cameras in a group, and that seed and epoch decide all."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import torch

from vreid.train.data import sampler
from vreid.train.data.records import Item
from vreid.train.data.sampler import nearest, pk_batches, unlabelled_batches


def items(counts: list[int], cameras: int = 2) -> list[Item]:
    """counts[v] pictures of vehicle v, over the cameras in turn, in mixed order."""
    found = [
        Item(Path(f"{v}_{n}.jpg"), f"v{v}", f"c{n % cameras}") for v, count in enumerate(counts) for n in range(count)
    ]
    return [found[place] for place in np.random.default_rng(0).permutation(len(found))]


UNEVEN = items([1, 2, 3, 4, 5, 8, 9, 12, 20, 6, 7, 4], cameras=3)


@pytest.mark.parametrize(("p", "k"), [(4, 4), (3, 2), (12, 4), (2, 6)])
def test_a_batch_is_p_vehicles_of_k_pictures_each(p: int, k: int) -> None:
    batches = pk_batches(UNEVEN, p, k, seed=1, epoch=0)
    assert batches
    for batch in batches:
        assert len(batch) == p * k
        vehicles = [UNEVEN[index].vehicle for index in batch]
        assert set(Counter(vehicles).values()) == {k}
        assert all(len(set(vehicles[start : start + k])) == 1 for start in range(0, p * k, k))


def test_a_picture_comes_twice_in_a_group_only_where_the_vehicle_has_too_few() -> None:
    have = Counter(item.vehicle for item in UNEVEN)
    for batch in pk_batches(UNEVEN, 4, 4, seed=3, epoch=2):
        for start in range(0, 16, 4):
            group = batch[start : start + 4]
            assert len(set(group)) == min(4, have[UNEVEN[group[0]].vehicle])


def test_an_even_set_is_used_whole_and_each_picture_once() -> None:
    even = items([8] * 12)
    for epoch in range(5):
        used = Counter(index for batch in pk_batches(even, 4, 4, seed=0, epoch=epoch) for index in batch)
        assert sorted(used) == list(range(len(even))) and set(used.values()) == {1}


def test_what_is_left_over_is_less_than_a_batch_of_vehicles() -> None:
    for epoch in range(5):
        batches = pk_batches(UNEVEN, 4, 4, seed=0, epoch=epoch)
        used = {index for batch in batches for index in batch}
        left = {item.vehicle for index, item in enumerate(UNEVEN) if index not in used}
        assert len(left) < 4
        groups = sum(-(-count // 4) for count in Counter(item.vehicle for item in UNEVEN).values())
        assert len(batches) >= 0.6 * groups / 4


def test_a_group_holds_as_many_cameras_as_it_can() -> None:
    four = items([8] * 6, cameras=4)
    for batch in pk_batches(four, 3, 4, seed=0, epoch=0):
        for start in range(0, len(batch), 4):
            assert len({four[index].camera for index in batch[start : start + 4]}) == 4
    # one camera has most of the pictures: the few others are still spread over the first groups
    items_of_one = [Item(Path(f"{n}"), "v", "rich") for n in range(6)] + [
        Item(Path(f"x{n}"), "v", "poor") for n in range(2)
    ]
    groups = [batch for batch in pk_batches(items_of_one, 1, 4, seed=0, epoch=0)]
    assert sorted(sum(items_of_one[index].camera == "poor" for index in group) for group in groups) == [0, 2]


def test_seed_and_epoch_decide_all() -> None:
    assert pk_batches(UNEVEN, 4, 4, 5, 7) == pk_batches(list(UNEVEN), 4, 4, 5, 7)
    drawn = [pk_batches(UNEVEN, 4, 4, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(drawn[a] != drawn[b] for a in range(4) for b in range(a))


@pytest.mark.parametrize("limit", [1, 2])
def test_the_limit_caps_the_groups_of_a_vehicle(limit: int) -> None:
    rich = items([40, 40, 40, 40, 4, 4, 4, 4])
    batches = pk_batches(rich, 4, 4, seed=0, epoch=0, limit=limit)
    groups = Counter(rich[index].vehicle for batch in batches for index in batch[::4])
    assert max(groups.values()) <= limit
    unlimited = pk_batches(rich, 4, 4, seed=0, epoch=0)
    assert len(batches) < len(unlimited)


def test_too_few_vehicles_give_no_batch() -> None:
    assert pk_batches(items([4, 4]), 3, 4, 0, 0) == []


def clustered(count: int, each: int) -> torch.Tensor:
    """(count * each, 8) features in `count` clusters, a cluster's one after the other."""
    random = torch.Generator().manual_seed(0)
    centres = torch.randn(count, 8, generator=random).repeat_interleave(each, 0)
    return centres + 0.01 * torch.randn(centres.shape, generator=random)


def test_the_nearest_by_the_mean_of_the_cosines_without_the_picture_itself() -> None:
    teachers = [torch.randn(30, 5, generator=torch.Generator().manual_seed(1)), 9.0 * clustered(10, 3)]
    cosines = sum(torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=2) for rows in teachers)
    assert isinstance(cosines, torch.Tensor)
    slow = [[j for j in row.argsort(descending=True).tolist() if j != i][:4] for i, row in enumerate(cosines)]
    assert nearest(teachers, 4, block=7).tolist() == slow
    assert nearest(teachers, 100).shape == (30, 29)


def test_without_labels_a_batch_holds_what_the_teacher_finds_alike() -> None:
    near = nearest([clustered(12, 4)], 64)
    for epoch in range(3):
        batches = unlabelled_batches(near, p=3, k=4, seed=0, epoch=epoch)
        assert sorted(index for batch in batches for index in batch) == list(range(48))
        assert all(max(Counter(index // 4 for index in batch).values()) == 4 for batch in batches)
    by_chance = unlabelled_batches(near, p=12, k=1, seed=0, epoch=0)
    assert [len(batch) for batch in by_chance] == [12] * 4
    assert any(max(Counter(index // 4 for index in batch).values()) < 4 for batch in by_chance)
    assert unlabelled_batches(near, 3, 4, 0, 0) == unlabelled_batches(near, 3, 4, 0, 0)
    assert unlabelled_batches(near, 3, 4, 0, 0) != unlabelled_batches(near, 3, 4, 0, 1)


def test_few_pictures_make_one_batch_and_a_rest_waits_for_the_next_epoch() -> None:
    near = nearest([clustered(5, 2)], 64)
    assert sorted(unlabelled_batches(near, 16, 4, 0, 0)[0]) == list(range(10))
    (batch, *others) = unlabelled_batches(near, 3, 2, 0, 0)
    assert len(batch) == 6 and not others


def lines_run(vehicles: int, each: int) -> int:
    """How many lines of the sampler Python runs for one epoch of that many vehicles with `each` pictures."""
    pictures, count = items([each] * vehicles, cameras=3), 0

    def traced(frame: FrameType, event: str, argument: object) -> Callable[..., object] | None:
        nonlocal count
        if frame.f_code.co_filename != sampler.__file__:
            return None
        count += event == "line"
        return traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        pk_batches(pictures, 8, 4, seed=0, epoch=0)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("each", [1, 9])
def test_work_grows_with_the_pictures_and_not_with_the_vehicles_times_the_batches(each: int) -> None:
    """Counted in lines of Python that run, which no machine changes; sorting all vehicles for each batch gives 5.8 and 6.7."""
    few, many = lines_run(100, each), lines_run(400, each)
    assert few > 100 * each and many < 1.2 * 4 * few


def test_every_picture_of_many_vehicles_comes_once() -> None:
    batches = pk_batches(items([1] * 4000), 16, 4, seed=0, epoch=0)
    assert len(batches) == 250 and len({index for batch in batches for index in batch}) == 4000


def test_a_batch_is_drawn_among_the_three_quarters_with_most_groups_left() -> None:
    uneven = items([1 + n % 9 for n in range(900)])
    left = Counter(item.vehicle for item in uneven)
    groups = {vehicle: -(-count // 4) for vehicle, count in left.items()}
    for batch in pk_batches(uneven, 8, 4, seed=2, epoch=1):
        order = sorted(groups.values(), reverse=True)
        least = order[max(8, len(order) * 3 // 4) - 1]
        vehicles = [uneven[index].vehicle for index in batch[::4]]
        assert len(set(vehicles)) == 8 and all(groups[vehicle] >= least for vehicle in vehicles)
        for vehicle in vehicles:
            groups[vehicle] -= 1
            if not groups[vehicle]:
                del groups[vehicle]


def test_shares_weigh_the_data_sets_of_an_epoch() -> None:
    rich, poor = items([20] * 30), [replace(item, vehicle=f"p{item.vehicle}") for item in items([2] * 20)]
    both = [*rich, *poor]
    plain = pk_batches(both, 8, 4, seed=0, epoch=0)
    batches = pk_batches(both, 8, 4, seed=0, epoch=0, mix=[(len(rich), 0.4), (len(poor), 0.6)])
    assert abs(len(plain) - len(batches)) <= 1
    for found, wanted in ((plain, 20 / (20 + 150)), (batches, 0.6)):
        groups = [both[index].vehicle for batch in found for index in batch[::4]]
        assert abs(sum(vehicle.startswith("p") for vehicle in groups) / len(groups) - wanted) < 0.05
    for batch in batches:
        assert set(Counter(both[index].vehicle for index in batch).values()) == {4}
    groups_of = Counter(both[index].vehicle for batch in batches for index in batch[::4])
    times = [groups_of[vehicle] for vehicle in groups_of if vehicle.startswith("p")]
    assert len(times) == 20 and max(times) - min(times) <= 2  # all are dealt out again before one is a third time


def test_a_mix_is_decided_by_seed_and_epoch_and_keeps_the_limit_of_a_deal() -> None:
    both = items([20] * 16)
    mix = [(160, 0.5), (160, 0.5)]
    drawn = [pk_batches(both, 4, 4, seed, epoch, 2, mix) for seed in (0, 1) for epoch in (0, 1)]
    assert drawn[0] == pk_batches(both, 4, 4, 0, 0, 2, mix)
    assert all(drawn[a] != drawn[b] for a in range(4) for b in range(a))
    assert max(Counter(both[index].vehicle for batch in drawn[0] for index in batch[::4]).values()) == 2
