"""What the server serves: one gallery, its model, and the run next to it or inside it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vreid.runtime.detectors.table import Detector
from vreid.runtime.session import Site
from vreid.runtime.status import Status
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.live import LiveView, PictureFolder
from vreid.serve.rights import LOCAL, Person, TokenFile
from vreid.serve.searching import Searcher
from vreid.serve.streams import MOST_FOLLOWERS, MOST_VIEWERS, Bound

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Address:
    """Where and how it listens. `certificate` and `key` are PEM files of TLS; `hosts` are names in the header Host that are
    served besides loopback, IP addresses and `host`; `behind_proxy`: a proxy in front of it speaks TLS."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    hosts: tuple[str, ...] = ()

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host in LOOPBACK and not self.behind_proxy

    @property
    def secure(self) -> bool:
        """Whether browsers reach it by https."""
        return self.certificate is not None or self.behind_proxy


@dataclass(frozen=True)
class Service:
    """Everything that requests are answered from. `status` is that of the run, None where none runs here; `site` as its file
    says; `detector` gives the one that counts the vehicles in pictures by which one is enrolled, and its name."""

    access: GalleryAccess
    searcher: Searcher
    tokens: TokenFile
    address: Address = field(default_factory=Address)
    live: LiveView | PictureFolder | None = None
    status: Callable[[], Status | None] = lambda: None
    site: Callable[[], Site | None] = lambda: None
    requests_a_minute: int = 1200  # of one address, beyond which 429 is answered
    detector: Callable[[], tuple[str, Detector] | None] = lambda: None
    stop: threading.Event = field(default_factory=threading.Event)  # set where the server is to end
    followers: Bound = field(default_factory=lambda: Bound(MOST_FOLLOWERS, "programs follow the events"))
    viewers: Bound = field(default_factory=lambda: Bound(MOST_VIEWERS, "live pictures are looked at"))

    @property
    def open(self) -> bool:
        """Whether anybody on this machine may do everything: nobody else reaches it, and there has been no token since it began to
        serve. It stays closed when the last one is revoked, or their file is lost. Raises TokensUnusable."""
        return self.address.local and not self.tokens.ever()

    def lets_in(self, person: Person) -> bool:
        """Whether somebody who was let in still is, as answers that go on look again and again; nobody is at the end."""
        if self.stop.is_set():
            return False
        return self.open if person.session == LOCAL else self.tokens.still_holds(person)
