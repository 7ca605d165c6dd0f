"""`centre.toml`: its form, and the file read; docs/fleet.md explains it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, model_validator

from vreid.fleet.subjects import IDENTITY
from vreid.models.errors import Refused
from vreid.models.manifest import Match, read_model
from vreid.models.zoo import manifest_path
from vreid.runtime.amounts import duration_of
from vreid.runtime.embedder import match_of
from vreid.runtime.gallery.records import About
from vreid.runtime.gallery_place import DatabaseAddress
from vreid.runtime.session import RunSettings
from vreid.runtime.site.form import FormReading, read_table, sentence_of
from vreid.runtime.site.schema import Cosine, LayoutOrFile, MetricsTable, Table, Text
from vreid.runtime.topology import Layout, Topology, read_layout, topology_of

__all__ = ["CentreFile", "CentreSettings", "RegionSettings", "Space", "read_centre"]


def _duration(text: str) -> str:
    try:
        duration_of(text)
    except Refused as refused:
        raise ValueError(str(refused)) from refused
    return text


class RegionTable(Table):
    """One region: its boxes' vehicles have one identity, in a gallery of its own."""

    name: Text = Field(max_length=64, description="The name of the region, as its boxes have it in [fleet].")
    gallery: Text = Field(description="postgresql://USER@HOST/DATABASE?gallery=NAME; ${NAME}, ${file:PATH}: secrets.")
    topology: LayoutOrFile | None = Field(
        None, description="Ways between cameras, which are called BOX/CAMERA: a file, or the same as a table."
    )
    false_match_rate: float = Field(
        RunSettings.false_match_rate, gt=0, lt=1, description="Share of new vehicles that may get another one's id."
    )
    new_below: Cosine | None = Field(None, description="New only below this cosine, unknown up to the threshold.")
    retention: Annotated[str, AfterValidator(_duration)] | None = Field(
        None, description="How long sightings are kept: 30d, 12h; as the gallery has it by default."
    )
    index: Text = Field(
        RunSettings.index,
        description="How the gallery is searched: flat, hnsw, ivf, ivfpq, gpu, pgvector, milvus:HOST:PORT.",
    )

    @model_validator(mode="after")
    def _can_be_one(self) -> "RegionTable":
        if self.name == IDENTITY:
            raise ValueError(f"has the name {IDENTITY}, which subjects of messages to boxes begin with; choose another")
        if "://" not in self.gallery:
            raise ValueError("has a gallery that is not a postgresql:// address; a centre keeps nothing in files")
        return self


class CentreFile(Table):
    """The whole file."""

    server: Text = Field(description="nats://HOST:PORT or tls://HOST:PORT; ${NAME} and ${file:PATH} stand for secrets.")
    credentials: Text | None = Field(None, description="The file of the account at the server, .creds.")
    ca: Text | None = Field(None, description="Certificates that the server's is signed by; the system's by default.")
    model: Text = Field(
        str(RunSettings.model), description="Manifest .json, or the name of a bundled model: that of the boxes."
    )
    lease_s: float = Field(15.0, ge=2, le=3600, description="Seconds after which another process may take over.")
    reconcile_s: float = Field(
        600.0,
        ge=0,
        le=604800,
        description="How often vehicles of different regions are compared, in seconds; 0: never.",
    )
    between_regions_s: float = Field(
        0.0, ge=0, le=604800, description="The least time from a sighting in one region to one in another, in seconds."
    )
    metrics: MetricsTable | None = None
    region: list[RegionTable] = Field(min_length=1, description="The regions.")

    @model_validator(mode="after")
    def _fits(self) -> "CentreFile":
        if self.server.partition("://")[0] not in ("nats", "tls"):
            raise ValueError("has a server that is neither nats://HOST:PORT nor tls://HOST:PORT")
        names = [region.name for region in self.region]
        if len(set(names)) < len(names):
            raise ValueError(f"has two regions '{max(names, key=names.count)}'; give each a name of its own")
        return self


@dataclass(frozen=True, kw_only=True)
class RegionSettings:
    """One region; `retention` in seconds, None: as the gallery has it."""

    name: str
    gallery: DatabaseAddress
    topology: Topology
    false_match_rate: float
    new_below: float | None
    retention: float | None
    index: str


