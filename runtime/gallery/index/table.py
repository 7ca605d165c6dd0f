"""The seam of the gallery's indexes: what an index over prototypes can do, and which ones there are."""

import inspect
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl

from vreid.models.errors import Refused, shown
from vreid.models.seam import open_seam
from vreid.runtime.records import Floats, Ints

INDEXES = {
    "flat": "vreid.runtime.gallery.index.flat:FlatIndex",
    "gpu": "vreid.runtime.gallery.index.flat:GpuIndex",
    "hnsw": "vreid.runtime.gallery.index.approximate:HnswIndex",
    "ivf": "vreid.runtime.gallery.index.approximate:ivf_index",
    "ivfpq": "vreid.runtime.gallery.index.approximate:ivfpq_index",
    "numpy": "vreid.runtime.gallery.index.flat:PlainIndex",
}
_MOST = 1_000_000  # of an option of an index


class Index(Protocol):
    """Unit features by their id, searched by cosine. Derived from the gallery's file, which is the truth."""

    @property
    def rough(self) -> bool:
        """Its scores are estimates: whoever searches compares the features themselves."""

    @property
    def worn(self) -> bool:
        """An empty one, filled again, would be better: too many dead rows, or far more rows than it was trained for."""

    def add(self, ids: Ints, features: Floats) -> None:
        """ids (N,), each once, features (N, D) of unit length; an id that is there gets the new feature."""

    def remove(self, ids: Ints) -> None:
        """ids (N,); those that are not in the index are passed over."""

    def search(self, features: Floats, k: int, among: Ints | None = None) -> tuple[Floats, Ints]:
        """(B, D) -> scores (B, k) falling, ids (B, k); -1 pads, with a score of -inf.

        `among` (M,), each once: only these ids, those that are not in the index passed over; None: all of them.
        """

    def __len__(self) -> int: ...


@runtime_checkable
class Stored(Protocol):
    """An Index that is slow to build, and so is kept in a file next to the gallery."""

    @property
    def made_with(self) -> dict[str, int]:
        """The options that decide how it is built, not how it is searched."""

    def kept(self) -> tuple[Any, dict[str, Ints]]:
        """What FAISS writes, and the arrays that belong to it; a RuntimeError or None for nothing worth keeping."""

    def restored(self, index: Any, arrays: dict[str, Ints]) -> None:
        """Into an empty one, what `kept` gave. Raises KeyError or ValueError when it does not fit."""


def open_index(name: str, dim: int, expected: int = 0) -> Index:
    """An empty index over features of `dim`, soon to hold `expected`. `name`: a member of INDEXES, options behind it.

    "ivf?nprobe=32": whole numbers from 1. Raises Refused for an unknown name or option, or what is not installed.
    """
    member, _, text = name.partition("?")
    made = open_seam("index", INDEXES, member)
    known = [field for field, value in inspect.signature(made).parameters.items() if value.kind is value.KEYWORD_ONLY]
    options: dict[str, int] = {}
    for key, value in parse_qsl(text, keep_blank_values=True):
        if key not in known or not value.isascii() or not value.isdecimal() or not 0 < int(value[:10]) <= _MOST:
            fix = (
                f"choose from: {', '.join(known)}, each with a whole number from 1 to {_MOST}"
                if known
                else "it has no options"
            )
            raise Refused(f"the index '{member}' does not take '{shown(f'{key}={value}')}'; {fix}")
        options[key] = int(value)
    index: Index = made(dim, expected, **options)
    return index


def index_file(gallery: Path, name: str) -> Path:
    """Where an index of the member that `name` calls lies next to its gallery."""
    return gallery.with_name(f"{gallery.name}.{name.partition('?')[0]}.index")


def index_files(gallery: Path) -> list[Path]:
    """The index files that lie next to the gallery."""
    return [file for file in (index_file(gallery, kind) for kind in sorted(INDEXES)) if file.is_file()]


def files_of(gallery: Path) -> list[Path]:
    """The gallery's file and those that belong to it, whether they are there or not: no output may replace one."""
    own = [gallery, *(gallery.with_name(gallery.name + ending) for ending in ("-wal", "-shm", ".lock", "-edit"))]
    return [*own, *(index_file(gallery, kind) for kind in sorted(INDEXES))]


def drop_indexes(gallery: Path) -> list[Path]:
    """Remove the index files next to the gallery; the next search makes them again. Returns those that were there.

    Temporary ones go too, which a killed process left and which hold features; who is writing one keeps no file this time.
    """
    files = index_files(gallery)
    temporary = (file for kind in INDEXES for file in gallery.parent.glob(f"{index_file(gallery, kind).name}.*.new"))
    for file in [*files, *temporary]:
        file.unlink(missing_ok=True)
    return files
