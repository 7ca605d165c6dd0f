"""Kept pictures: of each sighting the best crop, the whole frame or a short clip, in a bounded folder."""
