"""Vehicle re-identification: find the same vehicle again, seen by another camera.

    model = vreid.load("vreid-s")
    with vreid.Gallery("known.db", model) as gallery:
        gallery.enrol("taxi", ["taxi.jpg"])
        hits = gallery.search("query.jpg")

Importing this package loads no engine; each name is loaded when it is used first.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vreid.models.errors import (
        BadInput,
        GalleryDamaged,
        GalleryFull,
        GalleryLocked,
        KeyReused,
        MissingExtra,
        NameTaken,
        NotFound,
        Refused,
        VreidError,
        WrongModel,
    )
    from vreid.runtime.api import Gallery, Hit, Model, load
    from vreid.runtime.gallery.doubt_rows import Candidate
    from vreid.runtime.gallery.doubts import Doubt
    from vreid.runtime.gallery.records import Vehicle
    from vreid.runtime.sightings import Sighting, track
    from vreid.serve.client import Client

    __version__: str

_MODULES = {
    "vreid.models.errors": (
        "BadInput", "GalleryDamaged", "GalleryFull", "GalleryLocked", "KeyReused", "MissingExtra", "NameTaken", "NotFound",
        "Refused", "VreidError", "WrongModel",
    ),
    "vreid.runtime.api": ("Gallery", "Hit", "Model", "load"),
    "vreid.runtime.gallery.doubt_rows": ("Candidate",),
    "vreid.runtime.gallery.doubts": ("Doubt",),
    "vreid.runtime.gallery.records": ("Vehicle",),
    "vreid.runtime.sightings": ("Sighting", "track"),
    "vreid.serve.client": ("Client",),
}  # fmt: skip
__all__ = [
    "BadInput",
    "Candidate",
    "Client",
    "Doubt",
    "Gallery",
    "GalleryDamaged",
    "GalleryFull",
    "GalleryLocked",
    "Hit",
    "KeyReused",
    "MissingExtra",
    "Model",
    "NameTaken",
    "NotFound",
    "Refused",
    "Sighting",
    "Vehicle",
    "VreidError",
    "WrongModel",
    "__version__",
    "load",
    "track",
]


def __getattr__(name: str) -> Any:
    """A public name, imported when it is used first (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("vreid")
    module = next((module for module, names in _MODULES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module 'vreid' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
