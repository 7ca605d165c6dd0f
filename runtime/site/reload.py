"""A live run goes on with its site's file as it is now: cameras come, go and change, and the others are left alone."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from vreid.models.errors import Refused
from vreid.runtime.open_site import OpenSite, detector_key, open_detectors, open_topology
from vreid.runtime.pipeline import Run
from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.sources.rate import limited
from vreid.runtime.sources.table import Source, address_of, open_sources
from vreid.runtime.watched_cameras import CameraParts

_LOG = logging.getLogger("vreid")
OF_OUTPUTS = ("annotate", "events", "stationary_after", "stationary_every", "keep_for", "keep_most", "to")
UNDER_WAY = ("cameras", "topology")  # what a run takes over; all else waits for its next start
KEYS = {
    **{name: f"[gallery] {name}" for name in ("enrol_unknown", "index", "retain")},
    **{name: f"[thresholds] {name}" for name in ("false_match_rate", "threshold", "new_below")},
    **{name: f"[guards] {name}" for name in ("most_new", "least_quality")},
    **{name: f"[outputs] {name}" for name in OF_OUTPUTS},
    "watch": "[[watch]]",
    "gallery": "[gallery] file",
    "out": "[outputs] folder",
    "metrics": "[metrics] listen",
    "metrics_host": "[metrics] hosts",
    "fleet": "[fleet]",
}
"""How the file calls what has another name, or is in a table."""


class Requests:
    """What a signal's handler may ask for: any number of requests become one reload."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()  # the only one that a handler may put into

    def add(self) -> None:
        """Ask for a reload."""
        self._queue.put(None)

    def taken(self, seconds: float) -> bool:
        """Wait for requests, and take all there are; False where there was none."""
        try:
            self._queue.get(timeout=seconds)
        except queue.Empty:
            return False
        while not self._queue.empty():
            self._queue.get()
        return True


class Reloader:
    """Reads the file at each request, in a thread of its own, so that the cameras never wait for one that is connected to.

    A file with a fault changes nothing, and the log has the sentence. A camera whose table is as it was keeps its connection,
    its tracks and its detector; one with other zones, masks or least box too; with another detector or rate it keeps its
    connection; with another address it is opened anew. Used as a context; leaving it closes the cameras that it opened.
    """

    def __init__(
        self,
        opened: OpenSite,
        run: Run,
        requests: Requests,
        read: Callable[[], Site],
        taken: Callable[[Site], None] = lambda site: None,
    ) -> None:
        """`read` gives the site of now, and raises Refused; `opened` is the site that `run` began with; `taken` gets the site each
        time that the run goes on with other parts of it."""
        self._run, self._requests, self._read, self._on_taken = run, requests, read, taken
        self._began = self._taken = opened.site
        self._topology = opened.topology
        self._settings = _by_name(opened.site)
        self._parts = {each.source.camera: each for each in opened.cameras}
        self._own: list[Source] = []  # opened here
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)

    def __enter__(self) -> "Reloader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        for source in self._own:
            source.close()

    def _work(self) -> None:
        while not self._over.is_set():
            if self._requests.taken(0.2):
                try:
                    self._reload()
                except (Refused, OSError) as error:
                    _LOG.warning("the run goes on as it was, for its file was not taken: %s", error)

    def _reload(self) -> None:
        """Read the file and let the run go on with it. Raises Refused before anything has changed."""
        site = self._read()
        settings = _by_name(site)
        topology = open_topology(site, list(settings))
        parts = self._opened(settings, site.threads)
        if not self._run.change(list(parts.values())):
            return
        self._topology.become(topology)
        for name, before in self._parts.items():
            if name not in parts or parts[name].source is not before.source:
                before.source.close()
                self._own = [source for source in self._own if source is not before.source]
        said = _changes(self._taken, site)
        self._taken, self._settings, self._parts = site, settings, parts
        self._on_taken(replace(self._began, **{name: getattr(site, name) for name in UNDER_WAY}))
        _LOG.warning("the site's file was read again: %s", said)
        if waiting := _waiting(self._began, site):
            _LOG.warning("%s changed, which needs a restart of the run; until then it is as it was", ", ".join(waiting))

    def _opened(self, settings: Mapping[str, CameraSettings], threads: int) -> dict[str, CameraParts]:
        """The parts of each camera: what it had, as far as that is as it was, and the rest opened. Raises Refused."""
        had = {detector_key(each): self._parts[name].detector for name, each in self._settings.items()}
        detectors = open_detectors(list(settings.values()), threads, had)
        kept = {name: self._parts[name] for name, each in settings.items() if self._is_kept(name, each)}
        new = {name: each for name, each in settings.items() if name not in kept}
        opened = open_sources([each.source for each in new.values()], among=list(kept))
        self._own += opened
        sources = {name: camera.source for name, camera in kept.items()} | dict(zip(new, opened, strict=True))
        parts = {}
        for name, each in settings.items():
            source = sources[name] if name in kept and not sources[name].live else limited(sources[name], each.rate)
            parts[name] = CameraParts(source, detectors[detector_key(each)], each.regions, each.keep)
        return parts

    def _is_kept(self, name: str, now: CameraSettings) -> bool:
        """Whether a camera goes on with the source that it has."""
        before = self._settings.get(name)
        if before is None or before.source != now.source:
            return False
        return self._parts[name].source.live or before.rate == now.rate  # a file's rate is the source's own


def _by_name(site: Site) -> dict[str, CameraSettings]:
    return {address_of(each.source).camera: each for each in site.cameras}


def _changes(had: Site, site: Site) -> str:
    """What has become of the cameras, in words."""
    before, now = _by_name(had), _by_name(site)
    groups: Sequence[tuple[str, list[str]]] = (
        ("added", [name for name in now if name not in before]),
        ("removed", [name for name in before if name not in now]),
        ("changed", [name for name in now if name in before and now[name] != before[name]]),
    )
    same = sum(name in before and now[name] == before[name] for name in now)
    words = [f"{word} {', '.join(names)}" for word, names in groups if names]
    if had.topology != site.topology or isinstance(site.topology, Path):  # a file may have changed
        words.append(
            "other ways between cameras" if had.topology != site.topology else "ways between cameras read again"
        )
    return "; ".join([*words, f"{same} cameras go on as they were"])


def _waiting(began: Site, now: Site) -> list[str]:
    """What is another one than the run began with and is not taken over, as the file calls it."""
    names = [each.name for each in fields(Site) if each.name not in UNDER_WAY]
    return [KEYS.get(name, name) for name in names if getattr(began, name) != getattr(now, name)]
