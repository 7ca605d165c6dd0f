"""`vreid gallery index`: makes what a gallery is searched through before the first search, or removes it."""

from dataclasses import dataclass

from vreid.cli import output
from vreid.cli.gallery_reading import OfGallery


@dataclass(frozen=True)
class Index(OfGallery):
    """Make an index now, in place of at the first search; that of pgvector is made by this verb only."""

    index: str = "pgvector"
    """Which: pgvector, milvus:HOST:PORT, hnsw, ivf, ivfpq; options behind it, as in 'pgvector?m=16&built=64'."""
    drop: bool = False
    """Remove it."""


def index(args: Index) -> int:
    from vreid.runtime.gallery import edit_gallery

    with edit_gallery(args.gallery, args.index) as gallery:
        if args.drop:
            gallery.index.drop()
        else:
            with output.progress() as bar:
                task = bar.add_task("prototypes", total=None)
                gallery.index.build(lambda done, steps: bar.update(task, completed=done, total=steps))
        prototypes = gallery.size()[1]
    done = "is removed" if args.drop else f"is made of {prototypes} prototypes"
    facts = {"gallery": str(args.gallery), "index": args.index, "dropped": args.drop, "prototypes": prototypes}
    return output.outcome(args.json, f"the index {args.index} of {args.gallery} {done}", facts)
