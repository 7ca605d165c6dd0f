"""A file of TOML read by its form: its secrets and paths filled in, and every fault of it as a sentence."""

import difflib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from vreid.models.errors import Refused, shown
from vreid.models.files import regular
from vreid.runtime.gallery_place import GalleryPlace, place_of
from vreid.runtime.network_address import nats_address, substituted
from vreid.runtime.site.schema import TABLE, TEXT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Given = TypeVar("Given")
SECRET = ("uri", "to", "uri_file", "server")  # keys whose values no message repeats
_PLACES = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def read_table(path: Path, what: str) -> dict[str, Any] | str:
    """The TOML of the file at `path`, or the sentence of what is wrong in it; `what` it is called in a message.

    Raises Refused for a file that cannot be read.
    """
    try:
        return tomllib.loads(regular(path).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise Refused(f"{what} {path} cannot be read ({reason}); check the path") from error
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        return f"{path} is not TOML ({error}); correct that line"


class FormReading:
    """What a form says made into what a program takes; gathers what is wrong on the way."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Relative paths are from `folder` on."""
        self.folder, self.environment = folder, environment
        self.faults: list[str] = []

    def secret(self, text: str, where: str) -> str | None:
        """`text` with its secrets; None where one is not there."""
        return self.tried(lambda: substituted(text, self.environment), where)

    def server(self, text: str, where: str) -> str | None:
        """The address of a NATS server with its secrets; None: at fault."""
        return self.tried(lambda: nats_address(substituted(text, self.environment)), where)

    def gallery(self, text: str, where: str) -> GalleryPlace | None:
        """Its file, or its address with its secrets; None: at fault."""
        if "://" not in text:
            return self.path(text)
        address = self.secret(text, where)
        return None if address is None else self.tried(lambda: place_of(address), where)

    def file(self, text: str | None, where: str) -> Path | None:
        """The path of a file that has to be there."""
        path = None if text is None else self.path(text)
        if path is not None and not path.is_file():
            self.faults.append(f"{where}: there is no file {path}; correct the path")
        return path

    def tried(self, step: Callable[[], Given], where: str) -> Given | None:
        """What the step gives; None where it refuses, which is gathered."""
        try:
            return step()
        except Refused as refused:
            self.faults.append(f"{where}: {refused}" if where else str(refused))
            return None

    def model(self, text: str) -> str:
        """The name of a bundled model, or the path of a manifest."""
        path = self.path(text)
        return str(path) if path.suffix == ".json" or path.is_file() else text

    def path(self, text: str) -> Path:
        """From the file's own folder on."""
        return self.folder / Path(text).expanduser()


def sentence_of(error: Mapping[str, Any], root: type[BaseModel]) -> str:
    """One of pydantic's errors of a file of the form `root`: table, key, and what is expected."""
    table, key, form = _place(error["loc"], root)
    head = _header(table) if table else "the file"
    message, kind = error["msg"], error["type"]
    if kind == "extra_forbidden":
        return f"{head} has no key '{shown(key)}'; {_nearest(key, form, table, root)}"
    if (table, key) == ("", "camera") and kind in ("missing", "too_short"):
        return "the file names no camera; add [camera.NAME] with a uri"
    if kind == "missing" and not key:
        return f"the file has no table {head}; add it"
    if kind == "missing":
        field = form.model_fields.get(key)  # none for one of several values: cameras[1]
        about = ((None if field is None else field.description) or "see the documentation").rstrip(".")
        return f"{head} lacks '{key}' ({about[:1].lower()}{about[1:]}); add it"
    if kind == "value_error":
        message = message.removeprefix("Value error, ")
        return f"'{key}' in {head}: {message}" if key else f"{head} {message}"
    where = f"'{key}' in {head}" if key and table else f"'{key or table}'"
    if kind in ("model_type", "dict_type"):
        return f"{where} should be a table, not {_shown(error['input'])}"
    if not message.startswith("Input should be"):
        return f"{where}: {message[0].lower()}{message[1:]}"
    given = "" if any(part in SECRET for part in error["loc"]) else f", not {_shown(error['input'])}"
    return f"{where}{message.removeprefix('Input')}{given}"


def _header(table: str) -> str:
    """[table], or which of the [[tables]] of one name it is."""
    name, _, number = table.removesuffix("]").partition("[")
    return _place_text(name, int(number)) if number.isdecimal() else f"[{table}]"


def _place_text(table: str, index: int) -> str:
    """What the [[table]] at `index` from 0 is called in a message."""
    return f"the {_PLACES[index]} [[{table}]]" if index < len(_PLACES) else f"[[{table}]] number {index + 1}"


def key_text(name: str) -> str:
    """A key as it is written in TOML: in quotes unless it has only letters, digits, "_" and "-"."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _place(loc: Sequence[int | str], root: type[BaseModel]) -> tuple[str, str, type[BaseModel]]:
    """An error's place -> the header of its table without brackets, the key in it ("" for the table itself), its form."""
    form = root
    table: list[str] = []
    key: list[str] = []
    inner: type[BaseModel] | None = None  # the form of the table that the next part of the place may begin
    for part in loc:
        if part in (TEXT, TABLE, "[key]"):
            continue
        if isinstance(part, int):
            key[-1:] = [f"{key[-1]}[{part}]"]
        else:
            key.append(key_text(part))
        if inner is not None:
            table, key, form, inner = [*table, *key], [], inner, None
        elif part in form.model_fields and len(key) == 1:
            hint = form.model_fields[str(part)].annotation
            found = _tables_in(hint)
            if found and getattr(hint, "__origin__", None) in (dict, list, tuple):
                inner = found[0]
            elif found:
                table, key, form = [*table, *key], [], found[0]
    return ".".join(table), ".".join(key), form


def _tables_in(hint: Any) -> list[type[BaseModel]]:
    """The forms of tables that a type hint names."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return [hint]
    return [found for part in getattr(hint, "__args__", ()) for found in _tables_in(part)]


def _nearest(key: str, form: type[BaseModel], table: str, root: type[BaseModel]) -> str:
    """What was meant by a key that is not there: the nearest of its own table, or the same one of another."""
    if close := difflib.get_close_matches(key, form.model_fields, 1, 0.55):
        return f"did you mean '{close[0]}'?"
    for name, field in root.model_fields.items():
        for other in _tables_in(field.annotation):
            if key in other.model_fields:
                return f"it belongs into [{name}{'.NAME' if name == 'camera' else ''}]"
    if table and key in root.model_fields:
        return "it belongs to the top of the file, above all tables"
    nearest = difflib.get_close_matches(key, form.model_fields, 1, 0.0)[0]
    return f"the nearest is '{nearest}', and all are: {', '.join(form.model_fields)}"


def _shown(value: object) -> str:
    return "a table" if isinstance(value, dict) else shown(repr(value))
