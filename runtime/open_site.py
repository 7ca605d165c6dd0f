"""What a site names, opened and checked before anything is written: model, cameras, detectors, topology; and its gallery."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from vreid.models.errors import Refused
from vreid.runtime.amounts import bytes_of, duration_of
from vreid.runtime.camera_pipeline import EMBEDDING
from vreid.runtime.detectors.table import Detector, open_detector
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import Gallery, open_gallery
from vreid.runtime.gallery.opening import begun_gallery
from vreid.runtime.gallery.records import is_moment
from vreid.runtime.gallery_place import GalleryPlace
from vreid.runtime.guards import USUAL_ARRIVALS, GuardRules, Guards
from vreid.runtime.identify import Identifier
from vreid.runtime.kept.keeper import KeepLimits
from vreid.runtime.pipeline import Parts
from vreid.runtime.plates import PlateReader, no_plate, plate_reader
from vreid.runtime.recent_positions import REMEMBERED_S
from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.sinks.table import Sink
from vreid.runtime.site_threshold import SiteThreshold
from vreid.runtime.sources.rate import limited
from vreid.runtime.sources.table import open_sources
from vreid.runtime.standing import StandingRules
from vreid.runtime.threshold import FixedThreshold, Threshold
from vreid.runtime.topology import Layout, Topology, read_topology, topology_of
from vreid.runtime.watched_cameras import CameraParts


@dataclass(frozen=True)
class OpenSite:
    """What a site names, open and checked; nothing was written so far. `live` are the names of the live cameras."""

    site: Site
    embedder: Embedder
    cameras: Sequence[CameraParts]
    live: Sequence[str]
    began: float | None  # seconds since 1970
    topology: Topology
    plate: PlateReader
    keep: KeepLimits
    guards: Guards

    def gallery(self) -> AbstractContextManager[Gallery]:
        """The site's gallery, see `_gallery_of_run`. Raises Refused before anything is written."""
        manifest = self.embedder.manifest
        opening = partial(
            open_gallery, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name,
            index=self.site.index,
        )  # fmt: skip
        return _gallery_of_run(opening, self.site.gallery, self.site.enrol_unknown, bool(self.live))

    def identifier(self, gallery: Gallery) -> Identifier:
        """The identifier of this run; of a live one it knows where the vehicles of `gallery` were lately."""
        name = "" if self.site.out is None else self.site.out.name
        found = Identifier(
            gallery, self._threshold(gallery), self.site.enrol_unknown,
            run=name, new_below=self.site.new_below, topology=self.topology, withhold=self.guards.why_withheld,
        )  # fmt: skip
        if self.live:
            found.recall(time.time() - REMEMBERED_S)
        with gallery.reading() as store:
            usual = store.setting(USUAL_ARRIVALS)
        self.guards.recall(usual, partial(_keep_usual, gallery) if gallery.writable else None)
        return found

    def _threshold(self, gallery: Gallery) -> Threshold:
        """The one that is given, or this site's, with what `gallery` has kept of it."""
        if self.site.threshold is not None:
            return FixedThreshold(self.site.threshold)
        kept, rate = gallery.site_threshold(), self.site.false_match_rate
        return SiteThreshold(self.embedder.match, rate, self.topology, kept, gallery.about.dim)

    def parts(
        self,
        identifier: Identifier,
        sinks: Sequence[Sink],
        stop: threading.Event,
        progress: Callable[[int], None] = lambda frames: None,
    ) -> Parts:
        """The parts of a run of this site, which `stop` ends."""
        site = self.site

        def maintain() -> None:
            identifier.maintain()
            self.guards.keep()

        return Parts(
            self.cameras, self.embedder, identifier, sinks, EMBEDDING[site.embed], stop, progress,
            began=self.began, strict=site.strict, plate=self.plate, idle=maintain,
            standing=StandingRules(site.stationary_after, min(3600.0, site.stationary_every)),
            sign_of_life=site.stationary_every, guards=self.guards,
        )  # fmt: skip


def _keep_usual(gallery: Gallery, text: str) -> None:
    with gallery.transaction() as store:
        store.set_setting(USUAL_ARRIVALS, text)


