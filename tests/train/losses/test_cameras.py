"""The loss on cameras' mean embeddings: its gradient is that of the distance of the means, and it takes a camera's shift off."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vreid.models.network import unit
from vreid.train.data.split import cameras_of, sets_of
from vreid.train.losses.cameras import CameraMeans

CPU = torch.device("cpu")


def shifted(count: int, shift: float) -> tuple[Tensor, Tensor]:
    """(embeddings (4 * count, 8) at random with a shift for each camera, cameras (4 * count,)): four cameras."""
    generator = torch.Generator().manual_seed(0)
    cameras = torch.arange(4).repeat_interleave(count)
    away = torch.eye(8)[:4] * shift
    return torch.randn(4 * count, 8, generator=generator) + away[cameras], cameras


def spread(embeddings: Tensor, cameras: Tensor, sets: list[int]) -> Tensor:
    """Mean over the cameras of half the squared distance of a camera's mean from that of its data set."""
    means = torch.stack([unit(embeddings[cameras == camera]).mean(0) for camera in range(len(sets))])
    groups = torch.tensor(sets)
    centres = torch.stack([means[groups == group].mean(0) for group in groups.unique()])
    return (means - centres[groups]).pow(2).sum(1).mean() / 2


@pytest.mark.parametrize("sets", [[0, 0, 0, 0], [0, 0, 1, 1]])
def test_the_gradient_is_that_of_the_distance_of_the_means(sets: list[int]) -> None:
    embeddings, cameras = shifted(50, 3.0)
    whole = embeddings.clone().requires_grad_()
    spread(whole, cameras, sets).backward()
    one = embeddings.clone().requires_grad_()
    CameraMeans(sets, 8, CPU).loss(one, cameras).backward()  # the first batch makes the means
    assert whole.grad is not None and one.grad is not None
    torch.testing.assert_close(one.grad, whole.grad, atol=1e-6, rtol=1e-4)


def test_following_it_takes_the_shift_of_cameras_off() -> None:
    embeddings, cameras = shifted(50, 3.0)
    moved = torch.zeros(4, 8, requires_grad=True)
    means, before = CameraMeans([0] * 4, 8, CPU), float(spread(embeddings, cameras, [0] * 4))
    optimiser = torch.optim.SGD([moved], lr=2.0)
    order = torch.Generator().manual_seed(1)
    for _ in range(300):
        batch = torch.randperm(len(cameras), generator=order)[:16]
        optimiser.zero_grad()
        means.loss((embeddings + moved[cameras])[batch], cameras[batch]).backward()
        optimiser.step()
    after = float(spread((embeddings + moved[cameras]).detach(), cameras, [0] * 4))
    assert after < 0.1 * before, (before, after)


def test_a_camera_without_pictures_counts_for_nothing() -> None:
    embeddings, cameras = shifted(10, 3.0)
    some = cameras < 2
    with_all = CameraMeans([0] * 4, 8, CPU).loss(embeddings[some], cameras[some])
    without = CameraMeans([0] * 2, 8, CPU).loss(embeddings[some], cameras[some])
    torch.testing.assert_close(with_all, without)


def test_it_goes_on_from_its_state() -> None:
    embeddings, cameras = shifted(10, 1.0)
    first, second = CameraMeans([0, 0, 1, 1], 8, CPU), CameraMeans([0, 0, 1, 1], 8, CPU)
    first.loss(embeddings, cameras)
    second.restore({name: value.clone() for name, value in first.state().items()})
    later = embeddings.flip(0)
    torch.testing.assert_close(first.loss(later, cameras), second.loss(later, cameras), rtol=0, atol=0)


def test_cameras_know_their_data_set() -> None:
    from vreid.train.data.records import Item

    items = [Item(Path("a.jpg"), "1:1", camera) for camera in ("2:c1", "1:c2", "10:c1", "1:c1", "1:c2")]
    cameras = cameras_of(items)
    assert cameras == ["10:c1", "1:c1", "1:c2", "2:c1"] and sets_of(cameras) == [1, 0, 0, 2]
