"""CSV lists of rendered data sets with each vehicle's base body as its `group`, so that all bends of one fall on one side of a cut.

    python bench/body_lists.py ../shared/data/roadside ../shared/data/roadside-wide --out build/lists
    vreid train teacher --data build/lists/roadside.csv=1 --data build/lists/roadside-wide.csv=1 --validation 0.2 ...

A data set says its vehicles' bodies in identities.csv (columns vehicle and body) or identities.json ({vehicle: {"body": ...}}). Of
a body's name the part before `~` counts, without a variant's number (`v2`) at its end.
"""

import argparse
import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from vreid.models.errors import Refused, unusable
from vreid.models.files import refuse_same, write_atomic
from vreid.train.data.records import vehicle_word
from vreid.train.data.table import read_train_part


def base_body(name: str) -> str:
    """The body that others were bent from or are variants of: gz_pickup~8 -> gz_pickup, sh_sedan01v2 -> sh_sedan01."""
    return re.sub(r"v[0-9]+$", "", name.partition("~")[0])


def bodies_in(folder: Path) -> dict[str, str]:
    """{vehicle, as labels are compared: its base body} by a data set's list of identities. Refused where there is none, or where
    it does not say each vehicle's body."""
    table, records = folder / "identities.csv", folder / "identities.json"
    listed = table if table.is_file() else records
    if not listed.is_file():
        raise Refused(
            f"{folder} has neither identities.csv nor identities.json, so its vehicles' bodies are not known; give a data set "
            "that has one"
        )
    found: dict[str, str] = {}
    try:
        for vehicle, name in _named(listed):
            body = base_body(name)
            if not body or found.setdefault(vehicle_word(vehicle), body) != body:
                raise ValueError(f"vehicle {vehicle} has no body, or two")
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError, csv.Error) as error:
        raise Refused(f"{listed} does not say the body of each vehicle ({error}); correct it") from error
    return found


def _named(listed: Path) -> Iterator[tuple[str, str]]:
    """(vehicle, body) of a list of identities, as they are written there."""
    text = listed.read_text(encoding="utf-8-sig")
    if listed.suffix == ".csv":
        yield from (
            (row["vehicle"].strip(), row["body"].strip()) for row in csv.DictReader(io.StringIO(text, newline=""))
        )
    else:
        yield from ((vehicle, row["body"]) for vehicle, row in json.loads(text).items())


def write_list(folder: Path, out: Path) -> tuple[int, int]:
    """Write the list of a data set's training part, complete or not at all; (vehicles, bodies). Refused where the identities leave
    out a vehicle, and where `out` would replace a file of the data set."""
    bodies, items = bodies_in(folder), read_train_part(folder).train
    for path in folder.glob("*.csv"):
        refuse_same(out, path)
    if absent := sorted({item.vehicle for item in items if vehicle_word(item.vehicle) not in bodies}):
        raise Refused(f"the identities of {folder} leave out vehicle {absent[0]}; add it to them")
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("path", "vehicle", "camera", "type", "group", "split"))
    for item in items:
        group = bodies[vehicle_word(item.vehicle)]
        rows.writerow((item.path.absolute(), item.vehicle, item.camera, item.kind, group, "train"))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, text.getvalue())
    vehicles = {item.vehicle for item in items}
    return len(vehicles), len({bodies[vehicle_word(vehicle)] for vehicle in vehicles})


def main() -> int:
    """Write the lists; 2 where one is refused."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="folder of the lists")
    flags = parser.parse_args()
    names = [folder.resolve().name for folder in flags.data]
    try:
        if twice := [name for name in names if names.count(name) > 1]:
            raise Refused(
                f"two data sets are called {twice[0]}, and so would be their lists; write them to two folders"
            )
        for folder, name in zip(flags.data, names, strict=True):
            path = flags.out / f"{name}.csv"
            vehicles, bodies = write_list(folder, path)
            sys.stdout.write(f"{path}: {vehicles} vehicles of {bodies} bodies\n")
    except (Refused, OSError) as error:
        sys.stderr.write(f"{unusable(error) if isinstance(error, OSError) else error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
