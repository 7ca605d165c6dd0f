"""The undo data of the audit, checked strictly, so that undoing a damaged change makes nothing worse."""

import json
from base64 import b64decode
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vreid.runtime.gallery.records import Change


def _is_base64(text: str) -> str:
    b64decode(text, validate=True)
    return text


Id = Annotated[int, Field(ge=1, lt=1 << 63)]
Flag = Annotated[int, Field(ge=0, le=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Base64 = Annotated[str, AfterValidator(_is_base64)]
# The cells of edits.py, in its order; schema 2 had fewer columns of vehicles.
VehicleCells = tuple[Id, str, str, Flag | bool, Number, str | None, Number | None, Base64 | None]
VehicleCells2 = tuple[Id, str, Number, str | None, Base64 | None]
PrototypeCells = tuple[Id, Id, str, Base64, Annotated[Number, Field(gt=0)], Id]


class _Data(BaseModel):
    model_config = ConfigDict(strict=True)


class _Split(_Data):
    vehicles: list[VehicleCells | VehicleCells2]
    prototypes: list[PrototypeCells]
    after: list[Id]


class _Merge(_Split):
    sightings: dict[str, list[Id]]


class _Rename(_Data):
    name: str
    named: Flag | bool | None = None


def can_be_read(change: Change, dim: int) -> bool:
    """Whether the undo data of `change`, of prototypes of `dim`, is what a merge, a split or a renaming writes."""
    detail, data = change.detail, change.undo_data
    vehicles = detail.get("vehicles", [])
    try:
        if change.verb == "rename":
            _read(_Rename, data)
            return isinstance(detail.get("to"), str) and change.vehicle is not None
        if change.verb == "split":
            rows = _read(_Split, data)
            there = {cells[0] for cells in rows.vehicles}
            return len(vehicles) == 2 and there == {vehicles[0]} and _are_features(rows, dim)
        rows = _read(_Merge, data)
        there = {cells[0] for cells in rows.vehicles}
        moved = {*rows.sightings} == {str(vehicle) for vehicle in vehicles[1:]}
        return len(vehicles) > 1 and there == set(vehicles) and moved and _are_features(rows, dim)
    except (ValidationError, ValueError, OverflowError, RecursionError):
        return False


def _read(model: type[Any], data: Any) -> Any:
    return model.model_validate_json(json.dumps(data))  # which takes a list for a tuple


def _are_features(rows: _Split, dim: int) -> bool:
    blobs = [b64decode(cells[3]) for cells in rows.prototypes]
    if {len(blob) for blob in blobs} - {4 * dim}:
        return False
    lengths = [float(np.linalg.norm(np.frombuffer(blob, "<f4"))) for blob in blobs]
    return all(abs(length - 1) <= 1e-3 for length in lengths)
