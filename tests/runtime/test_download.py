"""Downloads from a server on loopback: resumed, cut, redirected, missing, with another hash; and the list of public models."""

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from vreid.models.errors import Refused
from vreid.models.files import locked
from vreid.runtime.download import TRIES, KnownFile, digest_of, downloaded
from vreid.runtime.public_models import MODELS, PublicModel, fetched, model_named, with_public_model

CONTENT = bytes(range(256)) * 5000  # 1.28 MB


@dataclass
class Site:
    """A server's files, and how it behaves: `cut` ends a connection after so many bytes, that many times."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    cuts: int = 0
    ranges: bool = True
    shift: int = 0  # bytes by which it answers a range wrongly
    requests: list[str] = field(default_factory=list)
    root: str = ""


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        site, wanted = self.site, self.headers.get("Range", "")
        site.requests.append(f"{self.path} {wanted}".strip())
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", f"{site.root}/there/file.bin")
            self.end_headers()
            return
        if self.path not in site.files:
            self.send_error(404)
            return
        whole = site.files[self.path]
        begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
        if begin >= len(whole):
            self.send_error(416)
            return
        body = whole[begin:]
        self.send_response(206 if begin else 200)
        if begin:
            at = begin + site.shift
            self.send_header("Content-Range", f"bytes {at}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if site.cuts:
            site.cuts -= 1
            body = body[: site.cut]
            self.close_connection = True
        self.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site({"/file.bin": CONTENT, "/there/file.bin": CONTENT})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": found}))
    found.root = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def known(site: Site, path: str = "/file.bin", content: bytes = CONTENT, algorithm: str = "sha256") -> KnownFile:
    return KnownFile(f"{site.root}{path}", len(content), f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("algorithm", ["sha256", "sha384"])
def test_a_file_comes_whole_and_under_its_name(site: Site, tmp_path: Path, algorithm: str) -> None:
    seen: list[tuple[int, int]] = []
    path = downloaded(known(site, algorithm=algorithm), tmp_path / "new", lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT and left(path.parent) == ["file.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_connection_that_breaks_off_is_made_again_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cut, site.cuts = 300_000, 3
    assert downloaded(known(site), tmp_path, pause=0).read_bytes() == CONTENT
    assert site.requests == [
        "/file.bin", *(f"/file.bin bytes={300_000 * times}-" for times in (1, 2, 3))
    ]  # fmt: skip


def test_what_an_earlier_call_left_is_gone_on_with(site: Site, tmp_path: Path) -> None:
    site.cut, site.cuts = 0, TRIES
    site.files["/file.bin"] = CONTENT
    with pytest.raises(Refused, match=r"broke off after 0 of 1,280,000 bytes.*run the same command again.*--from"):
        downloaded(known(site), tmp_path, pause=0)
    (tmp_path / ".file.bin.part").write_bytes(CONTENT[:1_000_000])
    site.requests.clear()
    assert downloaded(known(site), tmp_path).read_bytes() == CONTENT
    assert site.requests == ["/file.bin bytes=1000000-"]


def test_a_server_without_ranges_begins_anew(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    (tmp_path / ".file.bin.part").write_bytes(b"other" * 1000)
    assert downloaded(known(site), tmp_path).read_bytes() == CONTENT
    assert site.requests == ["/file.bin bytes=5000-"]


def test_a_part_of_another_file_is_thrown_away_once(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".file.bin.part").write_bytes(b"other" * 1000)
    assert downloaded(known(site), tmp_path).read_bytes() == CONTENT
    assert site.requests == ["/file.bin bytes=5000-", "/file.bin"]


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more", b""], ids=["other", "longer", "empty"])
def test_another_file_is_refused_and_nothing_is_kept(site: Site, tmp_path: Path, content: bytes) -> None:
    site.files["/file.bin"] = content
    said = {
        len(CONTENT): "gave a file with the hash sha256:.*changed",
        len(CONTENT) + 4: "sends more than its 1,280,000",
    }
    with pytest.raises(Refused, match=said.get(len(content), "416|broke off after 0")):
        downloaded(known(site), tmp_path, pause=0)
    assert not (tmp_path / "file.bin").exists()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_range_that_was_not_wanted_is_refused(site: Site, tmp_path: Path) -> None:
    site.shift = 7
    (tmp_path / ".file.bin.part").write_bytes(CONTENT[:1000])
    with pytest.raises(Refused, match="another part of the file"):
        downloaded(known(site), tmp_path)


def test_a_redirect_is_followed_and_a_missing_file_said(site: Site, tmp_path: Path) -> None:
    file = known(site, "/moved")
    assert downloaded(file, tmp_path).read_bytes() == CONTENT
    with pytest.raises(Refused, match=r"/gone: the server answered 404 Not Found"):
        downloaded(known(site, "/gone"), tmp_path)
    with pytest.raises(Refused, match=r"cannot download http://127\.0\.0\.1:9/x"):
        downloaded(KnownFile("http://127.0.0.1:9/x", 5, known(site).digest), tmp_path, pause=0)


def test_two_at_once_do_not_write_one_file(site: Site, tmp_path: Path) -> None:
    with locked(tmp_path, "filling"), pytest.raises(Refused, match="another process is filling"):
        downloaded(known(site), tmp_path)


def model(site: Site) -> PublicModel:
    site.files |= {"/net.xml": b"<net/>", "/net.bin": CONTENT}
    files = known(site, "/net.xml", b"<net/>"), known(site, "/net.bin")
    return PublicModel("net", "detector", "made", "MIT", "computed", files)


def test_a_model_of_two_files_is_fetched_once(site: Site, tmp_path: Path) -> None:
    seen: list[int] = []
    net = model(site)
    paths = fetched(net, tmp_path, progress=lambda done, of: seen.append(done))
    assert [path.name for path in paths] == ["net.xml", "net.bin"] and seen[-1] == net.size == len(CONTENT) + 6
    site.requests.clear()
    assert fetched(net, tmp_path) == paths and site.requests == []
    paths[1].write_bytes(CONTENT[::-1])  # of another release
    fetched(net, tmp_path)
    assert site.requests == ["/net.bin"] and paths[1].read_bytes() == CONTENT


def give_both(folder: Path) -> list[Path]:
    (folder / "net.xml").write_bytes(b"<net/>")
    (folder / "renamed.bin").write_bytes(CONTENT)
    return [folder / "renamed.bin", folder / "net.xml"]


def give_folder(folder: Path) -> list[Path]:
    give_both(folder)
    return [folder]


def give_other(folder: Path) -> list[Path]:
    give_both(folder)
    (folder / "renamed.bin").write_bytes(CONTENT[::-1])
    return [folder]


def give_one(folder: Path) -> list[Path]:
    return give_both(folder)[1:]


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (give_both, ""),
        (give_folder, ""),
        (give_other, r"renamed.bin is another file than .*net.bin \(hash sha256:.*, in the list sha256"),
        (give_one, r"--from has no net.bin of 1,280,000 bytes"),
    ],
)
def test_files_that_were_brought_are_taken_by_their_hash(
    site: Site, tmp_path: Path, give: Callable[[Path], list[Path]], said: str
) -> None:
    brought = tmp_path / "stick"
    brought.mkdir()
    local = give(brought)
    if said:
        with pytest.raises(Refused, match=said):
            fetched(model(site), tmp_path / "models", local)
    else:
        paths = fetched(model(site), tmp_path / "models", local)
        assert [path.read_bytes() for path in paths] == [b"<net/>", CONTENT]
    assert site.requests == []


def test_every_entry_has_what_a_download_needs() -> None:
    for name, entry in MODELS.items():
        assert (
            entry.name == name and entry.licence and entry.source and entry.job in ("detector", "embedder", "weights")
        )
        for file in entry.files:
            assert file.address.startswith("https://") and file.size > 100_000
            algorithm, _, digest = file.digest.partition(":")
            assert re.fullmatch("[0-9a-f]+", digest) and len(digest) == {"sha256": 64, "sha384": 96}[algorithm]
    assert len({file.digest for entry in MODELS.values() for file in entry.files}) == sum(
        len(entry.files) for entry in MODELS.values()
    )


@pytest.mark.shared
def test_the_entry_of_0202_is_of_the_files_that_were_measured() -> None:
    folder = Path(__file__).parents[3] / "shared" / "models" / "vehicle-detection-0202"
    if not folder.is_dir():
        pytest.skip("needs ../shared")
    for file in MODELS["vehicle-detection-0202"].files:
        assert digest_of(folder / file.name, file.digest) == file.digest
        assert (folder / file.name).stat().st_size == file.size


def test_a_detectors_address_may_name_a_public_model(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="yolox_nano is not here yet; fetch it once: vreid get yolox_nano"):
        with_public_model("model:yolox_nano?tiles=2", tmp_path)
    with pytest.raises(Refused, match="vehicle-reid-0001 is not a detector but embedder"):
        with_public_model("model:vehicle-reid-0001", tmp_path)
    file = tmp_path / "yolox_nano" / "yolox_nano.onnx"
    file.parent.mkdir()
    file.write_bytes(b"")
    assert with_public_model("model:yolox_nano?tiles=2", tmp_path) == f"model:{file}?tiles=2"
    assert with_public_model("yolox:yolox_nano", tmp_path) == f"yolox:{file}"
    for same in ("motion", "motion:?warm_up=2", "replay:yolox_nano", "model:my.onnx?tiles=2"):
        assert with_public_model(same, tmp_path) == same
    with pytest.raises(Refused, match=r"no public model 'yolox_nan'; did you mean 'yolox_nano'\?"):
        model_named("yolox_nan")
