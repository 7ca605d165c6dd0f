"""The check of all pictures before the first epoch of `vreid train`, with its progress."""

from collections.abc import Sequence
from pathlib import Path

from vreid.cli import output
from vreid.train.checking import SKIPPED, Checked, check, keep, refuse_broken, write_skipped
from vreid.train.datasets.records import Dataset
from vreid.train.parallel import Place, wait

KEPT = "pictures.json"


def checked_pictures(sets: Sequence[Dataset], out: Path, skip_broken: bool, place: Place) -> Checked:
    """Every picture read once; broken ones are refused, or said where they are to be left out. What was found is kept
    in the folder `out` where that is there already, or some are broken; else the caller keeps it when the training has begun."""
    kept = out / KEPT
    if not place.leads:
        wait(place)  # for the leading process to read them
    with output.progress() as bar:
        task = bar.add_task("checking pictures", total=None)
        found = check(sets, kept, lambda done, of: bar.update(task, completed=done, total=of))
    if place.leads and (out.exists() or found.faults or place.world > 1):
        keep(found, kept)
    if place.leads:
        wait(place)
    if not skip_broken:
        refuse_broken(found)
    if place.leads:
        write_skipped(out, found)
    if found.faults and place.leads:
        names = ", ".join(str(path) for path in list(found.faults)[:5])
        more = ", ..." if len(found.faults) > 5 else ""
        output.note(
            f"{len(found.faults)} broken pictures of {len(found.keys)} are left out ({out / SKIPPED}): {names}{more}"
        )
    return found
