"""A site checked before it runs: what it names is there and fits together; each fault is a sentence."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from vreid.models.errors import NotFound, Refused
from vreid.models.seam import open_seam
from vreid.runtime.camera_names import stranger_text
from vreid.runtime.detectors.table import Detector, open_detector
from vreid.runtime.embedder import Embedder, open_embedder
from vreid.runtime.gallery import Gallery, open_gallery, read_gallery
from vreid.runtime.gallery_place import may_be_there, path_of
from vreid.runtime.plates import plate_reader
from vreid.runtime.session import CameraSettings, Site
from vreid.runtime.sinks.table import open_outputs
from vreid.runtime.sources.table import address_of, open_source
from vreid.runtime.topology import Layout, read_layout, topology_of
from vreid.runtime.watches import missing_kinds

_AT_ONCE = 32  # cameras that are connected to side by side
Given = TypeVar("Given")


@dataclass
class Findings:
    """What a check has found: a sentence for each fault, and of each camera that was opened (width, height, frames a second),
    the rate 0 if unknown."""

    faults: list[str] = field(default_factory=list)
    cameras: dict[str, tuple[int, int, float]] = field(default_factory=dict)

    def tried(self, step: Callable[[], Given], where: str = "") -> Given | None:
        """What the step gives; None where it refuses, which becomes a fault."""
        try:
            return step()
        except Refused as refused:
            self.faults.append(f"{where}: {refused}" if where else str(refused))
            return None


def check_site(site: Site, connect: bool = False) -> Findings:
    """Everything that can be found of a site without running it; with `connect` each live camera is opened for one frame."""
    found = Findings()
    embedder = found.tried(lambda: open_embedder(site.model, site.threads), "model")
    if embedder is not None:
        _check_gallery(site, embedder, found)
    elif site.gallery is not None and (may_be_there(site.gallery) or not site.enrol_unknown):
        _try_gallery(site, found, partial(read_gallery, site.gallery))
    names = [address_of(camera.source).camera for camera in site.cameras]
    for camera in sorted({name for name in names if names.count(name) > 1}):
        found.faults.append(f"two cameras are called '{camera}' in Unicode's NFC; give each its own name")
    _check_detectors(site, found)
    _check_topology(site, names, found)
    _check_outputs(site, found)
    if site.plates is not None:
        plates = site.plates
        found.tried(lambda: plate_reader(plates), "plates")
    _check_sources(site, connect, found)
    return found


def _check_gallery(site: Site, embedder: Embedder, found: Findings) -> None:
    """It is there or may be begun, and is of this model; `new_below` suits the threshold."""
    manifest, path = embedder.manifest, site.gallery
    prior = embedder.threshold if site.threshold is None else site.threshold
    if site.new_below is not None and site.new_below > prior:
        found.faults.append(f"[thresholds]: new_below {site.new_below:g} is over the threshold {prior:g}; lower it")
    if path is None:
        return
    if may_be_there(path) or not site.enrol_unknown:
        opening = partial(
            open_gallery, path, fingerprint=manifest.fingerprint, dim=manifest.output.dim, model=manifest.name,
            write=False, index=site.index,
        )  # fmt: skip
        _try_gallery(site, found, opening)
    elif not (folder := path_of(path).parent).is_dir():
        found.faults.append(f"[gallery]: there is no folder {folder} for {path_of(path).name}; make it")


def _try_gallery(site: Site, found: Findings, opening: Callable[[], Gallery]) -> None:
    """It opens; one in a database may be missing where the run would begin it."""

    def opens() -> None:
        with suppress(*([NotFound] if site.enrol_unknown else [])):
            opening().close()

    found.tried(opens, "[gallery]")


def _check_detectors(site: Site, found: Findings) -> None:
    """Each one opens, those that several cameras have once; and they tell the kinds that are watched for."""
    kinds: dict[str, frozenset[int] | None] = {}
    users: dict[tuple[str, float | None], list[str]] = {}
    for camera in site.cameras:
        users.setdefault((camera.detector, camera.min_score), []).append(address_of(camera.source).camera)
    for (text, score), names in users.items():

        def opened(text: str = text, score: float | None = score) -> Detector:
            return open_detector(text, threads=site.threads, min_score=score)

        detector = found.tried(opened, f"detector of {', '.join(names)}")
        kinds |= dict.fromkeys(names, None if detector is None else detector.kinds)
    found.faults += missing_kinds(site.watch, kinds)


def _check_topology(site: Site, names: list[str], found: Findings) -> None:
    """It can be read and names cameras that exist."""
    layout, where = site.topology, "[topology]"
    if layout is not None and not isinstance(layout, Layout):
        path, where = layout, f"the topology {layout}"
        layout = found.tried(lambda: read_layout(path))
    if layout is None:
        return
    strangers = {name for pair in layout.pair for name in pair.cameras} - set(names)
    for name in sorted(strangers):
        found.faults.append(stranger_text(name, names, where))
    rest = [pair for pair in layout.pair if strangers.isdisjoint(pair.cameras)]
    if rest or not strangers:
        known = layout.model_copy(update={"pair": tuple(rest)})
        found.tried(lambda: topology_of(known, names, where))


def _check_outputs(site: Site, found: Findings) -> None:
    """The folder is one, addresses can be read, and what they need is installed."""
    if site.out is not None and site.out.exists() and not site.out.is_dir():
        found.faults.append(f"[outputs]: {site.out} is a file; name a folder")
    for each in site.to:
        for output in found.tried(lambda each=each: open_outputs([each]), "[outputs]") or ():  # type: ignore[misc]
            output.close({})
    if site.metrics is not None:
        listen = site.metrics
        of = found.tried(
            lambda: open_seam("table", {"metrics": "vreid.runtime.monitor:host_and_port"}, "metrics", "live"),
            "[metrics]",
        )
        if of is not None:
            found.tried(lambda: of(listen), "[metrics]")


def _check_sources(site: Site, connect: bool, found: Findings) -> None:
    """Files are opened, and with `connect` cameras too, side by side."""
    wanted = [camera for camera in site.cameras if connect or not address_of(camera.source).live]

    def looked(camera: CameraSettings) -> tuple[str, Any]:
        name = address_of(camera.source).camera
        try:
            with closing(open_source(camera.source)) as source:
                return name, (*source.size, source.frame_rate)
        except Refused as refused:
            return name, refused

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="check") as pool:
        for name, seen in pool.map(looked, wanted):
            if isinstance(seen, Refused):
                found.faults.append(f"camera {name}: {seen}")
            else:
                found.cameras[name] = seen
