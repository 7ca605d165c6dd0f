"""What the server serves: one gallery, its model, and the run next to it or inside it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vreid.runtime.session import Site
from vreid.runtime.status import Status
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.live import LiveView, PictureFolder
from vreid.serve.rights import TokenFile
from vreid.serve.searching import Searcher


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
    def secure(self) -> bool:
        """Whether browsers reach it by https."""
        return self.certificate is not None or self.behind_proxy


@dataclass(frozen=True)
class Service:
    """Everything that requests are answered from. `status` is that of the run here, None without one; `site` as its file says."""

    access: GalleryAccess
    searcher: Searcher
    tokens: TokenFile
    address: Address = field(default_factory=Address)
    live: LiveView | PictureFolder | None = None
    status: Callable[[], Status | None] = lambda: None
    site: Site | None = None
    requests_a_minute: int = 1200  # of one person or address, beyond which 429 is answered

    @property
    def open(self) -> bool:
        """Whether anybody on this machine may do everything: there is no token. See `refuse_open`."""
        return not self.tokens.tokens()
