"""The frames of a video, a folder of pictures or a file, every so many; and their features."""

import re
from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import av.logging
import numpy as np

from vreid.models.errors import Refused
from vreid.models.picture import read_picture
from vreid.models.preprocess import Image
from vreid.train.evaluate import Embed, Floats
from vreid.train.protocols.views import embedded_images

PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
_DAMAGED = "frame {index} of the video {path} is damaged; copy it again or take it off the list"


def video_named(folder: Path, name: str) -> Path:
    """The video `name` in a folder, or the one file of that name and an ending; pictures beside videos are no videos."""
    exact = folder / name
    if exact.exists():
        return exact
    beside = exact.parent.iterdir() if exact.parent.is_dir() else ()
    fitting = [path for path in beside if path.stem == exact.name and path.suffix.lower() not in PICTURES]
    if len(fitting) != 1:
        count = "no video" if not fitting else "more than one video"
        raise Refused(
            f"there is {count} {name} in {folder}; give its folder with --videos, and names with their endings"
        )
    return fitting[0]


def video_features(path: Path, embed: Embed, *, every: int = 1, batch: int = 32) -> Floats:
    """The frames 0, `every`, 2 `every`, ... of a video -> (F, D) of unit length; holds `batch` frames at a time."""
    return embedded_images(video_frames(path, every), embed, batch)


def video_frames(path: Path, every: int = 1) -> Iterator[Image]:
    """The frames 0, `every`, 2 `every`, ... as (H, W, 3) uint8 BGR: of a folder of pictures, 2.jpg before 10.jpg, or of a
    video file.

    Raises Refused for a folder without pictures, a file that FFmpeg cannot read, and one that holds no frame.
    """
    if every < 1:
        raise Refused(f"every {every} frames means nothing; give 1 for all or more to leave some out")
    if path.is_dir():
        return _from_folder(path, every)
    if not path.is_file():
        raise Refused(f"there is no video {path}; give a file or a folder of pictures")
    return _from_file(path, every)


def _from_folder(folder: Path, every: int) -> Iterator[Image]:
    paths = [path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith(".")]
    if not paths:
        raise Refused(f"the folder {folder} holds no pictures ({', '.join(PICTURES)}); check the path")
    return (read_picture(path) for path in sorted(paths, key=_natural)[::every])


def _natural(path: Path) -> list[str | int]:
    return [int(part) if at % 2 else part for at, part in enumerate(re.split("([0-9]+)", path.name))]


def _from_file(path: Path, every: int) -> Iterator[Image]:
    av.logging.set_level(None)
    index = 0
    try:
        with av.open(f"file:{path.absolute()}") as film:
            for frame in film.decode(video=0):
                if frame.is_corrupt:
                    raise Refused(_DAMAGED.format(index=index, path=path))
                if index % every == 0:
                    yield np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                index += 1
    except (av.error.FFmpegError, OSError, IndexError) as error:  # IndexError: it has sound alone
        if index:
            raise Refused(_DAMAGED.format(index=index, path=path)) from error
        raise Refused(f"{path} is no video that FFmpeg can read; replace it or take it off the list") from error
    if not index:
        raise Refused(f"{path} is a video without frames; replace it or take it off the list")
