"""The gallery as the server reads it: several readers, so that one slow page does not hold up the others, and edits by whoever
writes to it."""

import hashlib
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vreid.runtime.gallery.edit_socket import edited
from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.opening import read_gallery
from vreid.runtime.gallery.requests import Edit
from vreid.runtime.kept.folder import KeptFolder, folder_of_gallery

READERS = 4  # connections for pages and the API


class GalleryAccess:
    """Reads `path` from any thread. `searching` has the index and is used for searches alone, so that there is one of it."""

    def __init__(self, path: Path, index: str = "flat") -> None:
        """Raises Refused for a gallery that cannot be read."""
        self.path = path
        self._idle: queue.SimpleQueue[Gallery] = queue.SimpleQueue()
        self._every = [read_gallery(path) for _ in range(READERS)]
        for each in self._every:
            self._idle.put(each)
        self.searching = read_gallery(path, index)
        self.about = self.searching.about
        self.kept = KeptFolder(folder_of_gallery(path))

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

    def edit(self, edit: Edit, who: str, key: str | None = None) -> dict[str, Any]:
        """Have it done by the process that writes, or by this one where none does; on the disk when it returns. With a `key` it
        is done once, however often it is requested. Raises Refused as the edit does, GalleryLocked, KeyReused."""
        return edited(self.path, edit, who, key)


def etag_of(content: bytes) -> str:
    """What differs wherever the content does, as the header ETag has it."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
