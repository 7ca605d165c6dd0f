"""The OpenAPI document of the API: what FastAPI makes of the routes, and what only this server knows."""

import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from vreid.serve.documents import Problem
from vreid.serve.persons import cookie_of
from vreid.serve.service import Service

_VERBS = ("get", "post", "patch", "delete")


def openapi_of(app: FastAPI, service: Service) -> Callable[[], dict[str, Any]]:
    """What makes the document, once."""
    plain, making, document = app.openapi, threading.Lock(), dict[str, Any]()

    def made() -> dict[str, Any]:
        with making:
            if not document:
                document.update(_completed(plain(), service))
        return document

    return made


def _completed(document: dict[str, Any], service: Service) -> dict[str, Any]:
    """With rights, problem documents, an ETag at what has one, links, and the length of a feature."""
    parts = document["components"]
    schemas = parts["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own; errors here are problem documents
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    parts["securitySchemes"] = _schemes(cookie_of(service))
    document["security"] = [{name: []} for name in parts["securitySchemes"]]
    feature = schemas["FeatureSearch"]["properties"]["feature"]
    feature["minItems"] = feature["maxItems"] = service.access.about.dim
    feature["examples"] = [[1.0, *[0.0] * (service.access.about.dim - 1)]]
    for path in document["paths"].values():
        for verb in _VERBS:
            if verb in path:
                _complete(path[verb], schemas)
    enrol = document["paths"]["/api/v1/vehicles"]["post"]["responses"]["201"]
    enrol["links"] = {
        "vehicle": {"operationId": _id_of(document, "/api/v1/vehicles/{vehicle}"), "parameters": {"vehicle": _NEW}},
        "rename": {"operationId": _id_of(document, "/api/v1/vehicles/{vehicle}", "patch"), "parameters": {"vehicle": _NEW}},
        "remove": {"operationId": _id_of(document, "/api/v1/vehicles/{vehicle}", "delete"), "parameters": {"vehicle": _NEW}},
    }  # fmt: skip
    return document


def _schemes(cookie: str) -> dict[str, Any]:
    return {
        "token": {"type": "http", "scheme": "bearer", "description": "A token of `vreid serve token`."},
        "session": {
            "type": "apiKey", "in": "cookie", "name": cookie,
            "description": "The session of a browser; what writes also needs its CSRF token in the header X-CSRF-Token.",
        },
    }  # fmt: skip


_NEW = "$response.body#/done/id"
_IF_NONE_MATCH = {
    "name": "If-None-Match", "in": "header", "schema": {"type": "string"},
    "description": "ETags that the caller has; 304 where one holds.",
}  # fmt: skip


def _id_of(document: dict[str, Any], path: str, verb: str = "get") -> str:
    return str(document["paths"][path][verb]["operationId"])


def _complete(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    answers = operation["responses"]
    if "304" in answers:
        answers["200"]["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."}}
        operation.setdefault("parameters", []).append(_IF_NONE_MATCH)
    for status in ("429", "503"):
        if status in answers:
            answers[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if form is not None:
        for about in schemas[form["schema"]["$ref"].rpartition("/")[2]]["properties"].values():
            for one in (kind for kind in about.pop("anyOf", []) if kind != {"type": "null"}):
                about.update(one)  # a form has no null: what is not sent is left out
            file = about.get("items", about)
            if file.pop("contentMediaType", None):
                file["format"] = "binary"  # as tools know files of forms
