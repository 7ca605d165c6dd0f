"""The application: routes, errors as problem documents (RFC 9457) or as pages, and what every request passes first."""

from importlib.metadata import version
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.routing import Match

from vreid.models.errors import (
    BadInput,
    GalleryAway,
    GalleryDamaged,
    GalleryFull,
    GalleryLocked,
    KeyReused,
    NameTaken,
    NotFound,
    Refused,
    WrongModel,
    shown,
)
from vreid.serve import problems
from vreid.serve.api import reading
from vreid.serve.api_edits import edits
from vreid.serve.api_search import searches
from vreid.serve.gallery_access import GalleryReplaced
from vreid.serve.health import probes
from vreid.serve.limits import App, Guarded
from vreid.serve.openapi import openapi_of
from vreid.serve.pages import pages
from vreid.serve.persons import SignIn
from vreid.serve.rendering import problem_page
from vreid.serve.rights import TokensUnusable
from vreid.serve.service import Service
from vreid.serve.streams import TooManyStreams
from vreid.serve.turns import Busy
from vreid.serve.uploads import NotAPicture, PictureTooLarge

STATUSES: dict[type[Refused], int] = {  # the first that fits; Refused: a state that does not allow it
    NotAPicture: 415,
    PictureTooLarge: 413,
    NotFound: 404,
    NameTaken: 409,
    WrongModel: 409,
    KeyReused: 422,
    BadInput: 422,
    GalleryLocked: 503,
    GalleryAway: 503,
    GalleryReplaced: 503,
    TokensUnusable: 503,
    TooManyStreams: 503,
    Busy: 503,
    GalleryFull: 507,
    GalleryDamaged: 500,
    Refused: 409,
}
ROUTERS = (reading, searches, edits, probes, pages)
_MOMENT = "seconds since 1970, such as 1764500000"
_HINTS = {  # what a value has to be, by its name
    "since": _MOMENT, "until": _MOMENT, "before": _MOMENT, "cursor": "`next` of the part before", "vehicle": "the id of a vehicle",
    "sighting": "the id of a sighting", "change": "the id of a change",
}  # fmt: skip


def application(service: Service) -> App:
    """The ASGI application of a service."""
    app = FastAPI(
        title="vreid", version=version("vreid"), openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        description="Vehicles that were seen again: the gallery, its sightings, search, edits and the run. Times are in "
        "seconds since 1970. Every GET is answered to HEAD too, without its body.",
    )  # fmt: skip
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router)
    app.openapi = openapi_of(app, service)  # type: ignore[method-assign]
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static")
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SignIn, _sign_in)
    app.add_exception_handler(Exception, _failed)
    names = frozenset(name.lower() for name in (*service.address.hosts, service.address.host))
    return Guarded(app, names, service.address.secure, service.requests_a_minute)


def _answer(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """A problem, as a document for programs and as a page for people."""
    if request.url.path.startswith("/api/"):
        return JSONResponse(problems.document(status, detail), status, headers, media_type=problems.MEDIA_TYPE)
    return problem_page(request, status, problems.meaning_of(status).heading, detail, headers)


async def _refused(request: Request, error: Exception) -> Response:
    status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
    headers = {"Retry-After": "2"} if status == 503 else None
    return _answer(request, status, str(error), headers)


async def _invalid(request: Request, error: Exception) -> Response:
    first = cast(RequestValidationError, error).errors()[0]
    if first["type"] == "json_invalid":
        return _answer(request, 400, f"the body is not JSON: {first['ctx']['error']} at byte {first['loc'][-1]}")
    return _answer(request, 422, _what_is_wrong(first))


def _what_is_wrong(error: dict[str, Any]) -> str:
    """A sentence of what pydantic has found first."""
    part, *inside = error["loc"]
    name = shown(".".join(map(str, inside)))
    where = f"'{name}' in the {part}" if name else f"the {part}"
    if error["type"] == "missing":
        return f"{where} is missing; send it"
    text = str(error["msg"])
    hint = _HINTS.get(str(inside[-1]), "") if inside else ""
    return f"{where} is not valid: {text[:1].lower()}{text[1:]}" + (f"; give {hint}" if hint else "")


async def _http(request: Request, error: Exception) -> Response:
    failed = cast(HTTPException, error)
    headers = dict(failed.headers or {})
    detail = str(failed.detail)
    if failed.status_code == 405:
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"this path takes {headers['Allow']}, not {shown(request.method)}; use one of these"
    elif failed.status_code == 404:  # of the router: what a route does not find is NotFound
        api = request.url.path.startswith("/api/")
        detail = f"there is nothing at this address; {'/api/v1/openapi.json lists all paths' if api else 'take a link above'}"
    return _answer(request, failed.status_code, detail, headers)


def _methods(request: Request) -> list[str]:
    """What the path of a request takes, over all routes (RFC 9110, section 15.5.6)."""
    found = set[str]()
    for route in (route for router in ROUTERS for route in router.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found | ({"HEAD"} if "GET" in found else set()))


async def _sign_in(request: Request, error: Exception) -> Response:
    to = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(
        "/sign-in" if to == "/" or request.method != "GET" else f"/sign-in?{urlencode({'to': to})}", 303
    )


async def _failed(request: Request, error: Exception) -> Response:
    return _answer(request, 500, "the server failed at this request; its log says where", {"Connection": "close"})
