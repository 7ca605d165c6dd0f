"""The layout for one's own pictures: a CSV file with columns path, vehicle, camera and, if wanted, type, split."""

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from vreid.models.errors import Refused
from vreid.train.data.records import Dataset, Item, files_in, text_of, vehicle_label

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("query", "probe"), "query"),
    "gallery": "gallery",
    **dict.fromkeys(("test", "testing"), "test"),
}
_NEEDED = ("path", "vehicle", "camera")


def read_csv(path: Path, option: str = "") -> Dataset:
    """The CSV file (or the one in a folder, train.csv first) as a Dataset; paths are relative to the file.

    Without `split` every row is in train, query and gallery: dropping the query's vehicle in its own camera drops itself too.
    With it, "test" rows are the gallery, and the query too where no row is "query". A faulty row of the test part is kept
    for whoever measures (`untested`). Raises Refused for a missing column, any other row without a value or picture, or an
    unknown split, naming it.
    """
    if option:
        raise Refused(f"a CSV data set has no part ':{option}'; give {path} without it")
    table = path if path.is_file() else table_in(path)
    parts: dict[str, list[Item]] = {"train": [], "validation": [], "query": [], "gallery": [], "test": []}
    untested = ""
    split = False
    for number, values in _rows(table):
        where, split = f"{table}, line {number}", "split" in values
        named = _parts(values, split, where)
        try:
            item = _item(table.parent, values, where, f"{table}:{number}")
        except Refused as refused:
            if not split or named[0] in ("train", "validation"):
                raise
            untested = untested or str(refused)
            continue
        for part in named:
            parts[part].append(item)
            if part == "test":
                parts["gallery"].append(item)
    if not parts["train"] and untested:
        raise Refused(untested)
    if not any(parts.values()):
        raise Refused(f"{table} has no rows; add one line a picture")
    name = table.stem if path.is_file() else path.resolve().name
    train, validation = tuple(parts["train"]), tuple(parts["validation"])
    if untested:
        return Dataset(name, train, (), (), validation=validation, untested=untested)
    query, gallery = tuple(parts["query"] or parts["test"]), tuple(parts["gallery"])
    if split and not (query and gallery):
        missing = "test" if not query and not gallery else "gallery" if query else "query"
        untested = (
            f"{table} has no rows of split '{missing}', so there is nothing to measure; add them or give another file"
        )
    return Dataset(name, train, query, gallery, validation=validation, untested=untested)


def tables_in(folder: Path) -> dict[str, str]:
    """The CSV files of a folder: lower-case name -> name."""
    return {name.lower(): name for name in files_in(folder) if name.lower().endswith(".csv")}


def table_in(folder: Path) -> Path:
    """The CSV file that stands for a folder: the only one, or train.csv. Refused where it is not clear which."""
    tables = tables_in(folder)
    if len(tables) == 1:
        return folder / next(iter(tables.values()))
    if "train.csv" in tables:
        return folder / tables["train.csv"]
    raise Refused(f"{folder} holds {len(tables)} CSV files; give the path of one")


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(line, values by column) of every row that is not blank. Refused for what is not a CSV file with the columns needed."""
    text = text_of(table)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    columns: list[str] = []
    try:
        for row in rows:
            if not any(value.strip() for value in row):
                continue
            if columns:
                yield (
                    rows.line_num,
                    {key: value.strip() for key, value in zip(columns, row, strict=False)}
                    | {key: "" for key in columns[len(row) :]},
                )
                continue
            columns = [name.strip().lower() for name in row]
            _refuse_columns(table, columns)
    except csv.Error as error:
        raise Refused(f"{table} is not a well-formed CSV file: line {rows.line_num}: {error}") from error
    if not columns:
        _refuse_columns(table, columns)


def _refuse_columns(table: Path, columns: list[str]) -> None:
    for column in _NEEDED:
        if column not in columns:
            raise Refused(f"{table} has no column '{column}'; its first line must name path,vehicle,camera")
    for column in (*_NEEDED, "type", "split"):
        if columns.count(column) > 1:
            raise Refused(f"{table} has the column '{column}' twice; keep one")


def _item(folder: Path, values: Mapping[str, str], where: str, line: str) -> Item:
    for column in _NEEDED:
        if not values.get(column):
            raise Refused(f"{where}: '{column}' is empty; every row needs path, vehicle and camera")
    picture = folder / values["path"]
    try:
        there = picture.is_file()
    except OSError:
        there = False  # such as a name too long for the file system
    if not there:
        raise Refused(
            f"{where}: there is no picture {values['path'][:200]} (paths are relative to the CSV file); correct the path"
        )
    return Item(picture, vehicle_label(values["vehicle"], where), values["camera"], values.get("type", ""), where=line)


def _parts(values: Mapping[str, str], split: bool, where: str) -> tuple[str, ...]:
    if not split:
        return ("train", "query", "gallery")
    named = values.get("split", "").lower()
    if named not in _SPLITS:
        raise Refused(f"{where}: split '{named[:40]}' is unknown; write train, val, test, query or gallery")
    return (_SPLITS[named],)
