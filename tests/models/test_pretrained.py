"""ImageNet weights come from a file or an address, whatever their layers are called, and a wrong file is refused."""

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vreid.models.checkpoint import imagenet_weights, load_body
from vreid.models.errors import Refused
from vreid.models.mobilenet import mobilenet
from vreid.models.network import NetworkConfig, ReidNetwork
from vreid.models.resnet import resnet

SMALL = {"scale": 0.0625}


def noisy(body: nn.Module, seed: int) -> dict[str, Tensor]:
    """A state dict of `body` in which no two tensors are alike."""
    random = torch.Generator().manual_seed(seed)
    return {
        key: torch.rand(value.shape, generator=random) if value.is_floating_point() else value
        for key, value in body.state_dict().items()
    }


def same(body: nn.Module, weights: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, weights[key]) for key, value in body.state_dict().items())


def test_a_local_file_fills_the_body_and_leaves_its_classifier(tmp_path: Path) -> None:
    body = resnet("resnet18", SMALL)
    weights = noisy(body, 0)
    torch.save({**weights, "fc.weight": torch.rand(1000, 32), "fc.bias": torch.rand(1000)}, tmp_path / "weights.pth")
    taken = load_body(body, imagenet_weights("resnet18", str(tmp_path / "weights.pth")))
    assert same(body, weights)
    assert taken == 20 + 20 * 4


def flat_name(key: str) -> str:
    """features.2.conv.1.0.weight -> features.2.conv.3.weight: the naming before torchvision's, one flat list a block."""
    match = re.fullmatch(r"features\.(\d+)\.conv\.(\d)(?:\.(\d))?\.(\w+)", key)
    if match is None:
        return key
    block, unit, part, word = match.groups()
    units = 2 if block == "1" else 3
    place = int(unit) * 3 + int(part) if part is not None else (units - 1) * 3 + int(unit) - (units - 1)
    return f"features.{block}.conv.{place}.{word}"


def test_the_flat_names_of_older_mobilenets_are_matched_in_order() -> None:
    body = mobilenet("mobilenet_v2", {})
    weights = noisy(body, 1)
    flat = {flat_name(key): value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    assert len(flat) == 52 * 5 and "features.2.conv.7.running_var" in flat and "features.1.conv.0.0.weight" not in flat
    assert load_body(body, {**flat, "classifier.weight": torch.rand(1000, 1280)}) == 52 * 5
    assert same(body, weights)


def test_a_file_in_another_order_is_refused_and_not_mixed_up() -> None:
    body = resnet("resnet18", SMALL)
    before = {key: value.clone() for key, value in body.state_dict().items()}
    renamed = {f"module.{key}": value for key, value in sorted(noisy(body, 2).items())}
    with pytest.raises(Refused, match="do not fit"):
        load_body(body, renamed)
    assert same(body, before)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(Refused, match="should have shape"):
        load_body(resnet("resnet18", SMALL), resnet("resnet18", {"scale": 0.125}).state_dict())
    with pytest.raises(Refused, match="should have shape"):
        load_body(resnet("resnet34", SMALL), resnet("resnet18", SMALL).state_dict())


@pytest.mark.parametrize("content", [b"", b"not a file of torch", b"\x80\x02cbuiltins\neval\n."])
def test_a_file_that_is_none_of_torchs_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(Refused, match=r"weights\.pth"):
        imagenet_weights("resnet18", str(tmp_path / "weights.pth"))


def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "weights.pth")
    with pytest.raises(Refused, match="not a state dict"):
        imagenet_weights("resnet18", str(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    "content", [{1: torch.zeros(2)}, {"model": {1: torch.zeros(2)}}, {"weights": {1: torch.zeros(2)}}]
)
def test_names_that_are_numbers_are_refused(content: dict[object, object], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(Refused, match="not a state dict"):
        imagenet_weights("resnet18", str(tmp_path / "weights.pth"))


def test_weights_in_whole_numbers_are_refused() -> None:
    body = resnet("resnet18", SMALL)
    with pytest.raises(Refused, match=r"conv1\.weight in whole numbers; give weights in floating point"):
        load_body(body, {key: value.to(torch.int8) for key, value in noisy(body, 4).items()})


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no weights"):
        imagenet_weights("resnet18", str(tmp_path / "absent.pth"))


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """An HTTP server of `tmp_path` on this machine."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache of downloads, in a folder of the test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_weights_come_from_an_address_and_are_kept(address: str, cache: Path, tmp_path: Path) -> None:
    body = resnet("resnet18", SMALL)
    weights = noisy(body, 3)
    torch.save(weights, tmp_path / "weights.pth")
    load_body(body, imagenet_weights("resnet18", f"{address}/weights.pth"))
    assert same(body, weights)
    (tmp_path / "weights.pth").unlink()
    assert imagenet_weights("resnet18", f"{address}/weights.pth").keys() == weights.keys()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_download_that_cannot_be_read_is_not_kept(address: str, cache: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"moved to another address")
    with pytest.raises(Refused, match=r"weights|is not a complete safetensors"):
        imagenet_weights("resnet18", f"{address}/{name}")
    weights = {"a": torch.ones(2)}
    if name.endswith(".pth"):
        torch.save(weights, tmp_path / name)
    else:
        pytest.importorskip("safetensors.torch").save_file(weights, tmp_path / name)
    assert imagenet_weights("resnet18", f"{address}/{name}").keys() == {"a"}


def test_two_addresses_with_one_file_name_are_two_files(cache: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        torch.save({folder: torch.zeros(1)}, tmp_path / folder / "weights.pth")
        found = imagenet_weights("resnet18", (tmp_path / folder / "weights.pth").as_uri())
        assert list(found) == [folder]


@pytest.mark.parametrize("name", ["absent.pth", "page.html"])
def test_a_download_that_fails_is_refused(address: str, cache: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "page.html").write_text("<html>no weights today</html>")
    with pytest.raises(Refused, match=name):
        imagenet_weights("resnet18", f"{address}/{name}")


@pytest.mark.parametrize(("small", "large"), [("resnet18", "resnet34"), ("resnet50", "resnet101")])
def test_a_deeper_network_fills_no_shallower_one(small: str, large: str) -> None:
    body = [ReidNetwork(NetworkConfig(name, 64, 64, 32, options={"scale": 0.125})).body for name in (small, large)]
    with pytest.raises(Refused, match="tensors are left over besides a classifier"):
        load_body(body[0], body[1].state_dict())
    with_classifier = body[0].state_dict() | {"fc.weight": torch.zeros(10, 8), "fc.bias": torch.zeros(10)}
    assert load_body(body[0], with_classifier) > 0


@pytest.mark.parametrize("wrapped", ["state_dict", "model"])
def test_wrapped_weights_are_read_and_nan_is_named(wrapped: str, tmp_path: Path) -> None:
    weights = {"module.conv1.weight": torch.zeros(2, 2), "module.bn1.weight": torch.ones(2)}
    torch.save({wrapped: weights, "epoch": 3}, tmp_path / "w.pth")
    assert set(imagenet_weights("resnet18", str(tmp_path / "w.pth"))) == {"conv1.weight", "bn1.weight"}
    weights["module.bn1.weight"][1] = torch.nan
    torch.save({wrapped: weights}, tmp_path / "w.pth")
    with pytest.raises(Refused, match=r"infinite numbers in module\.bn1\.weight"):
        imagenet_weights("resnet18", str(tmp_path / "w.pth"))
