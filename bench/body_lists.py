"""CSV lists of rendered data sets with each vehicle's base body as its `group`, so that all bends of one fall on one side of a cut.

    python bench/body_lists.py ../shared/data/roadside ../shared/data/roadside-wide --out build/lists
    vreid train teacher --data build/lists/roadside.csv=1 --data build/lists/roadside-wide.csv=1 --validation 0.2 ...

A data set says its vehicles' bodies in identities.csv (columns vehicle and body) or identities.json ({vehicle: {"body": ...}}). Of
a body's name the part before `~` counts, without a variant's number (`v2`) at its end.
"""

import argparse
import csv
import json
import re
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.data.records import vehicle_word
from vreid.train.data.table import read_train_part


def base_body(name: str) -> str:
    """The body that others were bent from or are variants of: gz_pickup~8 -> gz_pickup, sh_sedan01v2 -> sh_sedan01."""
    return re.sub(r"v[0-9]+$", "", name.partition("~")[0])


def bodies_in(folder: Path) -> dict[str, str]:
    """{vehicle, as labels are compared: its base body} by a data set's list of identities. Refused where there is none."""
    table, records = folder / "identities.csv", folder / "identities.json"
    if table.is_file():
        with table.open(encoding="utf-8", newline="") as file:
            named = {row["vehicle"]: row["body"] for row in csv.DictReader(file)}
    elif records.is_file():
        named = {vehicle: row["body"] for vehicle, row in json.loads(records.read_text(encoding="utf-8")).items()}
    else:
        raise Refused(f"{folder} has neither identities.csv nor identities.json, so its vehicles' bodies are not known")
    return {vehicle_word(vehicle): base_body(body) for vehicle, body in named.items()}


def write_list(folder: Path, out: Path) -> tuple[int, int]:
    """Write the list of a data set's training part; (vehicles, bodies)."""
    bodies, items = bodies_in(folder), read_train_part(folder).train
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("path", "vehicle", "camera", "type", "group", "split"))
        for item in items:
            group = bodies[vehicle_word(item.vehicle)]
            rows.writerow((item.path.absolute(), item.vehicle, item.camera, item.kind, group, "train"))
    vehicles = {item.vehicle for item in items}
    return len(vehicles), len({bodies[vehicle_word(vehicle)] for vehicle in vehicles})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True, help="folder of the lists")
    flags = parser.parse_args()
    for folder in flags.data:
        path = flags.out / f"{folder.resolve().name}.csv"
        vehicles, bodies = write_list(folder, path)
        print(f"{path}: {vehicles} vehicles of {bodies} bodies")


if __name__ == "__main__":
    main()
