"""The pages, made by the server; htmx exchanges parts of them, and without JavaScript everything can still be read."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vreid.report import formats
from vreid.serve.persons import COOKIE, person_of, refuse_forged, service_of
from vreid.serve.rights import SESSION_S, Person

pages = APIRouter(include_in_schema=False)


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of templates/ as the person of this request sees it."""
    service, person = service_of(request), person_of(request)
    common = {
        "person": person,
        "csrf": "" if person is None else service.tokens.csrf(person),
        "path": request.url.path,
        "open": service.open,
    }
    text = _environment().get_template(template).render({**common, **values})
    return HTMLResponse(text, status)


def problem_page(
    request: Request, status: int, title: str, detail: str, headers: dict[str, str] | None = None
) -> Response:
    """An error for people."""
    answer = page(request, "problem.html.j2", status, title=title, detail=detail)
    answer.headers.update(headers or {})
    return answer


@pages.get("/sign-in")
def sign_in_page(request: Request) -> HTMLResponse:
    """Where a token is given."""
    return page(request, "sign_in.html.j2", wrong=False)


@pages.post("/sign-in")
def sign_in(request: Request, token: Annotated[str, Form(max_length=200)]) -> Response:
    """A session for a token."""
    service = service_of(request)
    refuse_forged(request, Person("", "look"))
    person = service.tokens.person_of(token.strip())
    if person is None:
        return page(request, "sign_in.html.j2", 401, wrong=True)
    answer = RedirectResponse("/", 303)
    answer.set_cookie(
        COOKIE, service.tokens.session(person), max_age=int(SESSION_S), httponly=True, samesite="strict",
        secure=service.address.secure,
    )  # fmt: skip
    return answer


@pages.post("/sign-out")
def sign_out(request: Request) -> Response:
    """The end of a session, in this browser."""
    refuse_forged(request, Person("", "look"))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


def moment(seconds: float | None) -> str:
    """Seconds since 1970 -> 2026-11-30 14:03:22 CET, in this machine's zone; a dash for None."""
    if seconds is None:
        return formats.MISSING
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    functions = (formats.number, formats.percent, formats.large, formats.colour, moment)
    environment.filters.update({function.__name__: function for function in functions})
    return environment
