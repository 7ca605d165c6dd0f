"""The errors of vreid, a class for each case that a program handles differently; and the ranges of numbers that raise them."""

SHOWN = 60  # characters of somebody else's words in a message


def shown(text: str, most: int = SHOWN) -> str:
    """`text` of a file or of a program as a message repeats it: in one line, and cut where it has more than `most` characters."""
    start = "".join(letter if letter.isprintable() else "?" for letter in text[:most])
    return start if len(text) <= most else f"{start}..."


class VreidError(Exception):
    """The base of every error that vreid raises on purpose."""


class Refused(VreidError):
    """A request that cannot be met; the message is one sentence with the fix. The command line exits with code 2."""


class BadInput(Refused):
    """A value, a picture or a feature that the function does not take."""


class GalleryLocked(Refused):
    """Another program is writing to the gallery; a reader may still open it."""


class GalleryDamaged(Refused):
    """The gallery's file is broken; `vreid gallery check` says what can be recovered."""


class GalleryAway(Refused):
    """The database server of a gallery cannot be reached, or has ended the connection; it may be back in a moment."""


class GalleryFull(Refused):
    """The disk of the gallery is full."""


class WrongModel(Refused):
    """The gallery was made with another model: features of two models cannot be compared."""


class NotFound(Refused):
    """There is no such vehicle, sighting or change in the gallery, or no such gallery in the database."""


class NameTaken(Refused):
    """Another vehicle of the gallery has this name, in whatever case."""


class KeyReused(Refused):
    """Another edit was asked for with the same key; nothing was done."""


class MissingExtra(Refused):
    """A package that only this request needs is not installed; the message names it."""


_KINDS = {
    kind.__name__: kind
    for kind in (
        BadInput, GalleryDamaged, GalleryFull, GalleryLocked, KeyReused, MissingExtra, NameTaken, NotFound, WrongModel
    )
}  # fmt: skip


def refused_as(kind: str, sentence: str) -> Refused:
    """The refusal of the class called `kind`, as another process sent it; Refused itself for a name that is none of them."""
    return _KINDS.get(kind, Refused)(sentence)


def unusable(error: OSError) -> Refused:
    """What the file system says, as a sentence: a folder that may not be looked into, a name too long, a full disk."""
    where = "a file" if error.filename is None else error.filename
    return Refused(f"cannot use {where} ({error.strerror or error}); check the path, its permissions and the disk")


MOST_THREADS = 1024
LARGEST_SEED = 2**64 - 1  # of torch.manual_seed; NumPy takes any number from 0
MOST_COUNT = 10**9  # of pictures, rounds, vehicles: what no flag needs more of
MOST_BATCH = 1024  # pictures at once
MOST_SIDE = 4096  # pixels of the input of a network
MOST_PIXELS = 1 << 28  # of the largest batch, which takes 3 GiB as float32 of three channels


def refuse_outside(name: str, value: int, least: int, most: int) -> None:
    """Raises Refused unless `value` is from `least` to `most`."""
    if not least <= value <= most:
        raise Refused(f"{name} must be at least {least} and at most {most}, not {shown(str(value))}")


def refuse_beyond(most: int = MOST_COUNT, **counts: int | None) -> None:
    """Raises Refused for a number over `most`, by the flag that its name stands for: per_camera is --per-camera."""
    for name, value in counts.items():
        if value is not None and value > most:
            flag = f"--{name.replace('_', '-')}"
            raise Refused(f"{flag} must be at most {most}, not {shown(str(value))}; give a smaller number")


def refuse_threads(threads: int, least: int = 1) -> None:
    """Raises Refused for a number of CPU threads that nothing here can start; `least` 0 where 0 leaves the choice."""
    refuse_outside("--threads", threads, least, MOST_THREADS)


def refuse_seed(seed: int) -> None:
    """Raises Refused for a seed that torch or NumPy does not take."""
    if not 0 <= seed <= LARGEST_SEED:
        raise Refused(f"--seed {shown(str(seed))} is out of range; give 0 to {LARGEST_SEED} (2**64 - 1)")


def refuse_batch_size(batch: int) -> None:
    """Raises Refused for a number of pictures that are not embedded at once."""
    refuse_outside("--batch", batch, 1, MOST_BATCH)
