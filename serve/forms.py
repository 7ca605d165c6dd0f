"""Who looks at a page or sends one of its forms: the dependencies of the pages' routes."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Form, HTTPException, Request

from vreid.serve.persons import SignIn, person_of, refuse_forged, service_of
from vreid.serve.rights import Person, Role


def viewer(request: Request) -> Person:
    """Who looks. Raises SignIn where nobody is known."""
    person = person_of(request)
    if person is None:
        raise SignIn
    return person


def sender(role: Role) -> Callable[..., Person]:
    """A dependency: who sends a form, if they have at least this role; its field `csrf`, or the header X-CSRF-Token, has to be
    that of their session, also where there are no tokens yet.

    Raises SignIn where nobody is known, HTTPException 403 for a lower role or a form that another site has sent.
    """

    def checked(request: Request, csrf: Annotated[str, Form(max_length=200)] = "") -> Person:
        person = viewer(request)
        refuse_forged(request, person)
        if "authorization" not in request.headers:
            given, wanted = request.headers.get("x-csrf-token") or csrf, service_of(request).tokens.csrf(person)
            if not hmac.compare_digest(given.encode(), wanted.encode()):
                raise HTTPException(403, "this form is of another session; load the page again and send it once more")
        may(person, role)
        return person

    return checked


def may(person: Person, role: Role) -> None:
    """Raises HTTPException 403 for a lower role."""
    if not person.may(role):
        raise HTTPException(403, f"this needs the role '{role}', and the token of '{person.name}' has '{person.role}'")


Viewer = Annotated[Person, Depends(viewer)]
Editor = Annotated[Person, Depends(sender("edit"))]
Admin = Annotated[Person, Depends(sender("admin"))]
