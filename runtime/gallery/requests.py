"""Edits of a gallery as requests: by the command line where nobody else writes, and else through the process that does.

Each result has `change`, the audit's row of the edit; None where there was nothing to change.
"""

from base64 import b64decode
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vreid.models.errors import Refused
from vreid.models.picture import small_jpeg
from vreid.runtime.gallery import doubts, edits, maintenance
from vreid.runtime.gallery.clean import CleanRule, cleaned, erase_traces
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.kept_answers import keep_answer, kept_answer, without_names
from vreid.runtime.gallery.prototypes import unit
from vreid.runtime.gallery.records import LAST_MOMENT, Filter
from vreid.runtime.gallery.store import Store

MOST_FEATURES = 256  # of a vehicle that is enrolled
MOST_PICTURE, MOST_PIXELS = 100_000, 1 << 24  # bytes and pixels of its picture


@dataclass(frozen=True)
class Done:
    """What an edit has come to, for a program, and the vehicles whose sightings are now others than before."""

    result: dict[str, Any]
    vehicles: tuple[int, ...] = ()


class _Request(BaseModel):
    """A vehicle is meant by its name, its id, or id=ID."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rename(_Request):
    """Give a vehicle another name."""

    verb: Literal["rename"] = "rename"
    vehicle: str
    name: str

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused for a vehicle that is not there and a name that is taken."""
        vehicle = gallery.find(self.vehicle)
        change = gallery.rename(vehicle, self.name)
        return Done({"change": change, "id": vehicle, "name": self.name})


class Merge(_Request):
    """Make one vehicle of several; the first stays."""

    verb: Literal["merge"] = "merge"
    vehicles: tuple[str, ...]

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `edits.merge` does."""
        if len(self.vehicles) < 2:
            raise Refused("a merge needs two vehicles or more; name the one to keep first")
        kept, *others = [gallery.find(text) for text in self.vehicles]
        done = edits.merge(gallery, kept, others)
        return Done({**asdict(done), "name": gallery.name_of(kept), "merged": others}, (kept, *others))


class Split(_Request):
    """Make a new vehicle of some sightings of one: those that all of the fields choose."""

    verb: Literal["split"] = "split"
    vehicle: str
    sightings: tuple[int, ...] = ()
    cameras: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    name: str | None = None

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `edits.split` does."""
        if not (self.sightings or self.cameras or self.runs):
            raise Refused("say which sightings become a new vehicle, by --sightings, --camera or --run")
        vehicle = gallery.find(self.vehicle)
        found = [seen.id for seen in gallery.sightings(vehicle, Filter(cameras=self.cameras, runs=self.runs))]
        if self.sightings:
            by_id_only = not (self.cameras or self.runs)  # an id of another vehicle is then refused by name
            found = list(self.sightings) if by_id_only else [id_ for id_ in found if id_ in self.sightings]
        done = edits.split(gallery, vehicle, found, self.name)
        name = gallery.name_of(done.vehicle)
        return Done({**asdict(done), "name": name, "split_from": vehicle}, (vehicle, done.vehicle))


class Undo(_Request):
    """Take a change back; without its id the last one, with `own` the last one of who requests this."""

    verb: Literal["undo"] = "undo"
    change: int | None = None
    own: bool = False

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `edits.undo` does."""
        done = edits.undo(gallery, self.change, self.own)
        vehicles = done.detail.get("vehicles", [done.vehicle])
        taken = (done.undo_data or {}).get("changes", ())  # by a confirmation or a rejection
        changes = [done, *(change for change in (gallery.changes() if taken else ()) if change.id in taken)]
        touched = {vehicle for change in changes for vehicle in change.detail.get("vehicles", ())}
        result = {"change": done.undone, "undone": done.id, "verb": done.verb, "vehicles": vehicles}
        return Done(result, tuple(touched))


class Remove(_Request):
    """Forget a vehicle for good."""

    verb: Literal["remove"] = "remove"
    vehicle: str

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `Gallery.remove` does."""
        vehicle = gallery.find(self.vehicle)
        name = gallery.name_of(vehicle)
        change = gallery.remove(vehicle)
        erase_traces(gallery)
        return Done({"change": change, "id": vehicle, "name": name}, (vehicle,))


class Clean(_Request):
    """Forget the vehicles that nobody named and that fit a rule, for good."""

    verb: Literal["clean"] = "clean"
    rule: CleanRule

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `cleaned` does."""
        with gallery.transaction() as store:
            gone = cleaned(gallery, self.rule)
            change = _row(store) if gone else None
        erase_traces(gallery)  # which could not be done before the end of the transaction
        result = {"change": change, "removed": True, "vehicles": [asdict(one) for one in gone]}
        return Done(result, tuple(one.id for one in gone))


class Confirm(_Request):
    """Say whose a sighting is: of the vehicle that it belongs to, or of `vehicle`, which gets it."""

    verb: Literal["confirm"] = "confirm"
    sighting: int
    vehicle: str | None = None

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `doubts.confirm` does."""
        vehicle = None if self.vehicle is None else gallery.find(self.vehicle)
        return _judged(gallery, self.sighting, lambda: doubts.confirm(gallery, self.sighting, vehicle))


