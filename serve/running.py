"""A server at work: beside a run, with one in the same process, or over the made scene; until it is told to stop."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from types import FrameType

import uvicorn

from vreid.models.errors import Refused
from vreid.runtime.embedder import open_embedder
from vreid.runtime.pipeline import Run
from vreid.runtime.run import OpenSite, run_site
from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.site.read import read_site
from vreid.runtime.sources.table import address_of
from vreid.serve.app import application
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.limits import App
from vreid.serve.live import LiveView, PictureFolder
from vreid.serve.rights import TokenFile
from vreid.serve.searching import open_searcher
from vreid.serve.service import Address, Service

LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEMO = "seed=7&cameras=3&seconds=40&vehicles=12&fps=5&live=1"
_STOPPING_S = 5  # in which answers under way may end


def refuse_open(address: Address, tokens: TokenFile) -> None:
    """Raises Refused for an address beyond this machine without a token, or over which tokens would go in the clear."""
    if (address.certificate is None) != (address.key is None):
        raise Refused("--certificate and --key belong together; give both files")
    for file in (address.certificate, address.key):
        if file is not None and not file.is_file():
            raise Refused(f"there is no file {file}; give the PEM files of the certificate and its key")
    if address.host in LOOPBACK and not address.behind_proxy:
        return
    if not tokens.tokens():
        raise Refused(
            f"beyond this machine nobody is let in without a token, and there is none in {tokens.path}; "
            "make one with vreid serve token"
        )
    if not address.secure:
        raise Refused(
            f"tokens would go in the clear over {address.host}; give --certificate and --key, or --behind-proxy where a"
            " proxy in front speaks TLS"
        )


class Server:
    """uvicorn in a thread of its own, as a context. Raises Refused for a port that is taken."""

    def __init__(self, app: App, address: Address) -> None:
        self._address = address
        settings = uvicorn.Config(
            app, address.host, address.port, log_level="warning", access_log=False, server_header=False,
            proxy_headers=address.behind_proxy, timeout_graceful_shutdown=_STOPPING_S, timeout_keep_alive=30,
            ssl_certfile=address.certificate, ssl_keyfile=address.key, limit_concurrency=500, h11_max_incomplete_event_size=1 << 16,
        )  # fmt: skip
        self._server = uvicorn.Server(settings)
        self._socket = _bound(address)
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


def _bound(address: Address) -> socket.socket:
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


def serve_beside(
    gallery: Path,
    model: str,
    pictures: Path | None,
    address: Address,
    tokens: Path,
    threads: int,
    say: Callable[[str], None],
) -> int:
    """Serve a gallery, which another process may write to, until a signal. Raises Refused before it listens."""
    file = TokenFile(tokens)
    refuse_open(address, file)
    with ExitStack() as stack:
        access = GalleryAccess(gallery)
        stack.callback(access.close)
        searcher = open_searcher(access, open_embedder(model, threads), false_match_rate=Site.false_match_rate)
        live = None if pictures is None else PictureFolder(pictures / "picture")
        server = stack.enter_context(Server(application(Service(access, searcher, file, address, live)), address))
        stop = stack.enter_context(stopped_by_signals())
        say(f"serving {gallery} at {server.url}")
        stop.wait()
    return 0


def serve_site(path: Path, address: Address, tokens: Path | None, threads: int, say: Callable[[str], None]) -> int:
    """Run a site's live cameras and serve its gallery, until a signal; a site over files is run by `vreid run`, and served here.

    Raises Refused before anything is written.
    """
    site = read_site(path, os.environ)
    if site.gallery is None:
        raise Refused(f"a server needs a gallery; write [gallery] file into {path}")
    file = TokenFile(tokens or site.gallery.with_name(f"{site.gallery.name}.tokens"))
    refuse_open(address, file)
    if any(address_of(camera.source).live for camera in site.cameras):
        return _serve_run(site, address, file, threads, say)
    if not site.gallery.exists():
        raise Refused(f"the cameras of {path} are files, and its gallery is not there yet; first run vreid run {path}")
    say("the cameras of this site are files, which vreid run goes through; what it found is served")
    return serve_beside(site.gallery, str(site.model), site.out, address, file.path, threads, say)


def serve_demo(address: Address, say: Callable[[str], None]) -> int:
    """The made scene, live, with a gallery that is gone at the end."""
    with tempfile.TemporaryDirectory(prefix="vreid-demo-") as folder:
        place = Path(folder)
        cameras = [CameraSettings(source=f"synth://city?camera={number}&{DEMO}") for number in (1, 2, 3)]
        site = Site(cameras=cameras, gallery=place / "demo.db", enrol_unknown=True, out=place / "run")
        file = TokenFile(place / "demo.db.tokens")
        refuse_open(address, file)
        say("a made scene of three cameras, which passes again every 40 s; nothing of it is kept")
        return _serve_run(site, address, file, 1, say)


def _serve_run(site: Site, address: Address, tokens: TokenFile, threads: int, say: Callable[[str], None]) -> int:
    """The run in this thread, the server in another; when the cameras have ended what they found is served on."""
    live = LiveView()
    with ExitStack() as stack:
        stop = stack.enter_context(stopped_by_signals())

        def begin(opened: OpenSite, run: Run) -> nullcontext[None]:
            """The gallery is there: listen."""
            assert site.gallery is not None
            access = GalleryAccess(site.gallery, site.index)
            stack.callback(access.close)
            embedder = open_embedder(site.model, threads)
            searcher = open_searcher(
                access, embedder, false_match_rate=site.false_match_rate, fixed=site.threshold, topology=opened.topology
            )
            service = Service(access, searcher, tokens, address, live, run.status, site)
            server = stack.enter_context(Server(application(service), address))
            say(f"serving {site.gallery} at {server.url}")
            return nullcontext()

        run_site(site, stop, along=begin, viewers=[live])
        if not stop.is_set():
            say("the cameras have ended; the server goes on until it is stopped")
            stop.wait()
    return 0


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Set by SIGINT and SIGTERM; the second one interrupts."""
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
