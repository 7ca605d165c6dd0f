"""The gallery as the server reads it: several readers, so that one slow page does not hold up the others, and edits by whoever
writes to it."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vreid.models.errors import Refused
from vreid.models.files import identity_of
from vreid.runtime.gallery import Gallery, read_gallery
from vreid.runtime.gallery.edit_socket import edited
from vreid.runtime.gallery.requests import Edit
from vreid.runtime.gallery_place import GalleryPlace, path_of
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery
from vreid.serve.blurring import Blur, BlurredPictures
from vreid.serve.turns import Turns

READERS = 4  # connections for pages and the API
EDIT_S = 60.0  # in which the process that writes answers: whoever waits for it holds a thread of the server


class GalleryReplaced(Refused):
    """The gallery's file is not the one any more that the server has open."""


class GalleryAccess:
    """Reads `place` from any thread. Where its file is replaced meanwhile GalleryReplaced is raised: what would be read is the old
    file, and what would be written the new one."""

    def __init__(self, place: GalleryPlace, index: str = "flat", blur: Blur | None = None) -> None:
        """`blur`: what pictures go through before they are shown. Raises Refused for a gallery that cannot be read."""
        self.place, self._identity, self._replaced = place, identity_of(path_of(place)), False
        self._idle: queue.SimpleQueue[Gallery] = queue.SimpleQueue()
        self._every = [read_gallery(place) for _ in range(READERS)]
        for each in self._every:
            self._idle.put(each)
        self._searching = read_gallery(place, index)
        self.about = self._searching.about
        self.kept = KeptFolder(folder_of_gallery(path_of(place)))
        self.pictures = BlurredPictures(blur)
        self._turns = Turns("edits")

    def close(self) -> None:
        """Close every connection; a second call does nothing."""
        for each in (*self._every, self._searching):
            each.close()

    @property
    def searching(self) -> Gallery:
        """The reader that has the index, used for searches alone, so that there is one of it."""
        self._refuse_replaced()
        return self._searching

    @contextmanager
    def reading(self) -> Iterator[Gallery]:
        """A reader that nobody else uses inside."""
        self._refuse_replaced()
        reader = self._idle.get()
        try:
            yield reader
        finally:
            self._idle.put(reader)

    def edit(self, request: Edit, who: str, key: str | None = None) -> dict[str, Any]:
        """Have it done by the process that writes, or by this one where none does; on the disk when it returns. With a `key` it
        is done once, however often it is requested. Raises Refused as the edit does, Busy, GalleryLocked, KeyReused."""
        with self._turns:
            self._refuse_replaced()
            return edited(self.place, request, who, key, EDIT_S)

    def _refuse_replaced(self) -> None:
        """For good: the log of a file that is put back may have been removed with the other one's."""
        self._replaced = self._replaced or identity_of(path_of(self.place)) != self._identity
        if self._replaced:
            raise GalleryReplaced(
                f"the gallery {self.place} was removed, moved or replaced while it was served; start the server anew"
            )
