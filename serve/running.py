"""A server at work: next to a run, with one in the same process, or over the synthetic scene; until it is stopped."""

import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vreid.models.errors import Refused
from vreid.runtime.detectors.table import Detector
from vreid.runtime.embedder import open_embedder
from vreid.runtime.gallery_place import GalleryPlace, made_path_of, may_be_there
from vreid.runtime.open_site import OpenSite
from vreid.runtime.pipeline import Run
from vreid.runtime.run import OpenSender, run_site
from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.site.reload import Reloader, Requests
from vreid.runtime.sources.table import address_of
from vreid.serve.app import application
from vreid.serve.blurring import Blur
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.listening import Server, listening_at
from vreid.serve.live import LiveView, PictureFolder
from vreid.serve.rights import TokenFile, tokens_of
from vreid.serve.searching import open_searcher
from vreid.serve.service import Address, Service

Along = Callable[[OpenSite, Run, Callable[[Site], None]], AbstractContextManager[object]]
DEMO = "seed=7&cameras=3&seconds=40&vehicles=12&fps=5&live=1"


def refuse_open(address: Address, tokens: TokenFile) -> None:
    """Raises Refused for an address beyond this machine without a token, or over which tokens would go in the clear, and
    TokensUnusable."""
    guarded = tokens.ever()
    if (address.certificate is None) != (address.key is None):
        raise Refused("--certificate and --key belong together; give both files")
    for file in (address.certificate, address.key):
        if file is not None and not file.is_file():
            raise Refused(f"there is no file {file}; give the PEM files of the certificate and its key")
    if address.local:
        return
    if not guarded:
        raise Refused(
            f"beyond this machine nobody is let in without a token, and there is none in {tokens.path}; "
            "make one with vreid serve token"
        )
    if not address.secure:
        raise Refused(
            f"tokens would go in the clear over {address.host}; give --certificate and --key, or --behind-proxy where a"
            " proxy in front speaks TLS"
        )


@dataclass(frozen=True)
class Serving:
    """How a server runs: where it listens, whom it lets in, when it stops, and who gets a sentence of what it does."""

    address: Address
    tokens: Path | None  # None: next to the gallery
    stop: threading.Event
    say: Callable[[str], None]
    threads: int = 1  # of the engine that searches
    requests_a_minute: int = 1200
    blur: Blur | None = None  # what pictures go through before they are shown
    open_sender: Callable[[Site], OpenSender | None] = lambda site: None  # to the centre of a site
    detector: Callable[[], tuple[str, Detector] | None] = lambda: None  # of pictures by which a vehicle is enrolled

    def token_file(self, gallery: GalleryPlace) -> TokenFile:
        """The tokens for a gallery. Raises Refused where they do not suit the address."""
        file = TokenFile(self.tokens or tokens_of(made_path_of(gallery)))
        refuse_open(self.address, file)
        return file

    @contextmanager
    def answering(
        self,
        gallery: GalleryPlace,
        model: str | Path,
        tokens: TokenFile,
        site: Callable[[], Site | None] = lambda: None,
        live: LiveView | Path | None = None,
        listening: socket.socket | None = None,
        **more: Any,
    ) -> Iterator[tuple[Server, Service]]:
        """A server over a gallery that answers inside. `live` may be the folder of pictures of a run in another process,
        `listening` the socket of `listening_at`; `more` is of the Service. Raises Refused before it answers."""
        now = site()
        index = "flat" if now is None else now.index
        rate, fixed = (Site.false_match_rate, None) if now is None else (now.false_match_rate, now.threshold)
        with closing(GalleryAccess(gallery, index, self.blur)) as access:
            searcher = open_searcher(access, open_embedder(model, self.threads), false_match_rate=rate, fixed=fixed)
            service = Service(
                access, searcher, tokens, self.address,
                PictureFolder(live, access.pictures) if isinstance(live, Path) else live, site=site, stop=self.stop,
                requests_a_minute=self.requests_a_minute, detector=self.detector, **more,
            )  # fmt: skip
            with Server(application(service), self.address, listening) as server:
                self.say(f"serving {gallery} at {server.url}")
                yield server, service


def serve_gallery(
    gallery: GalleryPlace, model: str, pictures: Path | None, serving: Serving, site: Site | None = None
) -> None:
    """Serve a gallery, which another process may write to, until it is stopped. Raises Refused before it listens.

    `pictures`: the folder of the run that writes, for its live pictures.
    """
    tokens = serving.token_file(gallery)
    if pictures is not None and not pictures.is_dir():
        serving.say(
            f"there is no folder {pictures} yet; live pictures come when vreid run --out {pictures} --annotate writes them"
        )
    live = None if pictures is None else pictures / "picture"
    with serving.answering(gallery, model, tokens, lambda: site, live):
        serving.stop.wait()


def serve_site(read: Callable[[], Site], file: Path, serving: Serving, requests: Requests) -> None:
    """Run the live cameras of a site's file and serve its gallery, until it is stopped; a site over files is run by `vreid run`,
    and served here. `read` reads the file, again at each of `requests`. Raises Refused before anything is written.
    """
    site = read()
    if site.gallery is None:
        raise Refused(f"a server needs a gallery; write [gallery] file into {file}")
    if any(address_of(camera.source).live for camera in site.cameras):
        serve_run(site, serving, lambda opened, run, taken: Reloader(opened, run, requests, read, taken))
        return
    if not may_be_there(site.gallery):
        raise Refused(f"the cameras of {file} are files, and its gallery is not there yet; first run vreid run {file}")
    serving.say("the cameras of this site are files, which vreid run goes through; what it found is served")
    serve_gallery(site.gallery, str(site.model), site.out, serving, site)


def serve_demo(serving: Serving, model: str | Path = Site.model) -> None:
    """The synthetic scene, live, with a gallery that is gone at the end. `model`: a manifest's path or a bundled name."""
    with tempfile.TemporaryDirectory(prefix="vreid-demo-") as folder:
        place = Path(folder)
        cameras = [CameraSettings(source=f"synth://city?camera={number}&{DEMO}") for number in (1, 2, 3)]
        site = Site(model=model, cameras=cameras, gallery=place / "demo.db", enrol_unknown=True, out=place / "run")
        serving.say("a synthetic scene of three cameras, which passes again every 40 s; nothing of it is kept")
        serve_run(site, serving)


def serve_run(
    site: Site,
    serving: Serving,
    along: Along = lambda opened, run, taken: nullcontext(),
) -> None:
    """The run in this thread, the server in others; when the cameras have ended what they found is served on. `along` is what goes
    on as long as the run, and calls what it is given with the site where that has changed."""
    assert site.gallery is not None
    gallery, live, tokens = site.gallery, LiveView(serving.blur), serving.token_file(site.gallery)
    over = threading.Event()
    with ExitStack() as stack:
        listening = stack.enter_context(listening_at(serving.address))

        def taken(now: Site) -> None:
            nonlocal site
            site = now
            live.keep_only([address_of(camera.source).camera for camera in now.cameras])

        def begin(opened: OpenSite, run: Run) -> AbstractContextManager[object]:
            """The gallery is there: answer."""
            status = lambda: None if over.is_set() else run.status()  # noqa: E731
            serves = serving.answering(gallery, site.model, tokens, lambda: site, live, listening, status=status)
            stack.enter_context(serves)
            return along(opened, run, taken)

        run_site(site, serving.stop, along=begin, viewers=[live], open_sender=serving.open_sender(site))
        over.set()
        if not serving.stop.is_set():
            serving.say("the cameras have ended; the server goes on until it is stopped")
            serving.stop.wait()