class Reject(_Request):
    """Say that a sighting is not of the vehicle that it belongs to."""

    verb: Literal["reject"] = "reject"
    sighting: int

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `doubts.reject` does."""
        return _judged(gallery, self.sighting, lambda: doubts.reject(gallery, self.sighting))


def _judged(gallery: Gallery, sighting: int, judge: Callable[[], edits.Edited]) -> Done:
    with gallery.transaction() as store:
        before = store.vehicles_of_sightings([sighting])
        done = judge()
        result = {**asdict(done), "sighting": sighting, "name": gallery.name_of(done.vehicle)}
    return Done(result, tuple({*before.values(), done.vehicle}))


class Enrol(_Request):
    """Add a vehicle that is known by features of its pictures."""

    verb: Literal["enrol"] = "enrol"
    name: str | None = None
    kind: Literal["car", "truck", "bus", "motorcycle"] | None = None
    features: str  # base64 of float32 (N, D), little-endian
    picture: str | None = None  # base64 of a JPEG

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused for features and a picture that are none, and as `Gallery.enrol` does."""
        rows, dim = _bytes(self.features, "the features"), gallery.about.dim
        count, rest = divmod(len(rows), 4 * dim)
        if rest or not 1 <= count <= MOST_FEATURES:
            raise Refused(
                f"the features must be 1 to {MOST_FEATURES} rows of {dim} float32; send those of the gallery's model"
            )
        features = unit(np.frombuffer(rows, "<f4").reshape(count, dim).astype(np.float32), dim)
        picture = None
        if self.picture is not None:
            content = _bytes(self.picture, "the picture")
            picture = small_jpeg(content, "of the new vehicle", MOST_PICTURE, MOST_PIXELS)
        with gallery.transaction() as store:
            vehicle, prototypes = gallery.enrol(self.name, features, picture, self.kind)
            name = gallery.name_of(vehicle)
            return Done({"change": _row(store), "id": vehicle, "name": name, "prototypes": prototypes})


class Retain(_Request):
    """Keep sightings for so many seconds from now on; None: for ever."""

    verb: Literal["retain"] = "retain"
    seconds: Annotated[float, Field(allow_inf_nan=False)] | None

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `maintenance.retain` does."""
        change = maintenance.retain(gallery, self.seconds)
        return Done({"change": change, "retention": self.seconds})


class Purge(_Request):
    """Delete what ended before a moment, in seconds since 1970, for good; see `maintenance.purge`."""

    verb: Literal["purge"] = "purge"
    before: Annotated[float, Field(ge=0, lt=LAST_MOMENT)]
    vehicles: bool = False

    def apply(self, gallery: Gallery) -> Done:
        """The room in the file is not given back to the disk."""
        done = maintenance.purge(gallery, self.before, self.vehicles)
        return Done(asdict(done))


class Calibrate(_Request):
    """Let this site's thresholds rest on the judged pairs too, from the next run on."""

    verb: Literal["calibrate"] = "calibrate"
    false_match_rate: float = 0.05

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as `doubts.calibrate` does."""
        with gallery.transaction() as store:
            done = doubts.calibrate(gallery, self.false_match_rate)
            return Done({"change": _row(store), **asdict(done)})


def _row(store: Store) -> int:
    """The audit's row that was written last in this transaction."""
    return store.changes(1)[0].id


def _bytes(text: str, what: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise Refused(f"{what} of the new vehicle must be base64 ({error}); encode them so") from error


Edit = Rename | Merge | Split | Undo | Remove | Clean | Confirm | Reject | Enrol | Retain | Purge | Calibrate


class Once(_Request):
    """An edit with a key of whoever asks for it: it is done the first time, and answered alike each time within a day."""

    verb: Literal["once"] = "once"
    key: str
    edit: Annotated[Edit, Field(discriminator="verb")]

    def apply(self, gallery: Gallery) -> Done:
        """Raises Refused as the edit does, and KeyReused for a key that another edit was requested with."""
        requested = self.edit.model_dump_json()
        with gallery.transaction() as store:
            result = kept_answer(store, self.key, requested)
            if result is not None:
                return Done(result)
            done = self.edit.apply(gallery)
            removed = done.vehicles if isinstance(self.edit, Remove | Clean) else ()
            keep_answer(store, self.key, requested, without_names(done.result, removed))
        if isinstance(self.edit, Remove | Clean | Purge):  # which could not do so before the end of the transaction
            erase_traces(gallery)
        return done


Request = Edit | Once
_REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="verb")])


def read_request(document: Any) -> Request:
    """The request of a JSON document. Raises Refused for another one."""
    try:
        return _REQUEST.validate_python(document)
    except ValidationError as error:
        raise Refused(
            f"this is not an edit of a gallery: {error.errors()[0]['msg']}; see vreid.runtime.gallery.requests"
        ) from error
