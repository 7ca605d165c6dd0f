"""Kept pictures of sightings that are deleted from a gallery: their files go when that is committed, and stay when it is not."""

import logging
from collections.abc import Iterable
from pathlib import Path

from vreid.models.errors import Refused
from vreid.runtime.gallery.records import SightingInfo
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery

_log = logging.getLogger("vreid")


class KeptRemovals:
    """What is to be removed from the folder of the gallery at `path`, in the order in which it was deleted."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[SightingInfo] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sightings: Iterable[SightingInfo]) -> None:
        """Their files go with the next `committed`."""
        self._waiting += sightings

    def rolled_back(self, count: int) -> None:
        """Only the first `count` are deleted still."""
        del self._waiting[count:]

    def committed(self) -> None:
        """Remove the files. One that cannot be removed is said, for nothing in the gallery leads to it any more."""
        gone, self._waiting = self._waiting, []
        folder = KeptFolder(folder_of_gallery(self._path))
        for seen in gone:
            try:
                folder.remove(seen.camera, seen.at, seen.track)
            except Refused as refused:
                _log.warning("%s and remove the file: its sighting is deleted", refused)
