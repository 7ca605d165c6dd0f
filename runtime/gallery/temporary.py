"""The gallery of a run: what a finite run writes is kept completely or not at all, what a live one writes at once."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from vreid.models.errors import Refused
from vreid.models.files import sync_folder
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.sqlite.database import locked, refuse_stray_log

Opening = Callable[..., Gallery]  # (path, *, write)


@contextmanager
def gallery_of_run(opening: Opening, path: Path | None, enrol: bool, live: bool) -> Iterator[Gallery]:
    """The run's gallery. A finite run's writing is one transaction, and a new gallery of it appears when it is done.

    Without a `path` it lasts for the run. Raises Refused where there is neither a gallery to search nor one to begin.
    """
    if path is None and not enrol:
        raise Refused("a run needs a --gallery to search, or --enrol-unknown to begin an empty one")
    if path is None:
        with tempfile.TemporaryDirectory() as folder, opening(Path(folder) / "run.db", write=True) as gallery:
            yield gallery
    elif live or not enrol:
        with opening(path, write=enrol) as gallery:
            yield gallery
    elif path.exists():
        with opening(path, write=True) as gallery, gallery.transaction():
            yield gallery
    else:
        with new_gallery(path) as temporary, opening(temporary, write=True) as gallery, gallery.transaction():
            yield gallery


@contextmanager
def new_gallery(path: Path) -> Iterator[Path]:
    """Where a gallery is made that moves to `path` when the body succeeds; nobody else can make one there meanwhile."""
    path = path.resolve()
    if not path.parent.is_dir():
        raise Refused(f"there is no folder {path.parent} for the gallery; make it first")
    with locked(path):
        if path.exists():  # between the look and the lock
            raise Refused(f"another program has just made the gallery {path}; run again to add to it")
        refuse_stray_log(path)
        for old in path.parent.iterdir():  # of a process that was killed: whoever has the lock is the only one here
            if re.fullmatch(re.escape(f".{path.name}-") + r"[a-z0-9_]{8}", old.name) and (old / path.name).is_file():
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            temporary.replace(path)
            sync_folder(path.parent)
