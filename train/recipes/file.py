"""A recipe as a TOML file: read, checked, and written. docs/training.md describes it.

A file has the recipe's settings by their names, with tables where a recipe has records. With `base`, the name of a bundled
recipe, it needs to hold only what it changes. What a recipe may leave out is given as "none", since TOML has no null.
"""

import difflib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from vreid.models.errors import Refused, shown
from vreid.models.files import regular
from vreid.train.recipe import EARLIER_NAMES, Recipe
from vreid.train.recipes.bundled import RECIPES, recipe_named
from vreid.train.recipes.limits import NAMES, RANGES, refuse_unsound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NONE = "none"
FROM_DATA = "network.classes"  # counted in the data, never set
Record = TypeVar("Record")


def recipe_of(word: str) -> Recipe:
    """The recipe that `word` names: a bundled one, or a TOML file. Raises Refused."""
    if word not in RECIPES and (Path(word).suffix.lower() == ".toml" or Path(word).is_file()):
        return read_recipe(Path(word))
    return recipe_named(word)


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file. Raises Refused, with the file's name and the line, for what is not a recipe."""
    try:
        text = regular(path).read_text(encoding="utf-8-sig")
        table = tomllib.loads(text)
    except OSError as error:
        raise Refused(f"the recipe {path} cannot be read ({error.strerror or error}); check the path") from error
    except UnicodeDecodeError as error:
        raise Refused(f"the recipe {path} is not UTF-8 text; write it as UTF-8") from error
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise Refused(f"the recipe {path} is not TOML ({error}); correct that line") from error
    return _recipe(table, _Page(str(path), text))


def recipe_from_fields(table: Mapping[str, Any], name: str) -> Recipe:
    """The recipe in the plain fields that a checkpoint keeps of it (folder.plain); `name` is for a refusal."""

    def given(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: NONE if value is None else given(value) if isinstance(value, Mapping) else value
            for key, value in fields.items()
            if key != "classes"
        }

    return _recipe(given(table), _Page(name, ""))


def toml_of(recipe: Recipe) -> str:
    """All settings of a recipe as TOML, which `read_recipe` reads back as an equal one."""
    return "".join(_lines(recipe, ""))


@dataclass(frozen=True)
class _Page:
    """The file that settings are read from, to say where one of them stands."""

    name: str
    text: str

    def refused(self, setting: str, sentence: str) -> Refused:
        """What is to be raised for a setting, with its line where it is found."""
        line = self.line(setting)
        return Refused(f"{self.name}{'' if line is None else f', line {line}'}: {sentence}")

    def line(self, setting: str) -> int | None:
        """The line, from 1, of a setting, or of the table that it stands in."""
        table, best, found = "", "", None
        for number, line in enumerate(self.text.splitlines(), 1):
            if header := re.match(r"\s*\[+([^\[\]]+)\]", line):
                table = here = _named_now(_plain(header[1]))
            elif key := re.match(r"\s*([\w\"'. -]+?)\s*=", line):
                here = _named_now(_plain(f"{table}.{key[1]}" if table else key[1]))
            else:
                continue
            if len(here) > len(best) and (setting == here or setting.startswith(f"{here}.")):
                best, found = here, number
        return found


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _named_now(name: str) -> str:
    """The name of a setting, its table by the name of now."""
    table, point, rest = name.partition(".")
    return EARLIER_NAMES.get(table, table) + point + rest


def _recipe(table: Mapping[str, Any], page: _Page) -> Recipe:
    given = {EARLIER_NAMES.get(key, key): value for key, value in table.items()}
    base: Recipe | None = None
    if "base" in given:
        base = _base(given.pop("base"), page)
        if "planned" not in given:
            epochs = _value(int, given["epochs"], None, "epochs", page) if "epochs" in given else base.epochs
            base = _over(base, epochs)
    recipe = _record(Recipe, given, base, "", page)
    try:
        refuse_unsound(recipe)
    except Refused as refused:
        raise Refused(f"{page.name}: {refused}") from refused
    return recipe


def _base(name: object, page: _Page) -> Recipe:
    if not isinstance(name, str) or name not in RECIPES:
        nearest = difflib.get_close_matches(shown(str(name)), RECIPES, 1, 0.0)[0]
        raise page.refused(
            "base",
            f"there is no bundled recipe {shown(repr(name))} to be the base, the nearest is {nearest!r}; vreid recipes lists them",
        )
    return recipe_named(name)


