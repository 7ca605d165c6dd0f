"""What a run is to do: a `Session` by the flags of `vreid run` and by `vreid.track`, which is a small site; a `Site` by a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vreid.runtime.gallery_place import GalleryPlace

if TYPE_CHECKING:
    from vreid.runtime.topology import Layout
    from vreid.runtime.watches import Watch

Keep = Literal["none", "crop", "frame", "clip"]
Polygon = tuple[tuple[float, float], ...]  # x to the right and y down, in shares of the picture


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What holds for a run as a whole. It is checked where the run is set up (`vreid.runtime.run`)."""

    out: Path | None = None
    """Folder for sightings.jsonl, mot/<camera>.txt, report.html and report.json."""
    model: str | Path = "vreid-s"
    """Manifest .json, or the name of a bundled model."""
    gallery: GalleryPlace | None = None
    """Gallery file or postgresql:// address; with --enrol-unknown it is made when missing, and may be left out for one run only."""
    enrol_unknown: bool = False
    """Give every unknown vehicle a new id in the gallery."""
    threshold: float | None = None
    """One score for all cameras from which a vehicle is known; by default this site's, learnt by pair of cameras."""
    false_match_rate: float = 0.05
    """Share of new vehicles that may get the id of another one; this site's threshold is set for it."""
    truth: Path | None = None
    """Folder of ground truth (gt_<camera>.txt, MOT text): the run prints its IDF1."""
    annotate: bool = False
    """Also write boxes and ids into pictures: of files video/<camera>.mp4, live picture/<camera>.jpg, the newest."""
    events: bool = False
    """Also write events.jsonl: every track as it appears, is identified, provisionally while it is in view, and leaves."""
    stationary_after: float = 60.0
    """Seconds in one place after which a vehicle counts as parked (docs/in_view.md)."""
    stationary_every: float = 21600.0
    """Seconds after which events say again that it still is."""
    keep_for: str | None = None
    """How long kept pictures are kept: 30d, 12h; by default as long as the gallery keeps sightings."""
    keep_most: str = "10GB"
    """Size that all kept pictures may have; beyond it the oldest are removed."""
    embed: Literal["smart", "every"] = "smart"
    """Which crops are embedded: those that add something, or every one."""
    index: str = "flat"
    """How the gallery is searched: flat (exact), hnsw, ivf, ivfpq, gpu; in PostgreSQL pgvector or milvus:HOST:PORT, too."""
    new_below: float | None = None
    """A vehicle is new below this score, known from the threshold on, and left unknown between; the threshold by default."""
    most_new: int = 20
    """New vehicles of one camera in 10 s beyond which an alarm may begin; nobody is enrolled in one; 0: no alarms."""
    least_quality: float = 0.07
    """Quality from 0 to 1 that the best crop of an unknown vehicle needs for it to be enrolled."""
    plates: str | None = None
    """module:function of yours that reads a licence plate off a crop; a plate decides before looks do."""
    to: Sequence[str] = field(default=(), repr=False)
    """Outputs for each sighting besides the folder: mqtt://host/topic, http://host/path; may be repeated."""
    metrics: str | None = None
    """[HOST:]PORT where /metrics (Prometheus), /healthz, /livez and /readyz are served."""
    metrics_host: Sequence[str] = ()
    """A name in the header Host that is served too, besides IP addresses and localhost; may be repeated."""
    began: datetime | None = None
    """When the files' first frames were taken, such as 2026-11-22T08:00+01:00; now by default."""
    strict: bool = False
    """Refuse a video that breaks off or is damaged; by default what is there is kept, with a warning in the report."""
    threads: int = 1
    """CPU threads of detector and engine."""


@dataclass(frozen=True)
class Regions:
    """Named parts of a camera's picture: zones that tracks cross, masks in which nothing is detected; and the least box, in
    pixels of its shorter side, that is detected (runtime/regions.py)."""

    zones: Mapping[str, Polygon] = field(default_factory=dict)
    masks: Mapping[str, Polygon] = field(default_factory=dict)
    least_box: float = 0.0


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """One camera of a site: where its frames come from, what finds vehicles in them, and where in the picture."""

    source: str = field(repr=False)  # [name=]URI; it may hold a password
    detector: str = "motion"
    min_score: float | None = None  # None: the detector's own
    rate: float | None = None  # frames a second, at most; None: all
    keep: Keep = "none"
    regions: Regions = field(default_factory=Regions)


@dataclass(frozen=True, kw_only=True)
class Session(RunSettings):
    """The flags of `vreid run`: all cameras have one detector."""

    sources: Sequence[str] = field(repr=False)  # they may hold passwords, as `to` may
    """[name=]URI each: a.mp4, dir/, img_%04d.jpg, 0, /dev/video0, csi://0, gst:..., rtsp://, rtmp://, http://, udp://, synth://city?camera=1.

    ${NAME} and ${file:PATH} in an address stand for an environment variable and a file's content (docs/operations.md)."""
    detector: str = CameraSettings.detector
    """model:FILE[?tiles=2], motion, or replay:PATH (a MOT file, or a folder of <camera>.txt); docs/detectors.md."""
    min_score: float | None = CameraSettings.min_score
    """Least detector score; the detector's own by default."""
    keep: Keep = CameraSettings.keep
    """What is kept of each sighting as a file: its best crop, the whole frame, a clip of some seconds (docs/kept_pictures.md)."""
    watch: Sequence[str] = ()
    """Send alerts of vehicle=NAME, kind=truck or plate=B-XY*; all with commas between must hold; may be repeated."""
    topology: Path | None = None
    """cameras.toml: how long vehicles take from camera to camera (docs/operations.md)."""


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """The centre that a box sends its sightings to (docs/fleet.md)."""

    box: str  # the name of this box, unlike that of any other
    region: str
    server: str = field(repr=False)  # it may hold a password
    credentials: Path | None = None  # a file of the server's account, as nsc writes it
    ca: Path | None = None  # certificates that the server's is signed by; None: the system's
    room: int = 2 * 10**9  # bytes that wait at most


@dataclass(frozen=True, kw_only=True)
class Site(RunSettings):
    """A whole run: every camera with its own settings, the way between them, and how long sightings are kept.

    `retain` is in seconds, inf for ever, None as the gallery has it.
    """

    cameras: Sequence[CameraSettings]
    topology: "Path | Layout | None" = None
    retain: float | None = None
    watch: "Sequence[Watch]" = ()
    fleet: FleetSettings | None = None


def site_of(session: Session) -> Site:
    """The site of a short command line: its detector for every camera, nothing left out of any picture."""
    common = {each.name: getattr(session, each.name) for each in fields(RunSettings)}
    cameras = tuple(
        CameraSettings(source=source, detector=session.detector, min_score=session.min_score, keep=session.keep)
        for source in session.sources
    )
    from vreid.runtime.watches import watch_of

    watch = tuple(watch_of(text) for text in session.watch)
    return Site(**common, cameras=cameras, topology=session.topology, watch=watch)
