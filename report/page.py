"""Pages from templates: one style sheet, no script, nothing fetched, every text and value escaped."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vreid.models.errors import Refused
from vreid.models.files import atomic
from vreid.report import formats


@dataclass(frozen=True)
class Picture:
    """An encoded JPEG and what it shows; `jpeg` is empty where there is none. `link` leads to a larger one, where there is."""

    jpeg: bytes
    alt: str
    title: str
    link: str = ""


@dataclass(frozen=True)
class View:
    """A vehicle at one place: `lines` stand under the heading, `count` next to it where it is more than 1."""

    heading: str
    lines: list[str]
    pictures: list[Picture]
    count: int = 1


@dataclass(frozen=True)
class Card:
    """A vehicle on a page; `badge` is "known", "new" or empty."""

    vehicle: int
    views: list[View]
    name: str = ""
    badge: str = ""
    note: str = ""


def render(template: str, **values: Any) -> Markup:
    """The text of templates/`template`; a name that the template uses and that is not in `values` is an error."""
    return Markup(_environment().get_template(template).render(values))


def pieces(template: str, **values: Any) -> Iterator[str]:
    """As `render`, piece by piece: what comes from an iterator is taken one by one, so that a long page needs little memory."""
    return _environment().get_template(template).generate(values)


def write_page(path: Path, text: str | Iterable[str]) -> Path:
    """Write a page, or its pieces, complete or not at all; returns `path`. Raises Refused where it cannot be written.

    A lone surrogate, as in a name that is not UTF-8, becomes "?".
    """
    try:
        with atomic(path) as temporary, temporary.open("x", encoding="utf-8", errors="replace") as file:
            file.writelines([text] if isinstance(text, str) else text)
    except OSError as error:
        raise Refused(
            f"cannot write {path} ({error.strerror or error}); free space, or make its folder writable"
        ) from error
    return path


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (formats.number, formats.percent, formats.large, formats.clock, formats.colour, formats.jpeg_uri)
    environment.filters.update({function.__name__: function for function in filters})
    return environment
