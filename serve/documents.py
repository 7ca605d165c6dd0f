"""What the API takes and gives, as its OpenAPI document describes it. Times are in seconds since 1970."""

from typing import Annotated, Any, Generic, Literal, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

T = TypeVar("T")
Name = Annotated[
    str,
    Field(
        min_length=1, max_length=200, examples=["white van"], json_schema_extra={"format": "vehicle-name"},
        description="Printable, with a sign to be seen, and no other vehicle's but for case.",
    ),
]  # fmt: skip


def _whole(value: object) -> object:
    """JSON has one kind of number: 7.0 is the whole number 7."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[int, Field(ge=1, le=2**31 - 1, examples=[7])]
Id = Annotated[Number, BeforeValidator(_whole)]
Camera = Annotated[str, Field(max_length=200, examples=["gate"])]
Moment = Annotated[float, Field(description="Seconds since 1970.", examples=[1764500035.2])]
Score = Annotated[float, Field(description="Cosine, -1 to 1.", examples=[0.83])]
Kind = Literal["car", "truck", "bus", "motorcycle"]
KINDS: tuple[str, ...] = get_args(Kind)
ANSWERS = Literal["known", "doubtful", "unknown"]


class Document(BaseModel):
    """What the server sends."""

    model_config = ConfigDict(from_attributes=True)


class Body(BaseModel):
    """What the server is sent: no key but its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Problem(Document):
    """An error (RFC 9457, application/problem+json); `detail` is one sentence with the fix."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no vehicle 9; 'vreid gallery list' shows all"])


class Page(Document, Generic[T]):
    """A part of a list; `next` is the cursor of the part behind it, null at the end."""

    items: list[T]
    next: str | None = Field(default=None, examples=["1764500035.2~41"])


class Centre(Document):
    """Which vehicle it is at the centre of a fleet (docs/fleet.md)."""

    region: str = Field(examples=["north"])
    vehicle: int = Field(description="Its id in the region.", examples=[12])
    name: str = Field(examples=["taxi"])
    different: int = Field(default=1, description="How many vehicles of the centre its sightings are.", examples=[1])


class Vehicle(Document):
    """A vehicle of the gallery. With a token for some cameras, its sightings and its last one are those of these cameras."""

    id: Number
    name: str = Field(examples=["vehicle-0007"])
    named: bool = Field(description="Whether somebody named it.", examples=[False])
    kind: str | None = Field(examples=["car"])
    created: Moment
    prototypes: int = Field(description="Features that it is found by.", examples=[3])
    sightings: int = Field(examples=[12])
    cameras: list[str] = Field(examples=[["bridge", "gate"]])
    last_at: float | None = Field(description="The end of its newest sighting.", examples=[1764500035.2])
    last_camera: str | None = Field(examples=["gate"])
    centre: Centre | None = Field(
        default=None, description="What the newest sighting that a centre has named is there; null: none is.",
        examples=[None],
    )  # fmt: skip


class Sighting(Document):
    """A vehicle at a camera. `at` is the end, in seconds since 1970."""

    id: int = Field(examples=[41])
    vehicle: int = Field(examples=[7])
    name: str = Field(examples=["white van"])
    camera: str = Field(examples=["gate"])
    track: int = Field(examples=[3])
    run: str = Field(examples=["2026-11-30T08:00:00"])
    at: Moment
    seconds: float = Field(description="How long it was in view.", examples=[4.2])
    kind: str | None = Field(examples=["car"])
    plate: str | None = Field(examples=["B MX 42"])
    zones: list[str] = Field(examples=[["entry"]])
    quality: float = Field(description="Of the best crop, 0 to 1.", examples=[0.9])
    score: float | None = Field(
        description="Cosine to the vehicle that it was given to; null: there was nobody.", examples=[0.83]
    )
    picture: bool = Field(description="Whether /sightings/{id}/picture has one.", examples=[True])
    kept: bool = Field(default=False, description="Whether a larger picture or a clip was kept.", examples=[False])
    centre: Centre | None = Field(
        default=None, description="Who it is at the centre; null: not named there.", examples=[None]
    )


class Exported(Sighting):
    """A line of an export."""

    jpeg: str | None = Field(
        default=None, description="The picture in base64, where it was requested.", examples=[None]
    )


class Change(Document):
    """A row of the audit."""

    id: int = Field(examples=[12])
    at: Moment
    who: str = Field(description="The name of a token, of a user, or run:NAME.", examples=["office"])
    verb: str = Field(examples=["rename"])
    vehicle: int | None = Field(examples=[7])
    detail: dict[str, Any] = Field(examples=[{"from": "vehicle-0007", "to": "white van"}])
    undone: int = Field(description="The change that took it back, 0: none.", examples=[0])


class Missed(Document):
    """Of a stream of events: sightings or changes that are left out. Too many were waiting, or a backup was put back since, whose
    ids end before those that the client has."""

    of: Literal["sightings", "changes"]
    after: int = Field(description="Their ids are higher than this,", examples=[12])
    until: int = Field(description="and not higher than this.", examples=[9012])


class VehicleDetails(Document):
    """A vehicle with its newest sightings, and what was done to it."""

    vehicle: Vehicle
    sightings: list[Sighting]
    changes: list[Change] = Field(description="Empty with a token for some cameras.")


class Threshold(Document):
    """What counted: the least cosine, where it comes from, what rate of false matches was requested."""

    value: Score
    origin: str = Field(
        description="manifest: of the model; site: learnt here from so many pairs of strangers; fixed: by the operator.",
        examples=["site (1200 pairs)"],
    )
    false_match_rate: float = Field(examples=[0.05])
    pairs: int = Field(description="Pairs of strangers that it was learnt from.", examples=[1200])


class FoundVehicle(Document):
    """A vehicle that a search found."""

    vehicle: int = Field(examples=[7])
    name: str = Field(examples=["white van"])
    score: Score
    threshold: float = Field(description="The least cosine that is enough against this view.", examples=[0.71])
    view: str = Field(
        description="The camera of the view that it is most like, of those that the token may see.",
        examples=["gate"],
    )
    rate: float | None = Field(
        description="Share of new vehicles that score as high here; null: not known yet.", examples=[0.01]
    )
    answer: ANSWERS = Field(examples=["known"])


class SearchAnswer(Document):
    """What a search has come to: whether the gallery knows the vehicle, and who is like it, the best first."""

    answer: ANSWERS = Field(examples=["known"])
    threshold: Threshold
    vehicles: list[FoundVehicle]


class Candidate(Document):
    """A vehicle that a doubtful sighting may be."""

    vehicle: int = Field(examples=[7])
    name: str = Field(examples=["white van"])
    camera: str = Field(
        description="Of the vehicle's view that was compared; empty where the token may not see it.", examples=["gate"]
    )
    score: Score
    rate: float | None = Field(description="Share of new vehicles that score as high.", examples=[0.04])


class Doubt(Document):
    """A doubtful sighting that nobody has judged, and who it may be."""

    sighting: Sighting
    at: Moment
    candidates: list[Candidate]
    why: Literal["near", "second", "bias"] = Field(
        description="near: the best score is near the threshold; second: it is not, and a second vehicle passes too; bias: the "
        "answer is another one without what is taken off the features for the cameras' bias.", examples=["near"],
    )  # fmt: skip
    counts: bool = Field(description="Whether an answer counts for the thresholds.", examples=[True])


class CameraHealth(Document):
    """A camera of the run, as it is now."""

    name: str = Field(examples=["gate"])
    frames: int = Field(examples=[9000])
    frames_per_second: float = Field(description="Over the last minute.", examples=[15.0])
    dropped: int = Field(description="Frames that newer ones replaced.", examples=[0])
    reconnects: int = Field(examples=[0])
    tracks: int = Field(description="That ended and were reported.", examples=[120])
    open_tracks: int = Field(examples=[1])
    age_s: float | None = Field(description="Seconds since its last frame; null: none yet.", examples=[0.1])
    live: bool = Field(examples=[True])
    alive: bool = Field(description="False while it is away.", examples=[True])
    fault: str | None = Field(description="What is wrong with its pictures: black, blank, frozen.", examples=[None])
    alarm: bool = Field(description="Whether there are too many new vehicles.", examples=[False])


class Health(Document):
    """The server, and the run where it runs here."""

    running: bool = Field(description="Whether a run goes on in this process.", examples=[True])
    seconds: float = Field(default=0.0, description="Since the run began.", examples=[600.0])
    frames_per_second: float = Field(
        default=0.0, description="Of the cameras shown, over the last minute.", examples=[30.0]
    )
    sightings: int | None = Field(
        default=None, description="Of this run, as the next two; null where none runs here.", examples=[120]
    )
    unknown: int | None = Field(default=None, examples=[14])
    doubtful: int | None = Field(default=None, examples=[3])
    cameras: list[CameraHealth] = []
    stages: dict[str, dict[str, float]] = Field(
        default={}, description="Of each stage: count, p50_ms, p90_ms, p99_ms.",
        examples=[{"embed": {"count": 120.0, "p50_ms": 4.1, "p90_ms": 6.0, "p99_ms": 9.3}}],
    )  # fmt: skip
    vehicles: int | None = Field(
        default=None,
        description="In the gallery; null where none runs here, for a token of some cameras.",
        examples=[37],
    )


class Done(Document):
    """An edit that is on the disk."""

    done: dict[str, Any] = Field(
        description="`change` is the row of the audit, null where there was nothing to change.",
        examples=[{"change": 12, "id": 7, "name": "white van"}],
    )


class LookAlike(Document):
    """A vehicle that the new one is nearly the same as; POST /merge makes one of them."""

    vehicle: int = Field(examples=[3])
    name: str = Field(examples=["vehicle-0003"])
    score: Score


class Enrolled(Done):
    """A vehicle that was enrolled, and what was wrong with its pictures where it was enrolled all the same."""

    faults: list[str] = Field(examples=[[]])
    counted_by: str | None = Field(
        description="The detector that counted the vehicles in the pictures; null: there was none.",
        examples=["yolox-s"],
    )
    alike: list[LookAlike]


class FeatureSearch(Body):
    """A feature that the gallery's model gave."""

    feature: list[Annotated[float, Field(ge=-1e6, le=1e6)]] = Field(
        min_length=1,
        max_length=8192,
        description="As many numbers as the model gives, not all 0.",
        json_schema_extra={"contains": {"anyOf": [{"minimum": 1e-6}, {"maximum": -1e-6}]}},
    )
    camera: Camera = Field(default="", description="That it comes from, if it is one of the site's.")
    kind: Kind | None = Field(default=None, examples=["car"])
    k: Annotated[int, BeforeValidator(_whole)] = Field(default=10, ge=1, le=100)


class Renaming(Body):
    """A new name."""

    name: Name


class Merging(Body):
    """Vehicles that are one; the first stays."""

    vehicles: list[Id] = Field(min_length=2, max_length=100, examples=[[7, 9]], json_schema_extra={"uniqueItems": True})


class Splitting(Body):
    """Sightings of a vehicle that are of another one."""

    sightings: list[Id] = Field(min_length=1, max_length=10_000, examples=[[41]])
    name: Name | None = Field(default=None, examples=["grey estate"])


class Undoing(Body):
    """A change to take back; without it the last one of who sends this."""

    change: Id | None = Field(default=None, examples=[12])


class Same(Body):
    """A person says whose a sighting is: that of `vehicle`, by default the one that it was given to."""

    same: Literal[True]
    vehicle: Id | None = Field(default=None, examples=[7])


class Another(Body):
    """A person says that a sighting is not of its vehicle."""

    same: Literal[False]


class Purging(Body):
    """Sightings that ended before this go, for good."""

    before: float = Field(ge=0, lt=1e10, description="Seconds since 1970.", examples=[1764500000])
