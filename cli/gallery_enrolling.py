"""`vreid gallery enrol|search`: the verbs that look at pictures with a model."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from vreid.cli import output
from vreid.cli.gallery_reading import Choice, filter_of
from vreid.models.errors import Refused, refuse_beyond

if TYPE_CHECKING:
    from vreid.models.manifest import Manifest
    from vreid.runtime.gallery import Gallery


@dataclass(frozen=True)
class Enrol:
    """Add vehicles; all of them or, when one picture cannot be read, none."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures, or folders that hold one folder per vehicle, named by it."""
    gallery: Path
    """The gallery's file; made when there is none."""
    model: str
    """Manifest .json, or the name of a bundled model."""
    name: str | None = None
    """All loose pictures are this one vehicle; without it each is its own, named by its file."""
    kind: Literal["car", "truck", "bus", "motorcycle"] | None = None
    """Of which kind they are, for searches by kind."""
    threads: int = 1
    """CPU threads of the engine."""
    json: bool = False
    """Print one JSON document."""


@dataclass(frozen=True)
class Search:
    """Which vehicles look like these pictures."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Pictures of one vehicle each."""
    gallery: Path
    """The gallery's file."""
    model: str
    """Manifest .json, or the name of a bundled model; the one that the gallery was made with."""
    only: Choice = field(default_factory=Choice)
    k: int = 5
    """How many vehicles a picture."""
    index: str = "flat"
    """How to search: flat (exact), hnsw, ivf, ivfpq, gpu or numpy, with options as in ivf?nprobe=32."""
    threads: int = 1
    """CPU threads of the engine."""
    json: bool = False
    """Print one JSON document."""


def enrol(args: Enrol) -> int:
    from vreid.cli import enrolment
    from vreid.runtime.embedder import open_embedder

    who = enrolment.new_vehicles(args.images, args.name)
    if any(path.is_dir() for path in args.images) and (count := sum(one.loose for one in who)) > 1:
        output.note(f"{count} loose pictures are enrolled as {count} vehicles, one each; --name makes them one vehicle")
    embedder = open_embedder(args.model, args.threads)
    if args.gallery.exists():  # before the long work
        _fitting(args.gallery, embedder.manifest, write=True).close()
    with output.progress() as bar:
        task = bar.add_task("pictures", total=sum(len(new.pictures) for new in who))
        features, faces = enrolment.features_of(embedder, who, lambda count: bar.advance(task, count))
    with _fitting(args.gallery, embedder.manifest, write=True) as gallery:
        done = enrolment.enrolled(gallery, who, features, faces, args.kind)
    if args.json:
        output.document({"gallery": str(args.gallery), "vehicles": [asdict(vehicle) for vehicle in done]})
    else:
        rows = [(vehicle.name, vehicle.id, vehicle.pictures, vehicle.prototypes) for vehicle in done]
        output.table(f"enrolled into {args.gallery}", ("vehicle", "id", "pictures", "prototypes"), rows)
    return 0


def search(args: Search) -> int:
    import numpy as np

    from vreid.cli import enrolment
    from vreid.runtime.embedder import open_embedder

    if not args.images:
        raise Refused("there is nothing to search for; name at least one picture")
    refuse_beyond(k=args.k)
    if args.k < 1:
        raise Refused(f"--k must be at least 1, not {args.k}")
    only = filter_of(args.only)
    embedder = open_embedder(args.model, args.threads)
    match = embedder.manifest.match
    threshold = match.threshold if match else None
    with _fitting(args.gallery, embedder.manifest, write=False, index=args.index) as gallery:
        features = np.stack([row for _, row in enrolment.embedded(embedder, args.images, lambda count: None)])
        found = gallery.search(features, args.k, only=only)
    queries = [
        {
            "image": str(path),
            "matches": [
                {**asdict(hit), "known": None if threshold is None else hit.score >= threshold} for hit in hits
            ],
        }
        for path, hits in zip(args.images, found, strict=True)
    ]
    if args.json:
        output.document({"gallery": str(args.gallery), "threshold": threshold, "queries": queries})
        return 0
    for path, hits in zip(args.images, found, strict=True):
        rows = [(hit.name, hit.vehicle, f"{hit.score:.3f}", _known(hit.score, threshold)) for hit in hits]
        output.table(str(path), ("vehicle", "id", "score", "known"), rows)
    return 0


def _known(score: float, threshold: float | None) -> str:
    return "-" if threshold is None else "yes" if score >= threshold else "no"


def _fitting(path: Path, manifest: "Manifest", write: bool, index: str = "flat") -> "Gallery":
    """The gallery of the manifest's own embedding space."""
    from vreid.runtime.gallery import open_gallery

    fingerprint, dim = manifest.fingerprint, manifest.output.dim
    return open_gallery(path, fingerprint=fingerprint, dim=dim, model=manifest.name, write=write, index=index)
