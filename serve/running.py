"""A server at work: next to a run, with one in the same process, or over the synthetic scene; until it is stopped."""

import asyncio
import logging
import socket
import tempfile
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vreid.models.errors import Refused
from vreid.runtime.detectors.table import Detector
from vreid.runtime.embedder import open_embedder
from vreid.runtime.gallery_place import GalleryPlace, made_path_of, may_be_there
from vreid.runtime.open_site import OpenSite
from vreid.runtime.pipeline import Run
from vreid.runtime.run import run_site
from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.site.reload import Reloader, Requests
from vreid.runtime.sources.table import address_of
from vreid.serve.app import application
from vreid.serve.blurring import Blur
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.limits import App
from vreid.serve.live import LiveView, PictureFolder
from vreid.serve.rights import TokenFile, tokens_of
from vreid.serve.searching import Searcher, open_searcher
from vreid.serve.service import Address, Service

Along = Callable[[OpenSite, Run, Callable[[Site], None]], AbstractContextManager[object]]
DEMO = "seed=7&cameras=3&seconds=40&vehicles=12&fps=5&live=1"
REQUEST_S = 20.0  # in which the headers of a request have to come
READ_S = 20.0  # in which some of an answer has to be read
_STOPPING_S = 5  # in which answers under way may end


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


class PromptProtocol(H11Protocol):
    """A connection on which no request comes, or whose answer is not read, is closed: uvicorn would wait for ever for the end of
    its headers, and 500 such connections let nobody else in; and an answer that goes on keeps its place among so many."""

    def connection_made(self, transport: Any) -> None:
        """Begin to look."""
        super().connection_made(transport)
        self._idle_since: object = None
        self._giving_up: asyncio.TimerHandle | None = None
        self._look(first=True)

    def pause_writing(self) -> None:
        """More waits to be read than the system and this server keep."""
        super().pause_writing()
        self._giving_up = self.loop.call_later(READ_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Some of it was read."""
        super().resume_writing()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of it."""
        super().connection_lost(exc)
        self._go_on()

    def _go_on(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()

    def _look(self, first: bool = False) -> None:
        """Close it if nothing has begun since the last look; an answer under way may take as long as it takes."""
        if self.transport.is_closing():
            return
        idle = self.cycle is None or self.cycle.response_complete
        if idle and not first and self.cycle is self._idle_since:
            self.transport.close()
            return
        self._idle_since = self.cycle if idle else self
        self.loop.call_later(REQUEST_S, self._look)


class Server:
    """uvicorn in a thread of its own, as a context."""

    def __init__(self, app: App, address: Address, listening: socket.socket | None = None) -> None:
        """`listening`: the socket of `listening_at`, which is closed at the end; None: it is made here. Raises Refused for a port
        that is taken."""
        self._address = address
        settings = uvicorn.Config(
            app, address.host, address.port, http=PromptProtocol, log_level="warning", access_log=False, server_header=False,
            proxy_headers=address.behind_proxy, timeout_graceful_shutdown=_STOPPING_S, timeout_keep_alive=30,
            ssl_certfile=address.certificate, ssl_keyfile=address.key, limit_concurrency=500, h11_max_incomplete_event_size=1 << 16,
        )  # fmt: skip
        logging.getLogger("uvicorn.error").addFilter(_not_cancelled)
        self._server = uvicorn.Server(settings)
        self._socket = listening or listening_at(address)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), name="server", daemon=True)

    @property
    def url(self) -> str:
        """Where pages are found."""
        host = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        scheme = "https" if self._address.certificate is not None else "http"
        return f"{scheme}://{host}:{self._socket.getsockname()[1]}/"

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(_STOPPING_S + 5)
        self._socket.close()


def _not_cancelled(record: logging.LogRecord) -> bool:
    """Without the tracebacks of answers under way that are cancelled at the end."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def listening_at(address: Address) -> socket.socket:
    """A socket on which callers wait from now on. Raises Refused for a port that is taken."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(2048)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or error
        raise Refused(
            f"cannot serve at {address.host}:{address.port} ({reason}); give another --host or --port"
        ) from error
    return listening


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
    detector: Callable[[], tuple[str, Detector] | None] = lambda: None  # of pictures by which a vehicle is enrolled

    def service(
        self,
        access: GalleryAccess,
        searcher: Searcher,
        tokens: TokenFile,
        live: LiveView | PictureFolder | None,
        **more: Any,
    ) -> Service:
        """What is served, as all this says."""
        return Service(
            access, searcher, tokens, self.address, live, requests_a_minute=self.requests_a_minute, detector=self.detector,
            stop=self.stop, **more,
        )  # fmt: skip

    def token_file(self, gallery: GalleryPlace) -> TokenFile:
        """The tokens for a gallery. Raises Refused where they do not suit the address."""
        file = TokenFile(self.tokens or tokens_of(made_path_of(gallery)))
        refuse_open(self.address, file)
        return file


def serve_gallery(
    gallery: GalleryPlace, model: str, pictures: Path | None, serving: Serving, site: Site | None = None
) -> None:
    """Serve a gallery, which another process may write to, until it is stopped. Raises Refused before it listens.

    `pictures`: the folder of the run that writes, for its live pictures.
    """
    tokens = serving.token_file(gallery)
    with ExitStack() as stack:
        access = GalleryAccess(gallery, blur=serving.blur)
        stack.callback(access.close)
        rules = {} if site is None else {"fixed": site.threshold}
        rate = Site.false_match_rate if site is None else site.false_match_rate
        searcher = open_searcher(access, open_embedder(model, serving.threads), false_match_rate=rate, **rules)
        if pictures is not None and not pictures.is_dir():
            serving.say(
                f"there is no folder {pictures} yet; live pictures come when vreid run --out {pictures} --annotate writes them"
            )
        live = None if pictures is None else PictureFolder(pictures / "picture", access.pictures)
        service = serving.service(access, searcher, tokens, live, site=lambda: site)
        server = stack.enter_context(Server(application(service), serving.address))
        serving.say(f"serving {gallery} at {server.url}")
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


def serve_demo(serving: Serving) -> None:
    """The synthetic scene, live, with a gallery that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="vreid-demo-") as folder:
        place = Path(folder)
        cameras = [CameraSettings(source=f"synth://city?camera={number}&{DEMO}") for number in (1, 2, 3)]
        site = Site(cameras=cameras, gallery=place / "demo.db", enrol_unknown=True, out=place / "run")
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
            access = GalleryAccess(gallery, site.index, serving.blur)
            stack.callback(access.close)
            searcher = open_searcher(
                access, open_embedder(site.model, serving.threads), false_match_rate=site.false_match_rate,
                fixed=site.threshold,
            )  # fmt: skip
            status = lambda: None if over.is_set() else run.status()  # noqa: E731
            service = serving.service(access, searcher, tokens, live, status=status, site=lambda: site)
            server = stack.enter_context(Server(application(service), serving.address, listening))
            serving.say(f"serving {gallery} at {server.url}")
            return along(opened, run, taken)

        run_site(site, serving.stop, along=begin, viewers=[live])
        over.set()
        if not serving.stop.is_set():
            serving.say("the cameras have ended; the server goes on until it is stopped")
            serving.stop.wait()
