"""Who looks at a page or sends one of its forms: the dependencies of the pages' routes."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Form, Request

from vreid.serve.persons import SignIn, may, person_of, refuse_other_sites, refuse_wrong_csrf
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
        if person.session:
            refuse_other_sites(request)
            refuse_wrong_csrf(request, person, csrf)
        may(person, role)
        return person

    return checked


Viewer = Annotated[Person, Depends(viewer)]
Editor = Annotated[Person, Depends(sender("edit"))]
Admin = Annotated[Person, Depends(sender("admin"))]