@contextmanager
def _gallery_of_run(
    opening: Callable[..., Gallery], place: GalleryPlace | None, enrol: bool, live: bool
) -> Iterator[Gallery]:
    """The run's gallery. A finite run's writing is one transaction, and a new gallery of it appears when it is done.

    Without a `place` it lasts for the run. Raises Refused where there is neither a gallery to search nor one to begin.
    """
    if place is None and not enrol:
        raise Refused("a run needs a --gallery to search, or --enrol-unknown to begin an empty one")
    if place is None:
        with tempfile.TemporaryDirectory() as folder, opening(Path(folder) / "run.db", write=True) as gallery:
            yield gallery
    elif live or not enrol:
        with opening(place, write=enrol) as gallery:
            yield gallery
    else:
        with begun_gallery(place, opening) as gallery, gallery.transaction():
            yield gallery


@contextmanager
def opened_site(site: Site, embedder: Embedder | None = None) -> Iterator[OpenSite]:
    """Open the model (unless `embedder` is given), the detectors and the sources of `site`, and check the rest.

    Raises Refused for whatever does not fit, before anything is written.
    """
    if not site.cameras:
        raise Refused("there is nothing to watch; name at least one source, such as cam1.mp4 or rtsp://gate-1/")
    began = _seconds(site.began)
    with ExitStack() as opened:
        embedder = embedder or open_embedder(site.model, site.threads)
        detectors = open_detectors(site.cameras, site.threads)
        cameras = []
        for settings, source in zip(site.cameras, open_sources([each.source for each in site.cameras]), strict=True):
            opened.callback(source.close)
            cameras.append(
                CameraParts(
                    limited(source, settings.rate), detectors[detector_key(settings)], settings.regions, settings.keep
                )
            )
        live = [camera.source.camera for camera in cameras if camera.source.live]
        if live and site.truth:
            raise Refused(f"--truth needs files, and {', '.join(live)} is live; record it, or leave --truth out")
        _check_numbers(site)
        guards = Guards(GuardRules(site.most_new, site.least_quality))
        topology = open_topology(site, [camera.source.camera for camera in cameras])
        plate = no_plate if site.plates is None else plate_reader(site.plates)
        limits = KeepLimits(bytes_of(site.keep_most), None if site.keep_for is None else duration_of(site.keep_for))
        yield OpenSite(site, embedder, cameras, live, began, topology, plate, limits, guards)


def _check_numbers(site: Site) -> None:
    """Before a live run makes its gallery. Raises Refused."""
    threshold = site.threshold
    if threshold is not None and not -1 <= threshold <= 1:
        raise Refused(f"a threshold is a cosine from -1 to 1, not {threshold}; leave --threshold out for this site's")
    if not 0 < site.false_match_rate < 1:
        raise Refused(f"a false-match rate of {site.false_match_rate} is not between 0 and 1; write 0.05")
    if not (site.stationary_after > 0 and site.stationary_every > 0):
        raise Refused("--stationary-after and --stationary-every are seconds above 0; write 60 and 21600")
    if site.most_new < 0 or not 0 <= site.least_quality <= 1:
        raise Refused("--most-new is a number of vehicles from 0 on, and --least-quality lies between 0 and 1")


DetectorKey = tuple[str, float | None]


def detector_key(camera: CameraSettings) -> DetectorKey:
    """Cameras of one key have one detector."""
    return camera.detector, camera.min_score


def open_detectors(
    cameras: Sequence[CameraSettings], threads: int, opened: Mapping[DetectorKey, Detector] | None = None
) -> dict[DetectorKey, Detector]:
    """The detectors of these cameras by their address and least score; those of `opened` are used again. Raises Refused."""
    found = dict(opened or {})
    for camera in cameras:
        if detector_key(camera) not in found:
            found[detector_key(camera)] = open_detector(camera.detector, threads=threads, min_score=camera.min_score)
    return {key: found[key] for key in map(detector_key, cameras)}


def open_topology(site: Site, cameras: Sequence[str]) -> Topology:
    """The ways between these cameras. Raises Refused."""
    if isinstance(site.topology, Layout):
        return topology_of(site.topology, cameras, "[topology]")
    return Topology() if site.topology is None else read_topology(site.topology, cameras)


def _seconds(began: datetime | None) -> float | None:
    """Seconds since 1970. Raises Refused for a time that no gallery takes."""
    if began is None:
        return None
    try:
        seconds = began.timestamp()
    except (OverflowError, ValueError, OSError):
        seconds = -1.0
    if not is_moment(seconds):
        raise Refused(f"--began {began.isoformat()} is not between 1970 and 2286; write it like 2026-11-22T08:00+01:00")
    return seconds
