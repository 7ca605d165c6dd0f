"""The gallery: the vehicles that are known, searched by their features."""

from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.listing import Hit
from vreid.runtime.gallery.opening import edit_gallery, open_gallery, read_gallery

__all__ = ["Gallery", "Hit", "edit_gallery", "open_gallery", "read_gallery"]
