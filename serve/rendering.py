"""The server's pages made of templates/: what all of them show, and how numbers, times and colours are written."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vreid import report
from vreid.report import formats
from vreid.serve import days
from vreid.serve.persons import person_of, service_of
from vreid.serve.reading import Reading
from vreid.serve.rights import Person
from vreid.serve.sentences import comes_from, counted, known_type, sentence, undoable, view_name, why_doubtful

HERE = Path(__file__).parent
PLACES = (
    ("/", "Live"),
    ("/sightings", "Sightings"),
    ("/vehicles", "Vehicles"),
    ("/find", "Find"),
    ("/doubtful", "Doubtful"),
    ("/watch", "Watch list"),
    ("/health", "Health"),
    ("/settings", "Settings"),
)


@dataclass(frozen=True)
class Notice:
    """What the person has just done: a sentence, a link to what came of it, and the change to take back (0: none)."""

    text: str
    link: str = ""
    link_text: str = ""
    undo: int = 0


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of templates/ as the person of this request sees it."""
    return _rendered(request, template, status, _of_person(request), values)


def problem_page(
    request: Request, status: int, title: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """An error for people; where they came from is offered. It is shown as to nobody where the person cannot be found."""
    back = request.headers.get("referer", "") if request.method == "POST" else ""
    own = back.startswith((f"http://{request.url.netloc}/", f"https://{request.url.netloc}/"))
    try:
        of_person = _of_person(request)
    except Exception:  # noqa: BLE001  what failed for the request may fail here again
        of_person = _NOBODY
    values = {"title": title, "detail": detail, "back": back if own else ""}
    answer = _rendered(request, "problem.html.j2", status, of_person, values)
    answer.headers.update(headers or {})
    return answer


_NOBODY: dict[str, Any] = {"person": None, "csrf": "", "notice": None}


def _of_person(request: Request) -> dict[str, Any]:
    """What a page shows of the person of a request. Raises HTTPException 401 for a token that is none, and Refused."""
    person = person_of(request)
    if person is None:
        return _NOBODY
    csrf = service_of(request).tokens.csrf(person)
    return {"person": person, "csrf": csrf, "notice": _notice(request, person)}


def _rendered(
    request: Request, template: str, status: int, of_person: dict[str, Any], values: dict[str, Any]
) -> HTMLResponse:
    path = request.url.path
    common = {**of_person, "path": path, "place": _place(path), "places": PLACES, "look": _stamp()}
    return HTMLResponse(_environment().get_template(template).render({**common, **values}), status)


def after(to: str, change: int | None) -> RedirectResponse:
    """To a page of this server, which says what was done and offers to take it back."""
    said = "" if change is None else f"{'&' if '?' in to else '?'}done={change}"
    return RedirectResponse(to + said, 303)


def _place(path: str) -> str:
    """Which entry of the navigation a page belongs to."""
    first = path.split("/")[1]
    return "/" + {"live": "", "audit": "settings", "docs": "settings", "merge": "vehicles", "enrol": "vehicles"}.get(
        first, first
    )


def own_path(text: str, otherwise: str = "/") -> str:
    """`text` if it is a path of this server, with a query or without: nobody is sent to another site."""
    plain = text.isascii() and text.isprintable() and "\\" not in text
    return text if plain and text.startswith("/") and not text.startswith("//") else otherwise


def style_sheet() -> bytes:
    """The look of the reports, and what the server's pages have more."""
    first = Path(report.__file__).parent / "templates" / "style.css"
    return first.read_bytes() + (HERE / "templates" / "style.css").read_bytes()


@cache
def _stamp() -> str:
    """Differs wherever the look does, so that a browser keeps it until then."""
    return hashlib.sha256(style_sheet() + (HERE / "static" / "pages.js").read_bytes()).hexdigest()[:12]


def _notice(request: Request, person: Person) -> Notice | None:
    """The change that the address names, if this person made it."""
    text = request.query_params.get("done", "")
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        return None
    change = Reading(service_of(request).access, person).change(int(text))
    if change is None or change.who != person.name:
        return None
    named = change.detail.get("vehicles") or [change.vehicle]
    other = named[-1] if change.verb in ("split", "reject") and len(named) > 1 else named[0]
    hidden = change.verb == "remove" or (change.verb == "enrol" and person.cameras)  # no camera of theirs has seen it
    link = "" if other is None or hidden else f"/vehicles/{other}"
    here = request.url.path == link
    return Notice(
        sentence(change),
        "" if here else link,
        "" if other is None else f"#{other}",
        change.id if undoable(change) else 0,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_balanced,
    )  # fmt: skip
    functions = (
        formats.number,
        formats.percent,
        formats.large,
        formats.colour,
        days.moment,
        days.time_of_day,
        days.iso,
        sentence,
        undoable,
        why_doubtful,
        comes_from,
        view_name,
        known_type,
        counted,
    )
    environment.filters.update({function.__name__: function for function in functions})
    environment.filters.update({"day": days.day_text})
    return environment


def _balanced(value: Any) -> Any:
    """A text without beginnings and ends of isolates that have no counterpart in it: they would take that of the <bdi> in which
    it stands (Unicode Standard Annex 9, BD9)."""
    if not isinstance(value, str) or not any(mark in value for mark in (*_BEGINNINGS, _END)):
        return value
    single, begun = set[int](), list[int]()
    for place, letter in enumerate(value):
        if letter in _BEGINNINGS:
            begun.append(place)
        elif letter == _END:
            single |= set() if begun else {place}
            del begun[-1:]
    single.update(begun)
    return type(value)("".join(letter for place, letter in enumerate(value) if place not in single))


_BEGINNINGS, _END = "\u2066\u2067\u2068", "\u2069"  # of isolates
