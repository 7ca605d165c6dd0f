"""The layout for one's own pictures: a CSV file with columns path, vehicle, camera and, if wanted, type, split."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.datasets.records import Dataset, Item, files_in, text_of, vehicle_label

_SPLITS = {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery"}


def read(path: Path, option: str = "") -> Dataset:
    """The CSV file (or the one in a folder, train.csv first) as a Dataset; paths are relative to the file.

    Without `split` every row is in all three parts: dropping the query's vehicle in its own camera drops itself too.
    Raises Refused for a missing column, a row without a value or picture, or an unknown split, naming it.
    """
    if option:
        raise Refused(f"a CSV data set has no part ':{option}'; give {path} alone")
    table = path if path.is_file() else _table_in(path)
    rows = csv.DictReader(io.StringIO(text_of(table), newline=""), skipinitialspace=True)
    parts: dict[str, list[Item]] = {"train": [], "query": [], "gallery": []}
    try:
        rows.fieldnames = columns = [name.strip().lower() for name in rows.fieldnames or ()]
        for column in ("path", "vehicle", "camera"):
            if column not in columns:
                raise Refused(f"{table} has no column '{column}'; its first line must name path,vehicle,camera")
        for row in rows:
            where = f"{table}, line {rows.line_num}"
            values = {key: value.strip() for key, value in row.items() if isinstance(value, str)}
            item = _item(table.parent, values, where)
            for part in _parts(values, "split" in columns, where):
                parts[part].append(item)
    except csv.Error as error:
        raise Refused(f"{table} is no well-formed CSV: line {rows.line_num}: {error}") from error
    if not any(parts.values()):
        raise Refused(f"{table} has no rows; add one line a picture")
    name = table.stem if path.is_file() else path.resolve().name
    return Dataset(name, tuple(parts["train"]), tuple(parts["query"]), tuple(parts["gallery"]))


def _table_in(folder: Path) -> Path:
    tables = sorted(name for name in files_in(folder) if name.lower().endswith(".csv"))
    if len(tables) == 1:
        return folder / tables[0]
    if (folder / "train.csv").is_file():
        return folder / "train.csv"
    raise Refused(f"{folder} holds {len(tables)} CSV files; give the path of one")


def _item(folder: Path, values: Mapping[str, str], where: str) -> Item:
    for column in ("path", "vehicle", "camera"):
        if not values.get(column):
            raise Refused(f"{where}: '{column}' is empty; every row needs path, vehicle and camera")
    picture = folder / values["path"]
    try:
        there = picture.is_file()
    except OSError:
        there = False  # such as a name too long for the file system
    if not there:
        raise Refused(f"{where}: there is no picture {values['path'][:200]} beside the CSV; mend the path")
    return Item(picture, vehicle_label(values["vehicle"], where), values["camera"], values.get("type", ""))


def _parts(values: Mapping[str, str], split: bool, where: str) -> tuple[str, ...]:
    if not split:
        return ("train", "query", "gallery")
    named = values.get("split", "").lower()
    if named not in _SPLITS:
        raise Refused(f"{where}: split '{named[:40]}' is unknown; write train, query or gallery")
    return (_SPLITS[named],)
