"""Compactors change nothing when they are born, and folding changes nothing when channels are gone."""

import pytest
import torch

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import Compactor, fold, gone_of, insert, kept_of, sites


def network(body: str, classes: int = 7) -> ReidNetwork:
    torch.manual_seed(0)
    return ReidNetwork(NetworkConfig(body, 32, 32, 16, classes=classes, options={"scale": 0.25}))


def pixels(count: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def learnt(body: str, both_sides: bool) -> ReidNetwork:
    """A network with compactors after three real steps, some of whose channels are then dead."""
    student = network(body)
    insert(student, both_sides)
    optimiser = torch.optim.SGD(student.parameters(), 0.05, momentum=0.9)
    for _ in range(3):
        loss = torch.nn.functional.cross_entropy(student(pixels()).logits, torch.arange(8) % 7)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        for site in sites(student):
            for compactor in site.compactors():
                dead = torch.arange(len(compactor.mask)) % 3 == 1
                compactor.weight.mul_(compactor.per_channel((~dead).float()))
    return student.eval()


@pytest.mark.parametrize("body", ["resnet18", "resnet50"])
@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_identity_compactors_change_nothing(body: str, both_sides: bool, training: bool) -> None:
    plain, compacted = network(body).train(training), network(body).train(training)
    insert(compacted, both_sides)
    torch.testing.assert_close(compacted(pixels()).embedding, plain(pixels()).embedding, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("body", ["resnet18", "resnet50"])
@pytest.mark.parametrize("both_sides", [False, True])
def test_the_folded_network_is_narrower_and_computes_the_same(body: str, both_sides: bool) -> None:
    student = learnt(body, both_sides)
    before = {key: value.clone() for key, value in student.state_dict().items()}
    folded = fold(student)
    torch.testing.assert_close(folded(pixels()).embedding, student(pixels()).embedding, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(folded(pixels()).logits, student(pixels()).logits, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert total_of(cost_of(folded)).macs < total_of(cost_of(network(body))).macs
    assert not sites(folded)
    for site in sites(student):
        narrow = folded.body.get_submodule(next(n for n, m in student.body.named_modules() if m is site.block))
        assert (
            narrow.unit(-2)[0].out_channels == len(kept_of(site.far, 1, gone_of(site.far, 1e-5))) < len(site.far.mask)
        )
        if site.near is not None:
            assert (
                narrow.unit(1)[0].out_channels
                == len(kept_of(site.near, 1, gone_of(site.near, 1e-5)))
                < len(site.near.mask)
            )


def test_widths_are_rounded_up_and_one_channel_always_stays() -> None:
    student = learnt("resnet18", False)
    folded = fold(student, multiple=8)
    widths = [block.unit(-2)[0].out_channels for block in folded.body.modules() if hasattr(block, "far")]
    assert all(width % 8 == 0 for width in widths)
    torch.testing.assert_close(folded(pixels()).embedding, student(pixels()).embedding, atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        sites(student)[0].far.weight.zero_()
    assert len(kept_of(sites(student)[0].far, 1, gone_of(sites(student)[0].far, 1e-5))) == 1


def test_masked_channels_go_first_and_of_them_the_weakest() -> None:
    compactor = Compactor(6, "far")
    with torch.no_grad():
        compactor.weight.copy_(torch.diag(torch.tensor([3.0, 0.5, 9.0, 1.0, 8.0, 2.0])))
    compactor.mask[[2, 4]] = 0
    assert kept_of(compactor, 1, gone_of(compactor, 0.0, masked=True)).tolist() == [0, 1, 3, 5]
    assert kept_of(compactor, 1, gone_of(compactor, 0.9, masked=True)).tolist() == [0, 3, 5]
    assert kept_of(compactor, 4, gone_of(compactor, 0.9, masked=True)).tolist() == [0, 2, 3, 5]
    compactor.mask.zero_()
    assert kept_of(compactor, 1, gone_of(compactor, 0.0, masked=True)).tolist() == [2]


@pytest.mark.gpu
def test_what_is_folded_stays_on_its_device() -> None:
    student = learnt("resnet50", True).cuda()
    folded = fold(student)
    with torch.backends.cudnn.flags(allow_tf32=False):  # its ten bits would hide what is claimed
        found, wanted = folded(pixels().cuda()).embedding, student(pixels().cuda()).embedding
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_the_ceiling_of_one_compactor_a_block_is_the_papers() -> None:
    """methods.md 1.8: one channel a block in ResNet-101 at 256 x 256 saves at most 70.6 % of params, about 70.3 % of MACs."""
    with torch.device("meta"):
        whole = ReidNetwork(NetworkConfig("resnet101", 256, 256, 512))
        bare = [[[64 * 2**stage, 1]] * depth for stage, depth in enumerate((3, 4, 23, 3))]
        least = ReidNetwork(NetworkConfig("resnet101", 256, 256, 512, options={"inner": bare}))
    full, floor = total_of(cost_of(whole)), total_of(cost_of(least))
    assert 100 * (1 - floor.params / full.params) == pytest.approx(70.6, abs=0.1)
    assert 100 * (1 - floor.macs / full.macs) == pytest.approx(70.3, abs=0.15)


def test_what_cannot_have_compactors_is_refused() -> None:
    with pytest.raises(Refused, match="need a ResNet"):
        insert(ReidNetwork(NetworkConfig("mobilenet_v2", 32, 32, 16)))
    student = network("resnet18")
    with pytest.raises(Refused, match="no compactors to fold"):
        fold(student)
    insert(student)
    with pytest.raises(Refused, match="already has compactors"):
        insert(student)