def _over(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe over that many epochs, which its warm-up, constant part and start of resetting are counted in, so that a file
    can give one of them."""
    by = epochs / recipe.planned
    capacity = recipe.capacity and replace(recipe.capacity, start=round(recipe.capacity.start * by))
    return replace(
        recipe, epochs=epochs, planned=epochs, warmup=recipe.warmup * by, flat=recipe.flat * by, capacity=capacity
    )


def _record(kind: type[Record], table: Mapping[str, Any], base: Record | None, at: str, page: _Page) -> Record:
    """A record of the recipe, made of a table and of what the base has else; `at` is the table's name with a point."""
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in known or f"{at}{key}" == FROM_DATA:
            raise page.refused(f"{at}{key}", _unknown(f"{at}{key}"))
        values[key] = _value(hints[key], value, getattr(base, key, None), f"{at}{key}", page)
    if "body" in values and base is not None and values["body"] != getattr(base, "body", None):
        values.setdefault("options", {})  # those of another body do not fit
        values["options"] = dict(table.get("options", {}))
    if base is not None:
        return replace(base, **values)  # type: ignore[type-var]
    missing = [
        name
        for name, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING and name not in values
    ]
    if missing:
        raise page.refused(
            at.rstrip("."), f"{at}{missing[0]} is missing; give it, or base with the name of a bundled recipe"
        )
    return kind(**values)


def _value(hint: Any, value: Any, base: Any, name: str, page: _Page) -> Any:
    """A setting of the type `hint`, checked."""
    optional = get_origin(hint) in (UnionType, Union)  # of one type and None, wherever a recipe has it
    kind = get_args(hint)[0] if optional else hint
    if optional and value == NONE:
        return None
    if is_dataclass(kind) or get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            words = f"a table [{name}]{' or ' + json.dumps(NONE) if optional else ''}"
            raise page.refused(name, f"{name} is {words}, not {shown(_json(value))}; correct it")
        if not is_dataclass(kind):
            return {**(base or {}), **value}
        return _record(kind, value, base, f"{name}.", page)  # type: ignore[arg-type]
    try:
        ruled: Any = Annotated[kind, RANGES[name]] if name in RANGES else NAMES.get(name, kind)
        return TypeAdapter(ruled).validate_json(_json(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{part}]" for part in first["loc"] if isinstance(part, int))
        wrong = first["msg"].removeprefix("Input ")
        raise page.refused(
            name,
            f"{name}{where} {wrong}{', or ' + json.dumps(NONE) if optional else ''}, not {shown(_json(value))}; correct it",
        ) from error


def _json(value: Any) -> str:
    return json.dumps(value, default=str)


def _unknown(name: str) -> str:
    if name == FROM_DATA:
        return f"{name} is counted in the data; leave it out"
    name = shown(name)
    table, _, key = name.rpartition(".")
    names = {other: other.rpartition(".")[2] for other in _names(Recipe, "") if other != FROM_DATA}
    mates = {other: last for other, last in names.items() if other.removesuffix(last) == (f"{table}." if table else "")}
    for among in (mates, names):  # in its own table first
        if close := difflib.get_close_matches(key, among.values(), 1, 0.75):
            nearest = next(other for other, last in among.items() if last == close[0])
            break
    else:
        (nearest,) = difflib.get_close_matches(name, names, 1, 0.0)
    return f"there is no setting {name}; the nearest is {nearest}, and vreid recipes NAME prints all of a recipe"


def _names(kind: Any, at: str) -> Iterator[str]:
    """The names of all settings, of tables and of what is in them."""
    for name, hint in get_type_hints(kind).items():
        yield f"{at}{name}"
        for part in (hint, *get_args(hint)):
            if is_dataclass(part):
                yield from _names(part, f"{at}{name}.")


def _lines(record: Any, at: str) -> Iterator[str]:
    """TOML of a record: its own settings, then its tables."""
    tables = []
    for field in fields(record):
        value, name = getattr(record, field.name), f"{at}{field.name}"
        if (
            name == FROM_DATA
            or (name == "planned" and value == record.epochs)
            or (value is None and field.default is None)
        ):
            continue
        if is_dataclass(value) or isinstance(value, dict):
            tables.append((name, value))
        else:
            yield f"{field.name} = {json.dumps(NONE if value is None else value)}\n"
    for name, value in tables:
        if is_dataclass(value):
            yield f"\n[{name}]\n"
            yield from _lines(value, f"{name}.")
        elif value:
            yield f"\n[{name}]\n"
            yield from (f"{key} = {json.dumps(part)}\n" for key, part in value.items())