@dataclass(frozen=True)
class Space:
    """The embedding space of the boxes' features, and the manifest's open-set point."""

    about: About
    match: Match


@dataclass(frozen=True, kw_only=True)
class CentreSettings:
    """What `vreid centre run` does."""

    server: str = field(repr=False)  # it may hold a password
    credentials: Path | None
    ca: Path | None
    model: str  # as `open_embedder` takes it
    space: Space
    lease_s: float
    reconcile_s: float
    between_regions_s: float
    metrics: str | None
    metrics_host: tuple[str, ...]
    regions: tuple[RegionSettings, ...]


def read_centre(path: Path, environment: Mapping[str, str]) -> CentreSettings:
    """The file at `path`, its secrets filled in; relative paths are from its own folder on.

    Raises Refused with the first of its faults, and for a model that cannot be read.
    """
    table = read_table(path, "the centre's file")
    if isinstance(table, str):
        raise Refused(table)
    try:
        form = CentreFile.model_validate(table)
    except ValidationError as error:
        first = next(iter(error.errors()))
        raise Refused(f"{path}: {_sentence(dict(first))}") from error
    reading = FormReading(path.absolute().parent, environment)
    server = reading.server(form.server, "'server'") or ""
    credentials, ca = reading.file(form.credentials, "'credentials'"), reading.file(form.ca, "'ca'")
    regions = [region for each in form.region if (region := _region(each, reading)) is not None]
    same = {region.gallery.uri + region.gallery.gallery for region in regions}
    if not reading.faults and len(same) < len(regions):
        reading.faults.append("two regions have one gallery; give each a ?gallery= of its own")
    if reading.faults:
        raise Refused(f"{path}: {reading.faults[0]}")
    model = reading.model(form.model)
    space = _space(model)
    for region in regions:
        if region.new_below is not None and region.new_below > space.match.threshold:
            over = f"new_below {region.new_below:g} is over the model's threshold {space.match.threshold:g}"
            raise Refused(f"{path}: region '{region.name}': {over}; lower it")
    return CentreSettings(
        server=server,
        credentials=credentials,
        ca=ca,
        model=model,
        space=space,
        lease_s=form.lease_s,
        reconcile_s=form.reconcile_s,
        between_regions_s=form.between_regions_s,
        metrics=None if form.metrics is None else form.metrics.listen,
        metrics_host=() if form.metrics is None else tuple(form.metrics.hosts),
        regions=tuple(regions),
    )


def _sentence(error: dict[str, object]) -> str:
    if error["loc"] == ("region",) and error["type"] in ("missing", "too_short"):
        return "the file names no region; add [[region]] with name and gallery"
    return sentence_of(error, CentreFile)


def _space(model: str) -> Space:
    manifest, _ = read_model(manifest_path(model))
    return Space(About(manifest.fingerprint, manifest.output.dim, manifest.name), match_of(manifest))


def _region(table: RegionTable, reading: FormReading) -> RegionSettings | None:
    """None where something is at fault."""
    where = f"region '{table.name}'"
    place = reading.gallery(table.gallery, where)
    topology = reading.tried(lambda: _topology(table.topology, reading), where)
    if topology is None or not isinstance(place, DatabaseAddress):
        return None
    return RegionSettings(
        name=table.name,
        gallery=place,
        topology=topology,
        false_match_rate=table.false_match_rate,
        new_below=table.new_below,
        retention=None if table.retention is None else duration_of(table.retention),
        index=table.index,
    )


def _topology(given: str | Layout | None, reading: FormReading) -> Topology:
    """Which boxes there are shows as they send, so that no camera of it is looked for. Raises Refused."""
    if given is None:
        return Topology()
    path = None if isinstance(given, Layout) else reading.path(given)
    layout = given if isinstance(given, Layout) else read_layout(reading.path(given))
    what = "'topology'" if path is None else f"the topology {path}"
    cameras = sorted({camera for pair in layout.pair for camera in pair.cameras})
    for camera in cameras:
        if "/" not in camera:
            raise Refused(f"{what} names the camera '{camera}' without its box; at a centre it is called BOX/CAMERA")
    return topology_of(layout, cameras, what)
