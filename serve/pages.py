"""All pages, made by the server; htmx exchanges parts of them, and without JavaScript they can be read and their forms work."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from vreid.serve import (
    pages_api,
    pages_doubtful,
    pages_edits,
    pages_find,
    pages_live,
    pages_settings,
    pages_sightings,
    pages_vehicles,
    pages_watch,
)
from vreid.serve.persons import cookie_of, refuse_other_sites, service_of
from vreid.serve.rendering import own_path, page, style_sheet
from vreid.serve.rights import SESSION_S

pages = APIRouter(include_in_schema=False)
for part in (
    pages_live,
    pages_sightings,
    pages_vehicles,
    pages_find,
    pages_edits,
    pages_doubtful,
    pages_watch,
    pages_settings,
    pages_api,
):
    pages.include_router(part.routes)


@pages.get("/style.css")
def style() -> Response:
    """The look of all pages; its address changes when it does."""
    return Response(style_sheet(), media_type="text/css", headers={"Cache-Control": "public, max-age=86400"})


@pages.get("/sign-in")
def sign_in_page(request: Request, to: str = "/") -> HTMLResponse:
    """Where a token is given."""
    return page(request, "sign_in.html.j2", wrong=False, to=own_path(to))


@pages.post("/sign-in")
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=200)],
    to: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """A session for a token."""
    service = service_of(request)
    refuse_other_sites(request)
    person = service.tokens.person_of(token.strip())
    if person is None:
        return page(request, "sign_in.html.j2", 401, wrong=True, to=own_path(to))
    answer = RedirectResponse(own_path(to), 303)
    answer.set_cookie(
        cookie_of(service), service.tokens.session(person), max_age=int(SESSION_S), httponly=True, samesite="strict",
        secure=service.address.secure,
    )  # fmt: skip
    return answer


@pages.post("/sign-out")
def sign_out(request: Request) -> Response:
    """The end of a session, in this browser."""
    refuse_other_sites(request)
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(cookie_of(service_of(request)))
    return answer
