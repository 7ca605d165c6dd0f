"""What the API takes and gives, as its OpenAPI document describes it. Times are in seconds since 1970."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")
Name = Annotated[str, Field(min_length=1, max_length=200, examples=["white van"])]
Number = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[7])]
Camera = Annotated[str, Field(max_length=200, examples=["gate"])]
Kind = Literal["car", "truck", "bus", "motorcycle"]
ANSWERS = Literal["known", "doubtful", "unknown"]


class Document(BaseModel):
    """What the server sends."""

    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """What the server is sent: no key but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(Document):
    """An error (RFC 9457, application/problem+json); `detail` is one sentence with the fix."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no vehicle 9; 'vreid gallery list' shows all"])


class Page(Document, Generic[T]):
    """A part of a list; `next` is the cursor of the part behind it, null at the end."""

    items: list[T]
    next: str | None = Field(None, examples=["MTc2NDQ2ODAwMC4wLDQx"])


class Vehicle(Document):
    """A vehicle of the gallery."""

    id: Number
    name: str = Field(examples=["vehicle-0007"])
    named: bool = Field(description="Whether somebody named it.")
    kind: str | None = Field(examples=["car"])
    created: float
    prototypes: int = Field(description="Features that it is found by.")
    sightings: int
    cameras: list[str]
    last_at: float | None = Field(description="The end of its newest sighting.")
    last_camera: str | None


class Sighting(Document):
    """A vehicle at a camera, from `first_time` to `last_time` on the camera's own clock; `at` is its end."""

    id: int
    vehicle: int
    name: str
    camera: str
    track: int
    run: str
    at: float
    seconds: float = Field(description="How long it was in view.")
    kind: str | None
    plate: str | None
    zones: list[str]
    quality: float = Field(description="Of the best crop, 0 to 1.")
    score: float | None = Field(description="Cosine to the vehicle that it was given to; null: there was nobody.")
    picture: bool = Field(description="Whether /sightings/{id}/picture has one.")
    kept: bool = Field(False, description="Whether a larger picture or a clip was kept.")


class Change(Document):
    """A row of the audit."""

    id: int
    at: float
    who: str
    verb: str
    vehicle: int | None
    detail: dict[str, Any]
    undone: int = Field(description="The change that took it back, 0: none.")


class VehicleDetails(Document):
    """A vehicle with its newest sightings, and what was done to it."""

    vehicle: Vehicle
    sightings: list[Sighting]
    changes: list[Change]


class Threshold(Document):
    """What counted: the least cosine, where it comes from, what rate of false matches was requested."""

    value: float
    origin: str = Field(examples=["site (1200 pairs)"])
    false_match_rate: float = Field(examples=[0.05])
    pairs: int = Field(description="Pairs of strangers that it was learnt from.")


class FoundVehicle(Document):
    """A vehicle that a search found."""

    vehicle: int
    name: str
    score: float = Field(description="The best cosine, -1 to 1.")
    threshold: float = Field(description="The least that is enough against this view.")
    view: str = Field(description="The camera of the view that it is most like.")
    rate: float | None = Field(description="Share of new vehicles that score as high here; null: not known yet.")
    answer: ANSWERS


class SearchAnswer(Document):
    """What a search has come to: whether the gallery knows the vehicle, and who is like it, the best first."""

    answer: ANSWERS
    threshold: Threshold
    vehicles: list[FoundVehicle]


class Candidate(Document):
    """A vehicle that a doubtful sighting may be."""

    vehicle: int
    name: str
    score: float
    rate: float | None


class Doubt(Document):
    """A doubtful sighting that nobody has judged, and who it may be."""

    sighting: Sighting
    at: float
    candidates: list[Candidate]


class CameraHealth(Document):
    """A camera of the run, as it is now."""

    name: str
    frames: int
    dropped: int
    reconnects: int
    tracks: int
    open_tracks: int
    age_s: float | None = Field(description="Seconds since its last frame; null: none yet.")
    live: bool
    alive: bool
    fault: str | None
    alarm: bool


class Health(Document):
    """The server, and the run where it runs here."""

    running: bool
    seconds: float = 0.0
    frames_per_second: float = 0.0
    sightings: int = 0
    unknown: int = 0
    doubtful: int = 0
    cameras: list[CameraHealth] = []
    stages: dict[str, dict[str, float]] = {}
    vehicles: int = 0


class Done(Document):
    """An edit that is on the disk."""

    done: dict[str, Any]


class FeatureSearch(Body):
    """A feature that the gallery's model gave."""

    feature: list[Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(min_length=1, max_length=8192)
    camera: Camera = ""
    kind: Kind | None = None
    k: int = Field(10, ge=1, le=100)


class Renaming(Body):
    """A new name."""

    name: Name


class Merging(Body):
    """Vehicles that are one; the first stays."""

    vehicles: list[Number] = Field(min_length=2, max_length=100, examples=[[7, 9]])


class Splitting(Body):
    """Sightings of a vehicle that are of another one."""

    sightings: list[Number] = Field(min_length=1, max_length=10_000, examples=[[41]])
    name: Name | None = None


class Undoing(Body):
    """A change to take back; the last one without."""

    change: Number | None = None


class Judgement(Body):
    """What a person says of a doubtful sighting: it is `vehicle` (by default the one that it was given to), or with `same` false
    it is another one."""

    same: bool
    vehicle: Number | None = None


class Purging(Body):
    """Sightings that ended before this go, for good."""

    before: float = Field(ge=0, lt=1e10)
