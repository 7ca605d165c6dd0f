"""Edits of the gallery in a person's name: the one way by which pages and API change it."""

from typing import Any

from vreid.models.errors import NotFound, Refused
from vreid.runtime.gallery.kept_answers import kept_answer
from vreid.runtime.gallery.requests import Confirm, Edit, Enrol, Merge, Reject, Rename, Split, Undo
from vreid.serve.gallery_access import GalleryAccess
from vreid.serve.reading import Reading
from vreid.serve.rights import Person
from vreid.serve.service import Service


def edited(service: Service, person: Person, edit: Edit, key: str | None = None) -> dict[str, Any]:
    """Have an edit done, whose vehicles are written as id=ID; it is on the disk when this returns.

    `change` of the result is the audit's row, None where there was nothing to change. Keys of two persons are two keys. Who may see
    some cameras only changes what these have seen, and takes back their own changes; NotFound is raised for the rest. Raises also
    what `GalleryAccess.edit` does.
    """
    own = None if key is None else f"{person.name} {key}"  # a key has no blank
    if person.cameras and not (own and _was_done(service.access, edit, own)):
        _refuse_hidden(Reading(service.access, person), edit)
    return service.access.edit(edit, person.name, own)


def _was_done(access: GalleryAccess, edit: Edit, key: str) -> bool:
    """Whether it has an answer already: what it changed may be hidden since. Raises KeyReused."""
    with access.reading() as gallery, gallery.reading() as store:
        return kept_answer(store, key, edit.model_dump_json()) is not None


def _refuse_hidden(reading: Reading, edit: Edit) -> None:
    """For a person who may see some cameras only. Raises NotFound, and Refused for an edit that is not of single vehicles."""
    match edit:
        case Enrol():
            pass
        case Rename():
            reading.refuse_hidden([_id(edit.vehicle)])
        case Merge():
            reading.refuse_hidden([_id(vehicle) for vehicle in edit.vehicles])
        case Split(cameras=(), runs=()):
            reading.refuse_hidden([_id(edit.vehicle)], edit.sightings)
        case Confirm():
            reading.refuse_hidden([] if edit.vehicle is None else [_id(edit.vehicle)], [edit.sighting])
        case Reject():
            reading.refuse_hidden([], [edit.sighting])
        case Undo():
            if edit.change is not None and reading.change(edit.change) is None:
                raise NotFound("this token takes back its own changes; there is no such change of its own")
        case _:
            raise Refused("this changes what all cameras have seen; use a token without --camera")


def _id(vehicle: str) -> int:
    return int(vehicle.removeprefix("id="))
