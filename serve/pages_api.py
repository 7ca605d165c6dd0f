"""What the API takes, as a page, from its OpenAPI document."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from vreid.serve.forms import Viewer
from vreid.serve.rendering import page

routes = APIRouter()
_PLACE = "/docs"


@dataclass(frozen=True)
class Operation:
    """What may be sent to a path, what that does, and the names that it takes in its query and in its body."""

    method: str
    path: str
    summary: str
    query: str
    body: str


@routes.get("/api/v1")
def of_the_api(person: Viewer) -> RedirectResponse:
    """Whoever opens the API in a browser is led to the page of it."""
    return RedirectResponse(_PLACE)


@routes.get(_PLACE)
def api_page(request: Request, person: Viewer) -> HTMLResponse:
    """Every operation, by what it is about."""
    document = request.app.openapi()
    return page(request, "api.html.j2", about=document["info"]["description"], operations=operations_of(document))


def operations_of(document: dict[str, Any]) -> dict[str, list[Operation]]:
    """Those of an OpenAPI document, by tag."""
    found: dict[str, list[Operation]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            query = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            body = dict.fromkeys(name for schema in _bodies(operation) for name in _fields(document, schema))
            one = Operation(method.upper(), path, operation["summary"], ", ".join(query), ", ".join(body))
            found.setdefault(operation["tags"][0], []).append(one)
    return found


def _bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield content["schema"]


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """The names of an object's fields, or of those that it may be one of."""
    for part in schema.get("anyOf", [schema]):
        own = document["components"]["schemas"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        yield from own.get("properties", ())
