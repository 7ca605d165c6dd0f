"""Who sends a request, and whether they may: the dependencies of the routes."""

import hmac
from collections.abc import Callable
from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request

from vreid.runtime.gallery.gallery import login
from vreid.serve.rights import LOCAL, Person, Role
from vreid.serve.service import Service

COOKIE = "vreid_session"
SAFE = ("GET", "HEAD", "OPTIONS")


class SignIn(Exception):
    """A page that only somebody with a token may see."""


def service_of(request: Request) -> Service:
    """What the application was made of."""
    return cast(Service, request.app.state.service)


def person_of(request: Request) -> Person | None:
    """Who sends it: by a token, by the session of a browser, or anybody on this machine while there is no token at all.

    Raises HTTPException 401 for a token that is none.
    """
    service = service_of(request)
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind:
        person = service.tokens.person_of(text.strip()) if kind.lower() == "bearer" else None
        if person is None:
            raise HTTPException(401, "this token is not known here; vreid serve token makes one", _CHALLENGE)
        return person
    if (cookie := request.cookies.get(COOKIE)) and (person := service.tokens.person_of_session(cookie)):
        return person
    return Person(login(), "admin", session=LOCAL) if service.open else None


_CHALLENGE = {"WWW-Authenticate": "Bearer"}


def somebody(request: Request) -> Person:
    """Who sends it. Raises HTTPException 401 where nobody is known."""
    person = person_of(request)
    if person is None:
        raise HTTPException(401, "a token is needed; vreid serve token makes one", _CHALLENGE)
    return person


def needs(role: Role) -> Callable[[Request], Person]:
    """A dependency: who sends it, if they have at least this role; their right to write is checked against forgery too.

    Raises HTTPException 401 where nobody is known, 403 for a lower role or a request that another site has brought about.
    """

    def checked(request: Request) -> Person:
        person = somebody(request)
        if not person.may(role):
            raise HTTPException(
                403, f"this needs the role '{role}', and the token of '{person.name}' has '{person.role}'"
            )
        if request.method not in SAFE:
            refuse_forged(request, person)
        return person

    return checked


def refuse_forged(request: Request, person: Person) -> None:
    """Raises HTTPException 403 for a request that writes and that a page of another site may have sent (CSRF).

    One with a token cannot be; one by a session has to bring that session's CSRF token, in the header X-CSRF-Token or as the
    field `csrf` of a form, which a page checks; all others must not come from another origin.
    """
    if "authorization" in request.headers:
        return
    origin = request.headers.get("origin")
    if origin is not None and _site_of(origin) != request.headers.get("host", "").lower():
        raise HTTPException(403, "this request comes from a page of another site")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "this request comes from a page of another site")
    if not person.session or person.session == LOCAL:
        return
    given = request.headers.get("x-csrf-token", "")
    if not given and not request.url.path.startswith("/api/"):
        return  # a form: `form_of` checks its field
    if not hmac.compare_digest(given.encode(), service_of(request).tokens.csrf(person).encode()):
        raise HTTPException(403, "the CSRF token is missing or of another session; load the page again")


def _site_of(origin: str) -> str:
    """Host and port of an origin, "" where it has none ("null") or cannot be read."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


Looking = Annotated[Person, Depends(needs("look"))]
Editing = Annotated[Person, Depends(needs("edit"))]
Administering = Annotated[Person, Depends(needs("admin"))]
Served = Annotated[Service, Depends(service_of)]
