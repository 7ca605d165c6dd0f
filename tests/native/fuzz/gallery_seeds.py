"""Small galleries for gallery_fuzz to begin from: python tests/native/fuzz/gallery_seeds.py FOLDER"""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from vreid.runtime.gallery import open_gallery
from vreid.runtime.gallery.edits import merge
from vreid.runtime.records import FinishedTrack

# what schema 4 has more than 3
WITHOUT_4 = [
    *(f"DROP INDEX sightings_{name}" for name in ("of", "last", "at", "from", "kind", "plate", "zones", "zones_of")),
    "DROP INDEX vehicles_list",
    "ALTER TABLE sightings DROP COLUMN zones",
]
SHAPES = {
    "full": [],
    "upgradable": [
        "UPDATE meta SET value = '1' WHERE key = 'schema'",
        "DELETE FROM meta WHERE key = 'identity'",
        *(f"DROP TABLE {name}" for name in ("changes", "audit")),
        *(f"DROP TRIGGER {name}" for name in ("prototype_new", "prototype_old", "prototype_set")),
        *WITHOUT_4,
        "DROP INDEX vehicles_key",
        *(f"ALTER TABLE sightings DROP COLUMN {name}" for name in ("seen", "kind", "plate", "quality", "feature")),
        *(f"ALTER TABLE vehicles DROP COLUMN {name}" for name in ("kind", "key", "named", "pictured")),
    ],
    "emptied": [f"DELETE FROM {name}" for name in ("vehicles", "prototypes", "sightings", "changes", "audit")],
}


def main(folder: Path) -> None:
    """One file a shape: pages of 512 bytes, so that a flipped byte is often one that matters."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, statements in SHAPES.items():
        path = folder / f"{name}.db"
        path.unlink(missing_ok=True)
        with open_gallery(path, fingerprint="aaaaaaaa", dim=4, model="small", write=True) as gallery:
            for number, feature in enumerate(np.eye(4, dtype=np.float32)):
                vehicle = gallery.add_vehicle(None if number else "taxi", kind="car")
                gallery.add_prototype(vehicle, "gate", feature)
                picture = np.zeros((0, 0, 3), np.uint8)
                printed = FinishedTrack("gate", 1, 0, 9, 0.0, 1.0, 2, feature, 1, 0.5, picture, 5.0, "B 1")
                gallery.add_sighting(vehicle, printed, 0.5)
            merge(gallery, 1, [2])
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in ("PRAGMA journal_mode = DELETE", "PRAGMA page_size = 512", *statements, "VACUUM"):
                connection.execute(statement)
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
