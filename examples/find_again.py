"""Find a vehicle again: enrol pictures under names, search with another picture, and watch a video.

    python examples/find_again.py FOLDER QUERY [VIDEO ...]

FOLDER holds one folder of pictures a vehicle, named as the vehicle is; QUERY is a picture of one of them. The gallery is kept in
FOLDER/known.db.
"""

import sys
from pathlib import Path

import vreid


def main(folder: str, query: str, *videos: str) -> None:
    """Print what was found."""
    if not Path(folder).is_dir():
        sys.exit(f"there is no folder {folder}; give one that holds a folder of pictures for each vehicle")
    model = vreid.load("vreid-s")
    with vreid.Gallery(Path(folder) / "known.db", model) as gallery:
        known = {vehicle.name for vehicle in gallery.vehicles()}
        for pictures in sorted(path for path in Path(folder).iterdir() if path.is_dir()):
            if pictures.name not in known:
                gallery.enrol(pictures.name, sorted(pictures.glob("*.jpg")))

        for hit in gallery.search(query, k=3):
            print(f"{hit.name}: {hit.score:.3f}{'' if hit.known else ' (too far to be sure)'}")

        for sighting in vreid.track(videos, model, gallery) if videos else ():
            print(
                f"{sighting.camera} {sighting.first_time:.1f}-{sighting.last_time:.1f} s: {sighting.name or 'unknown'}"
            )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except vreid.VreidError as error:
        sys.exit(str(error))
