"""The flag --gallery: a file, or the address of a database."""

from pathlib import Path
from typing import Annotated, TypeAlias

from tyro.constructors import PrimitiveConstructorSpec

from vreid.runtime.gallery_place import DatabaseAddress, place_of

_PLACE = PrimitiveConstructorSpec(
    nargs=1,
    metavar="PATH",
    instance_from_str=lambda words: place_of(words[0]),
    is_instance=lambda value: isinstance(value, Path | DatabaseAddress),
    str_from_instance=lambda value: [str(value)],
)
GalleryFlag: TypeAlias = Annotated[Path | DatabaseAddress, _PLACE]
