"""The gallery as the server reads it: several readers, so that one slow page does not hold up the others, and edits by whoever
writes to it."""

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vreid.runtime.gallery import Gallery, read_gallery
from vreid.runtime.gallery.edit_socket import edited
from vreid.runtime.gallery.requests import Edit
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery
from vreid.serve.blurring import Blur, BlurredPictures
from vreid.serve.turns import Turns

READERS = 4  # connections for pages and the API


class GalleryAccess:
    """Reads `path` from any thread. `searching` has the index and is used for searches alone, so that there is one of it."""

    def __init__(self, path: Path, index: str = "flat", blur: Blur | None = None) -> None:
        """`blur`: what pictures go through before they are shown. Raises Refused for a gallery that cannot be read."""
        self.path = path
        self._idle: queue.SimpleQueue[Gallery] = queue.SimpleQueue()
        self._every = [read_gallery(path) for _ in range(READERS)]
        for each in self._every:
            self._idle.put(each)
        self.searching = read_gallery(path, index)
        self.about = self.searching.about
        self.kept = KeptFolder(folder_of_gallery(path))
        self.pictures = BlurredPictures(blur)
        self._turns = Turns("edits")

    def close(self) -> None:
        """Close every connection; a second call does nothing."""
        for each in (*self._every, self.searching):
            each.close()

    @contextmanager
    def reading(self) -> Iterator[Gallery]:
        """A reader that nobody else uses inside."""
        reader = self._idle.get()
        try:
            yield reader
        finally:
            self._idle.put(reader)

    def edit(self, request: Edit, who: str, key: str | None = None) -> dict[str, Any]:
        """Have it done by the process that writes, or by this one where none does; on the disk when it returns. With a `key` it
        is done once, however often it is requested. Raises Refused as the edit does, Busy, GalleryLocked, KeyReused."""
        with self._turns:
            return edited(self.path, request, who, key)
