"""The seam of the gallery's indexes: what an index over prototypes can do, and which ones there are."""

from typing import Protocol

from vreid.models.seam import open_seam
from vreid.runtime.records import Floats, Ints

INDEXES = {
    "flat": "vreid.runtime.galleries.flat:FlatIndex",
    "numpy": "vreid.runtime.galleries.plain:PlainIndex",
}


class Index(Protocol):
    """Unit features by their id, searched by cosine. Derived from the gallery's file and never stored."""

    def add(self, ids: Ints, features: Floats) -> None:
        """ids (N,) that are not in the index yet, features (N, D) of unit length."""

    def remove(self, ids: Ints) -> None:
        """ids (N,); those that are not in the index are passed over."""

    def search(self, features: Floats, k: int) -> tuple[Floats, Ints]:
        """(B, D) -> scores (B, k) falling, ids (B, k); -1 pads, with a score of -inf."""

    def __len__(self) -> int: ...


def open_index(name: str, dim: int) -> Index:
    """An empty index of the member `name` over features of `dim`. Raises Refused for an unknown name."""
    index: Index = open_seam("index", INDEXES, name)(dim)
    return index
