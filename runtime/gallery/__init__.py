"""The gallery: the vehicles that are known, searched by their features."""

from vreid.runtime.gallery.gallery import Gallery
from vreid.runtime.gallery.opening import edit_gallery, open_gallery, read_gallery
from vreid.runtime.gallery.records import RankedVehicle

__all__ = ["Gallery", "RankedVehicle", "edit_gallery", "open_gallery", "read_gallery"]
