"""The application: routes, errors as problem documents (RFC 9457) or as pages, and what every request passes first."""

from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from vreid.models.errors import (
    BadInput,
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
from vreid.serve.api import api
from vreid.serve.limits import App, Guarded, TooLarge
from vreid.serve.live import TooManyViewers
from vreid.serve.pages import pages, problem_page
from vreid.serve.persons import SignIn
from vreid.serve.service import Service

STATUSES: dict[type[Refused], int] = {
    NotFound: 404,
    NameTaken: 409,
    WrongModel: 409,
    KeyReused: 422,
    BadInput: 422,
    GalleryLocked: 503,
    TooManyViewers: 503,
    GalleryFull: 507,
    GalleryDamaged: 500,
}
TITLES = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict",
    413: "Content Too Large", 415: "Unsupported Media Type", 422: "Unprocessable Content", 500: "Internal Server Error",
    503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip


def application(service: Service) -> App:
    """The ASGI application of a service."""
    app = FastAPI(
        title="vreid", version=version("vreid"), openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
        description="Vehicles that were seen again: the gallery, its sightings, search, edits and the run.",
    )  # fmt: skip
    app.state.service = service
    app.include_router(api)
    app.include_router(pages)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static")
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(SignIn, _sign_in)
    app.add_exception_handler(TooLarge, _too_large)
    app.add_exception_handler(Exception, _failed)
    names = frozenset(name.lower() for name in (*service.address.hosts, service.address.host))
    return Guarded(app, names, service.address.secure, service.requests_a_minute)


def _answer(request: Request, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    """A problem, as a document for programs and as a page for people."""
    title = TITLES.get(status, "Error")
    if request.url.path.startswith("/api/"):
        document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        return JSONResponse(document, status, headers, media_type="application/problem+json")
    return problem_page(request, status, title, detail, headers)


async def _refused(request: Request, error: Exception) -> Response:
    status = next((code for kind, code in STATUSES.items() if isinstance(error, kind)), 422)
    headers = {"Retry-After": "2"} if status == 503 else None
    return _answer(request, status, str(error), headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return _answer(request, 422, f"{shown(where)}: {first['msg']}")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, str(error.detail), dict(error.headers or {}))


async def _sign_in(request: Request, error: Exception) -> Response:
    return RedirectResponse("/sign-in", 303)


async def _too_large(request: Request, error: Exception) -> Response:
    return _answer(request, 413, "the request is too large")


async def _failed(request: Request, error: Exception) -> Response:
    return _answer(request, 500, "the server failed at this request; its log says where")
