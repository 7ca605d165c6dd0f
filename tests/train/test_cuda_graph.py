"""A network whose captured launches are replayed gives what it gave."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.train.devices import GraphRunner, TrainingGraphRunner

CONFIG = NetworkConfig("resnet18", 32, 32, 16, options={"scale": 0.25})


def pixels(seed: int, count: int, device: str) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 32, 32, 3), generator=draws, dtype=torch.uint8).to(device)


def features_of(device: str, half: bool, mode: bool) -> tuple[list[Tensor], list[Tensor]]:
    """The embeddings of three batches, played again and plainly; the last batch is of another size."""
    torch.manual_seed(0)
    network = ReidNetwork(replace(CONFIG, classes=5)).to(device).train(mode)
    runner, found, wanted = GraphRunner(network), [], []
    with torch.no_grad(), torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16, enabled=half):
        for seed, count in ((1, 8), (2, 8), (3, 4)):
            batch = pixels(seed, count, device)
            found.append(runner(batch).embedding.clone())
            wanted.append(network(batch).embedding)
    return found, wanted


def test_on_a_cpu_the_network_runs_as_usual() -> None:
    found, wanted = features_of("cpu", half=True, mode=False)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("half", [False, True])
def test_what_is_replayed_is_what_the_network_gives(half: bool) -> None:
    found, wanted = features_of("cuda", half, mode=False)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.gpu
def test_a_network_in_training_mode_is_never_recorded() -> None:
    """Its running statistics would move with every warm-up."""
    torch.manual_seed(0)
    network = ReidNetwork(replace(CONFIG, classes=5)).cuda().train()
    with torch.no_grad():
        GraphRunner(network)(pixels(1, 8, "cuda"))
    assert all(int(count) == 1 for name, count in network.named_buffers() if name.endswith("num_batches_tracked"))


def learnt(device: str, capturable: bool, half: bool = False, classes: int = 5) -> tuple[list[Tensor], ReidNetwork]:
    """What a network gave for four batches, the third of another size, each learnt from; and the network after them."""
    torch.manual_seed(0)
    network = ReidNetwork(replace(CONFIG, classes=classes)).to(device).train()
    runner, found = TrainingGraphRunner(network, capturable), []
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for seed, count in ((1, 8), (2, 8), (3, 4), (4, 8)):
        with torch.autocast(device, torch.float16 if device == "cuda" else torch.bfloat16, enabled=half):
            features = runner(pixels(seed, count, device))
        optimiser.zero_grad(set_to_none=True)
        features.embedding.float().square().mean().backward()
        optimiser.step()
        found.append(features.embedding.detach().float().clone())
    return found, network


def test_on_a_cpu_a_student_learns_as_usual() -> None:
    (found, one), (wanted, two) = learnt("cpu", True), learnt("cpu", False)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize(("half", "classes"), [(False, 5), (True, 5), (True, 0)])
def test_a_student_whose_passes_are_played_again_learns_the_same(half: bool, classes: int) -> None:
    """Running statistics too, though the recording ran the batch through several times."""
    (found, one), (wanted, two) = learnt("cuda", True, half, classes), learnt("cuda", False, half, classes)
    torch.testing.assert_close(found, wanted, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(one.state_dict(), two.state_dict(), rtol=2e-2, atol=2e-2)
