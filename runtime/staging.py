"""A folder that appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vreid.models.errors import Refused


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out`; its files replace those of the same name in `out` when the body succeeds, and are
    thrown away when it does not. Raises Refused when `out` is a file or cannot be made."""
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; give a folder for --out")
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise Refused(f"cannot write beside {out} ({error.strerror}); choose another --out") from error
    try:
        yield draft
        for file in sorted(path for path in draft.rglob("*") if path.is_file()):
            place = out / file.relative_to(draft)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    except BaseException:
        shutil.rmtree(draft)
        for folder in missing:  # the parents that were made for it
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
    shutil.rmtree(draft)
