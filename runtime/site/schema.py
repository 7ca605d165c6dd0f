"""The form of `site.toml`. Its defaults are those of the command line; docs/site.md explains it, docs/site.schema.json is it."""

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from vreid.models.errors import MOST_THREADS, Refused
from vreid.runtime.amounts import bytes_of, duration_of
from vreid.runtime.camera_names import camera_name, nfc, valid_text
from vreid.runtime.regions import fault_of
from vreid.runtime.session import CameraSettings, Keep, RunSettings
from vreid.runtime.topology import Layout
from vreid.runtime.watches import Watch
from vreid.runtime.watches import fault_of as fault_of_watch

FOR_EVER = "off"  # of `retain`, as in `vreid gallery retain`
TEXT, TABLE = "<text>", "<table>"  # parts of an error's place where either may stand


def _kind(value: object) -> str:
    return TABLE if isinstance(value, dict | BaseModel) else TEXT


def _refusing(check: Callable[[str], object]) -> AfterValidator:
    """A text that `check` takes; its Refused becomes the error."""

    def checked(text: str) -> str:
        try:
            check(text)
        except Refused as refused:
            raise ValueError(str(refused)) from refused
        return text

    return AfterValidator(checked)


def _simple(corners: list[list[float]]) -> list[list[float]]:
    if (fault := fault_of(corners)) is not None:
        raise ValueError(fault)
    return corners


def _plain(text: str) -> str:
    if not text.strip() or not valid_text(text):
        raise ValueError("is not a line of text")
    return text


Text = Annotated[str, AfterValidator(_plain)]
Share = Annotated[
    float, Field(ge=0, le=1, description="Of the picture's width or height, from its left or upper edge.")
]
Cosine = Annotated[float, Field(ge=-1, le=1)]
Point = Annotated[list[Share], Field(min_length=2, max_length=2, description="x, y.")]
Corners = Annotated[list[Point], AfterValidator(_simple)]
Areas = dict[Text, Corners]
Span = Annotated[str, _refusing(lambda text: text == FOR_EVER or duration_of(text))]


