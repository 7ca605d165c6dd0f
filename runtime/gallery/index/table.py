"""The seam of the gallery's indexes: what an index over prototypes can do, and which ones there are."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl

from vreid.models.errors import Refused, shown
from vreid.models.seam import open_seam
from vreid.runtime.gallery.records import Filter
from vreid.runtime.gallery.store import FeatureSource
from vreid.runtime.gallery_place import DatabaseAddress, GalleryPlace
from vreid.runtime.records import Floats, Ints

INDEXES = {
    "flat": "vreid.runtime.gallery.index.flat:FlatIndex",
    "gpu": "vreid.runtime.gallery.index.flat:GpuIndex",
    "hnsw": "vreid.runtime.gallery.index.approximate:HnswIndex",
    "ivf": "vreid.runtime.gallery.index.approximate:ivf_index",
    "ivfpq": "vreid.runtime.gallery.index.approximate:ivfpq_index",
    "numpy": "vreid.runtime.gallery.index.flat:PlainIndex",
}
ON_A_SERVER = {  # those of galleries in PostgreSQL, which many processes share
    "milvus": "vreid.runtime.gallery.index.milvus:milvus_index",
    "pgvector": "vreid.runtime.gallery.postgres.search:pgvector_index",
}
_EXTRAS = {"milvus": "milvus", "pgvector": "postgres"}
_MOST = 1_000_000  # of an option of an index

Found = tuple[int, float]  # a vehicle and its score
Progress = Callable[[int, int], object]  # steps done, and steps there are


class GalleryIndex(Protocol):
    """What a gallery is searched through. It sees what the gallery's own connection sees, an open transaction included."""

    def search(self, features: Floats, k: int, vehicles: Sequence[int] | None, only: Filter) -> list[list[Found]]:
        """Unit features (B, D) -> for each the best k vehicles (fewer where there are no more), falling; of equals the older
        first. `vehicles`: only these; None: those that `only` lets through."""

    def committed(self) -> None: ...  # what was written in the transaction is kept
    def rolled_back(self) -> None: ...  # the store went back, to a savepoint or to before the transaction
    def close(self) -> None: ...  # called before the store is closed

    def forget(self) -> None:
        """Vehicles or sightings were deleted for good: what was made before, and may still hold their features, is not kept."""

    def build(self, progress: Progress) -> None:
        """Make it now, and what is kept of it. Raises Refused where this user may not, or there is nothing to be made."""

    def drop(self) -> None: ...  # remove what is kept of it; Refused as `build`


class VectorIndex(Protocol):
    """Prototypes on a server of its own, by their ids: derived from the gallery, which is the truth. What was written is found
    a moment later."""

    def upsert(self, ids: Ints, vehicles: Ints, features: Floats) -> None:
        """ids (N,), each once, with their vehicles (N,) and unit features (N, D); what is there already is replaced."""

    def delete(self, ids: Ints) -> None: ...  # (N,); those that are not there are passed over

    def search(self, features: Floats, k: int) -> tuple[Floats, Ints]:
        """(B, D) -> cosines (B, k) falling, ids (B, k); -1 pads, with a score of -inf."""

    def iterate(self) -> Iterator[tuple[Ints, Ints]]:
        """All ids (N,) with their vehicles (N,), a page at a time, in any order."""


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


def gallery_index(name: str, source: FeatureSource) -> GalleryIndex:
    """What `source` is searched through: a member of INDEXES or ON_A_SERVER, options behind it. Raises Refused as `open_index`."""
    kind, address, options = _parts(name)
    if kind in ON_A_SERVER:
        made = open_seam("index", ON_A_SERVER, kind, _EXTRAS[kind])
        index: GalleryIndex = made(source, address, **_options(made, kind, options))
        return index
    from vreid.runtime.gallery.index.sync import IndexSync

    return IndexSync(source, name)


def refuse_index(name: str, dim: int, place: GalleryPlace) -> None:
    """Raises Refused for an index that is not known, that this machine does not have, or that a gallery there cannot have."""
    kind, _, options = _parts(name)
    if kind not in ON_A_SERVER:
        open_index(name, dim)
        return
    if not isinstance(place, DatabaseAddress):
        raise Refused(
            f"the index '{kind}' is for a gallery in PostgreSQL, and {place} is a file; 'flat' and 'hnsw' work there"
        )
    _options(open_seam("index", ON_A_SERVER, kind, _EXTRAS[kind]), kind, options)


def open_index(name: str, dim: int, expected: int = 0) -> Index:
    """An empty index over features of `dim`, soon to hold `expected`. `name`: a member of INDEXES, options behind it.

    "ivf?nprobe=32": whole numbers from 1. Raises Refused for an unknown name or option, or what is not installed.
    """
    member, _, options = name.partition("?")
    if member not in INDEXES:
        every = ", ".join(sorted({*INDEXES, *ON_A_SERVER}))
        raise Refused(f"there is no index '{shown(member)}'; choose one of: {every}")
    made = open_seam("index", INDEXES, member)
    index: Index = made(dim, expected, **_options(made, member, options))
    return index


def _parts(name: str) -> tuple[str, str, str]:
    """ "milvus:host:19530?ef=64" -> kind, address, options."""
    member, _, options = name.partition("?")
    kind, _, address = member.partition(":")
    return kind, address, options


def _options(made: Callable[..., Any], member: str, text: str) -> dict[str, int]:
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
    return options


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
