"""Compactors change nothing when they are born, and folding changes nothing when channels are gone."""

import pytest
import torch

from vreid.models.cost import cost_of, total_of
from vreid.models.errors import Refused
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.pruning import Compactor, fold, gone_of, insert, kept_of, places_of, sites

# how many sites there are: of inverted residuals one a block, where the first has the stem's, and the last layer's
SITES = {"resnet18": 8, "resnet50": 16, "mobilenet_v2": 18, "efficientnet_lite0": 17}
BODIES = list(SITES)


def network(body: str, classes: int = 7) -> ReidNetwork:
    torch.manual_seed(0)
    options = {"scale": 0.25} if body.startswith("resnet") else {"scale": 0.375, "last": 48}
    return ReidNetwork(NetworkConfig(body, 32, 32, 16, classes=classes, options=options))


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


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_identity_compactors_change_nothing(body: str, both_sides: bool, training: bool) -> None:
    plain, compacted = network(body).train(training), network(body).train(training)
    assert len(insert(compacted, both_sides)) == SITES[body]
    torch.testing.assert_close(compacted(pixels()).embedding, plain(pixels()).embedding, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("body", BODIES)
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
        near, far = (0 if c is None else len(kept_of(c, 1, gone_of(c, 1e-5))) for c in (site.near, site.far))
        assert far < len(site.far.mask) and (site.near is None or near < len(site.near.mask))
        layers = (*((site.place.before[0],) if site.place.before else ()), site.place.conv)
        assert site.widths(near, far) == tuple(folded.get_submodule(name).out_channels for name in layers)
        assert all(len(folded.get_submodule(name).weight) == far for name in site.place.channelwise)
        assert folded.get_submodule(site.place.reader).weight.shape[1] == far


@pytest.mark.parametrize("body", BODIES)
def test_the_task_pulls_back_a_row_that_shrinks(body: str) -> None:
    """The BN behind a depthwise convolution or in the head undoes the scale of a row; without the gate nothing would be left of
    what a longer row brings to the loss, and no channel would be worth more than another."""
    student = network(body)
    insert(student)
    pulls = []
    for gated in (True, False):
        for site in sites(student):
            if site.place.gate and not gated:
                student.get_submodule(site.place.gate).forward = lambda x: x  # type: ignore[method-assign]
        student.zero_grad()
        torch.nn.functional.cross_entropy(student.train()(pixels()).logits, torch.arange(8) % 7).backward()
        pulls.append([(site.far.weight * site.far.weight.grad).sum(1).norm().item() for site in sites(student)])
    assert min(pulls[0]) > 1e-4
    for site, with_gate, without in zip(sites(student), *pulls, strict=True):
        assert without == with_gate if not site.place.gate else without < 0.3 * with_gate


def test_the_stem_has_no_compactor_where_a_shortcut_takes_its_channels_on() -> None:
    torch.manual_seed(0)
    joined = ReidNetwork(NetworkConfig("mobilenet_v2", 32, 32, 16, options={"scale": 0.25, "last": 48}))
    assert [site.place.name for site in insert(joined)][:2] == ["stage2.0", "stage2.1"]
    assert "stem" not in fold(joined).config.options
    free = network("mobilenet_v2")
    insert(free)
    assert [site.place.name for site in sites(free)][:2] == ["stem", "stage2.0"]
    with torch.no_grad():
        sites(free)[0].far.weight[8:] = 0  # as many channels are left as the first block passes on
    narrow = fold(free.eval())
    assert narrow.config.options["stem"] == 8 == narrow.body.shape.outer[0]
    torch.testing.assert_close(narrow(pixels()).embedding, free(pixels()).embedding, atol=1e-4, rtol=1e-4)
    with pytest.raises(Refused, match="shortcut around the first block"):
        ReidNetwork(NetworkConfig("mobilenet_v2", 32, 32, 16, options={"scale": 0.25, "stem": 4}))


@pytest.mark.parametrize("body", BODIES)
def test_widths_are_rounded_up_and_one_channel_always_stays(body: str) -> None:
    student = learnt(body, False)
    folded = fold(student, multiple=8)
    widths = [folded.get_submodule(place.conv).out_channels for place in places_of(folded)]
    assert len(widths) == SITES[body] and all(width % 8 == 0 for width in widths)
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
    without = network("resnet18")
    without.body = torch.nn.Flatten()
    with pytest.raises(Refused, match="no place for compactors; choose a ResNet, MobileNetV2 or"):
        insert(without)
    student = network("resnet18")
    with pytest.raises(Refused, match="no compactors to fold"):
        fold(student)
    insert(student)
    with pytest.raises(Refused, match="already has compactors"):
        insert(student)