class Table(BaseModel):
    """A table of the file: no key but its own, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class CameraDefaults(Table):
    """What all cameras have that say nothing else."""

    detector: Text = Field(CameraSettings.detector, description="As --detector takes it: model:FILE?tiles=2, motion.")
    min_score: float | None = Field(
        CameraSettings.min_score, ge=0, le=1, description="Least detector score; the detector's own by default."
    )
    rate: float | None = Field(
        CameraSettings.rate, gt=0, le=1000, description="Frames a second, at most; all by default."
    )
    least_box: float = Field(
        0.0, ge=0, le=100_000, description="Pixels of a box's shorter side from which a vehicle is detected."
    )
    keep: Keep = Field(CameraSettings.keep, description="What is kept of each sighting: none, crop, frame, clip.")


class CameraTable(CameraDefaults):
    """One camera; it needs `uri` or `uri_file`."""

    uri: Text | None = Field(None, description="Its address; ${NAME} and ${file:PATH} stand for secrets.")
    uri_file: Text | None = Field(None, description="A file that holds the address, one line.")
    zones: Areas = Field({}, description="Named polygons; a sighting lists those that its track crossed.")
    masks: Areas = Field({}, description="Named polygons in which nothing is detected.")

    @model_validator(mode="after")
    def _one_address(self) -> "CameraTable":
        if (self.uri is None) == (self.uri_file is None):
            raise ValueError("needs one of uri and uri_file" if self.uri is None else "has both uri and uri_file")
        return self


class GalleryTable(Table):
    """The gallery, and what becomes of it."""

    file: Text | None = Field(
        None,
        description="Its file, or postgresql:// address; may be left out with enrol_unknown, for one run only.",
    )
    enrol_unknown: bool = Field(RunSettings.enrol_unknown, description="Give every unknown vehicle a new id.")
    index: Text = Field(
        RunSettings.index, description="How it is searched: flat, hnsw, ivf, ivfpq, gpu, pgvector, milvus:HOST:PORT."
    )
    retain: Span | None = Field(None, description="How long sightings are kept: 30d, 12h, off; as it is by default.")

    @model_validator(mode="after")
    def _is_of_use(self) -> "GalleryTable":
        if not (self.enrol_unknown or self.file):
            raise ValueError("needs a file to search, or enrol_unknown = true to begin an empty gallery")
        if self.retain is not None and not (self.enrol_unknown and self.file):
            raise ValueError("has retain, which needs a file and enrol_unknown = true; else the gallery is only read")
        return self


class ThresholdTable(Table):
    """Who is known and who is new (docs/operations.md)."""

    false_match_rate: float = Field(
        RunSettings.false_match_rate, gt=0, lt=1, description="Share of new vehicles that may get another one's id."
    )
    threshold: Cosine | None = Field(
        RunSettings.threshold, description="One cosine for all cameras; this site's, which is learnt, by default."
    )
    new_below: Cosine | None = Field(
        RunSettings.new_below, description="New only below this cosine, unknown up to the threshold."
    )


class GuardTable(Table):
    """Which unknown vehicles are not enrolled (docs/operations.md)."""

    most_new: int = Field(
        RunSettings.most_new,
        ge=0,
        description="New vehicles of one camera in 10 s that are never an alarm; 0: no alarms.",
    )
    least_quality: float = Field(
        RunSettings.least_quality, ge=0, le=1, description="Of the best crop of a vehicle that is enrolled."
    )


class WatchTable(Table):
    """What outputs get an alert of: all that it names must hold (docs/outputs.md)."""

    name: Text | None = Field(None, description="What alerts call it.")
    vehicle: Text | None = Field(None, description="Its name in the gallery, with * and ?, or id=ID.")
    kind: Text | None = Field(None, description="car, truck, bus, motorcycle or vehicle.")
    plate: Text | None = Field(None, description="A licence plate, with * and ?; needs `plates`.")
    cameras: list[Text] = Field([], description="Names of cameras; any by default.")

    @model_validator(mode="after")
    def _says_something(self) -> "WatchTable":
        if (fault := fault_of_watch(self.watch)) is not None:
            raise ValueError(fault)
        return self

    @property
    def watch(self) -> Watch:
        """The same without its form."""
        return Watch(self.name, self.vehicle, self.kind, self.plate, tuple(map(nfc, self.cameras)))


class Secret(Table):
    """An address that a file holds."""

    uri_file: Text = Field(description="A file that holds the address, one line.")


AddressOrFile = Annotated[Annotated[Text, Tag(TEXT)] | Annotated[Secret, Tag(TABLE)], Discriminator(_kind)]


class OutputTable(Table):
    """Where sightings go."""

    folder: Text = Field(description="For sightings.jsonl, report.html and report.json.")
    annotate: bool = Field(RunSettings.annotate, description="Also write videos, live pictures, with boxes and ids.")
    events: bool = Field(RunSettings.events, description="Also write events.jsonl: tracks while they are in view.")
    stationary_after: float = Field(
        RunSettings.stationary_after, gt=0, description="Seconds in one place after which a vehicle counts as parked."
    )
    stationary_every: float = Field(
        RunSettings.stationary_every, gt=0, description="Seconds after which events say again that it still is."
    )
    keep_for: Annotated[str, _refusing(duration_of)] | None = Field(
        RunSettings.keep_for, description="How long kept pictures are kept: 30d, 12h; as sightings are by default."
    )
    keep_most: Annotated[str, _refusing(bytes_of)] = Field(
        RunSettings.keep_most, description="Size of all kept pictures, 500MB, 10GB; beyond it the oldest are removed."
    )
    to: list[AddressOrFile] = Field(
        [], description="mqtt://host/topic, https://host/path; as --to takes them, or { uri_file = PATH }."
    )


Listening = Annotated[
    Text,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    WithJsonSchema({"type": ["integer", "string"]}),
]


class MetricsTable(Table):
    """Where /metrics, /healthz, /livez and /readyz are served."""

    listen: Listening = Field(description="[HOST:]PORT.")
    hosts: list[Text] = Field([], description="Names in the header Host that are served too.")


class FleetTable(Table):
    """The centre that this box sends its sightings to (docs/fleet.md)."""

    box: Text = Field(max_length=64, description="The name of this box, unlike that of any other box of the centre.")
    region: Text = Field(max_length=64, description="The name of the region that its cameras are in.")
    server: Text = Field(description="nats://HOST:PORT or tls://HOST:PORT; ${NAME} and ${file:PATH} stand for secrets.")
    credentials: Text | None = Field(None, description="The file of the account at the server, .creds.")
    ca: Text | None = Field(None, description="Certificates that the server's is signed by; the system's by default.")
    room: Annotated[str, _refusing(bytes_of)] = Field(
        "2GB", description="Size of what waits while the centre is away; beyond it the oldest pictures are not sent."
    )

    @model_validator(mode="after")
    def _is_a_server(self) -> "FleetTable":
        if self.server.partition("://")[0] not in ("nats", "tls"):
            raise ValueError("has a server that is neither nats://HOST:PORT nor tls://HOST:PORT")
        return self


LayoutOrFile = Annotated[Annotated[Text, Tag(TEXT)] | Annotated[Layout, Tag(TABLE)], Discriminator(_kind)]


class SiteFile(Table):
    """The whole file."""

    model: Text = Field(str(RunSettings.model), description="Manifest .json, or the name of a bundled model.")
    threads: int = Field(RunSettings.threads, ge=1, le=MOST_THREADS, description="CPU threads of detectors and engine.")
    embed: Literal["smart", "every"] = Field(RunSettings.embed, description="Which crops are embedded.")
    plates: Text | None = Field(RunSettings.plates, description="module:function of yours that reads plates.")
    strict: bool = Field(RunSettings.strict, description="Refuse a video that is damaged (files only).")
    gallery: GalleryTable
    thresholds: ThresholdTable = ThresholdTable.model_validate({})
    guards: GuardTable = GuardTable.model_validate({})
    watch: list[WatchTable] = Field([], description="The watch list.")
    outputs: OutputTable
    metrics: MetricsTable | None = None
    fleet: FleetTable | None = None
    topology: LayoutOrFile | None = Field(
        None, description="Ways between cameras: a file, or the same as a table (docs/operations.md)."
    )
    defaults: CameraDefaults = CameraDefaults.model_validate({})
    camera: dict[Annotated[str, _refusing(camera_name)], CameraTable] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_what_to_send(self) -> "SiteFile":
        if self.fleet is not None and not (self.gallery.file and self.gallery.enrol_unknown):
            raise ValueError(
                "has [fleet], which needs [gallery] file and enrol_unknown = true; nothing is written otherwise"
            )
        if self.fleet is not None and "://" in (self.gallery.file or ""):
            raise ValueError("has [fleet], which needs a gallery in a file; one in a database has no outbox")
        return self
