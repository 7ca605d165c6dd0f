"""Ranges of numbers that every verb and function takes alike: CPU threads, pictures at once, sides of a picture."""

from vreid.models.errors import Refused, shown

MOST_THREADS = 1024
MOST_BATCH = 1024  # pictures at once
MOST_SIDE = 4096  # pixels of the input of a network
MOST_PIXELS = 1 << 28  # of the largest batch, which takes 3 GiB as float32 of three channels


def refuse_outside(name: str, value: int, least: int, most: int) -> None:
    """Raises Refused unless `value` is from `least` to `most`."""
    if not least <= value <= most:
        raise Refused(f"{name} must be at least {least} and at most {most}, not {shown(str(value))}")


def refuse_threads(threads: int, least: int = 1) -> None:
    """Raises Refused for a number of CPU threads that nothing here can start; `least` 0 where 0 leaves the choice."""
    refuse_outside("--threads", threads, least, MOST_THREADS)


def refuse_batch_size(batch: int) -> None:
    """Raises Refused for a number of pictures that are not embedded at once."""
    refuse_outside("--batch", batch, 1, MOST_BATCH)
