"""The folder of a run's outputs: of a finite run it appears whole or not at all, of a live one it grows."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vreid.models.errors import Refused


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """A temporary folder for `out`: when the body succeeds its files replace those of the same name in `out`, and others
    there stay; when it does not they are thrown away, and with them what was made for it. It lies in `out` where that is
    there, which may be a disk of its own or the only place that may be written, and next to it otherwise.

    Raises Refused when `out` is a file or cannot be written, and for what the body fails to write.
    """
    with _errors_as_refusals(out), _parents(out):
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out if out.is_dir() else out.parent))
        try:
            complete = temporary / "complete"
            complete.mkdir()  # mkdtemp's own folder is closed to everybody else
            yield complete
            _moved(complete, out)
        finally:
            shutil.rmtree(temporary)


@contextmanager
def growing_folder(out: Path) -> Iterator[Path]:
    """`out` itself, made where it is missing, and removed again if the body fails before it has written anything. What an
    earlier run left stays: its sightings.jsonl is continued, its other files are replaced at the end.

    Raises Refused as `atomic_folder` does.
    """
    with _errors_as_refusals(out), _parents(out):
        out.mkdir(exist_ok=True)
        yield out


@contextmanager
def _errors_as_refusals(out: Path) -> Iterator[None]:
    """What the file system says, as a sentence."""
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; give a folder for --out")
    try:
        yield
    except BrokenPipeError:  # of a socket, not of the folder
        raise
    except OSError as error:
        raise Refused(f"cannot write {out} ({error.strerror or error}); make room or choose another --out") from error


@contextmanager
def _parents(out: Path) -> Iterator[None]:
    """The folder that `out` lies in; if the body fails, those that were made for it go away where they are empty."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def refuse_in_the_way(temporary: Path, out: Path) -> None:
    """Refused where `out` holds a folder in place of a file of `temporary`, or the other way round: before anything is moved."""
    for file in _files_in(temporary):
        folders = [out / parent for parent in file.parents]
        wrong = [path for path in folders if path.exists() and not path.is_dir()]
        if (out / file).is_dir():
            wrong.append(out / file)
        if wrong:
            raise Refused(f"{wrong[0]} is in the way of the run's {file}; remove it or choose another --out")


def _moved(complete: Path, out: Path) -> None:
    """Put the folder in its place: at once where `out` is new, otherwise file by file."""
    if not out.exists():
        complete.replace(out)
        return
    refuse_in_the_way(complete, out)
    for file in _files_in(complete):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (complete / file).replace(out / file)


def _files_in(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
