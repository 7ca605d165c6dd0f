"""Who sends a request, and whether they may: the dependencies of the routes."""

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Annotated, cast
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request

from vreid.runtime.login import login
from vreid.serve.rights import LOCAL, Person, Role
from vreid.serve.service import Service

SAFE = ("GET", "HEAD", "OPTIONS")


class SignIn(Exception):
    """A page that only somebody with a token may see."""


def service_of(request: Request) -> Service:
    """What the application was made of."""
    return cast(Service, request.app.state.service)


def cookie_of(service: Service) -> str:
    """The name of the cookie of a session. Browsers send a cookie to every port of a host: servers with two files of tokens need
    two names."""
    file = os.fsencode(os.path.realpath(service.tokens.path))  # which takes a link to itself too
    return f"vreid_session_{hashlib.sha256(file).hexdigest()[:8]}"


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
    if (cookie := request.cookies.get(cookie_of(service))) and (person := service.tokens.person_of_session(cookie)):
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
    """A dependency: who sends it, if they have at least this role. What a session writes needs its CSRF token.

    Raises HTTPException 401 where nobody is known, 403 for a lower role or a request that another site has brought about.
    """

    def checked(request: Request) -> Person:
        person = somebody(request)
        may(person, role)
        if person.session and request.method not in SAFE:
            refuse_other_sites(request)
            if person.session != LOCAL:  # programs on this machine send nothing
                refuse_wrong_csrf(request, person)
        return person

    return checked


def may(person: Person, role: Role) -> None:
    """Raises HTTPException 403 for a lower role."""
    if not person.may(role):
        raise HTTPException(403, f"this needs the role '{role}', and the token of '{person.name}' has '{person.role}'")


def refuse_other_sites(request: Request) -> None:
    """Raises HTTPException 403 for what a page of another site has sent, as far as the browser says so."""
    origin = request.headers.get("origin")
    foreign = origin is not None and _site_of(origin) != request.headers.get("host", "").lower()
    if foreign or request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "this request comes from a page of another site")


def refuse_wrong_csrf(request: Request, person: Person, field: str = "") -> None:
    """Raises HTTPException 403 unless the header X-CSRF-Token, or the `field` of a form, is that of the person's session."""
    given, wanted = request.headers.get("x-csrf-token") or field, service_of(request).tokens.csrf(person)
    if not hmac.compare_digest(given.encode(), wanted.encode()):
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
