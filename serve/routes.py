"""What every route of the API does: who sends a request, and what it is, is known before its body is read; an answer to GET has an
ETag, and one that the caller has already is not sent again."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from difflib import get_close_matches
from typing import Any

from fastapi import HTTPException, Request, Response, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from vreid.models.errors import BadInput, shown
from vreid.serve import documents as doc
from vreid.serve.persons import SAFE, somebody
from vreid.serve.problems import MEDIA_TYPE, PROBLEMS

READ = (304, 401, 403, 404, 421, 422, 429, 500, 503)
WRITE = (400, 401, 403, 404, 408, 409, 412, 413, 415, 421, 422, 429, 500, 503, 507)
JPEG: dict[str, Any] = {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}


def answers(statuses: tuple[int, ...], **good: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: problem documents of these statuses, and what `good` says of others, as _200={...}."""
    every: dict[int | str, dict[str, Any]] = {
        status: {"description": "It is as the caller has it (If-None-Match)."}
        if status == 304
        else {"description": PROBLEMS[status].text, "content": {MEDIA_TYPE: {"schema": _REFERENCE}}}
        for status in statuses
    }
    return every | {int(status.removeprefix("_")): about for status, about in good.items()}


_REFERENCE = {"$ref": f"#/components/schemas/{doc.Problem.__name__}"}
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ApiRoute(APIRoute):
    """A route of the API."""

    def get_route_handler(self) -> Handler:
        """The handler of FastAPI with this around it."""
        handle, kinds, known = super().get_route_handler(), self._kinds(), _query_of(self.dependant)

        async def answered(request: Request) -> Response:
            somebody(request)
            _refuse_unknown(request, known)
            if request.method not in SAFE and "if-match" in request.headers:
                raise HTTPException(412, "no condition is checked before a write; send it without If-Match")
            _refuse_other_kinds(request, kinds)
            return with_etag(request, await handle(_StrictRequest(request.scope, request.receive)))

        return answered

    def _kinds(self) -> tuple[str, ...]:
        """The content types that a body may have; none where there is none."""
        if self.body_field is None:
            return ()
        info = self.body_field.field_info
        if isinstance(info, params.File):
            return ("multipart/form-data",)
        if isinstance(info, params.Form):
            return ("multipart/form-data", "application/x-www-form-urlencoded")
        return ("application/json",)


def _query_of(dependant: Dependant) -> list[str]:
    """The names of the parameters that a route, or what it depends on, takes in the query."""
    return sorted({field.alias for field in dependant.query_params}.union(*map(_query_of, dependant.dependencies)))


def _refuse_unknown(request: Request, known: Sequence[str]) -> None:
    """Raises BadInput for a parameter in the query that the route does not have: a misspelt filter would let everything through."""
    for name in request.query_params:
        if name not in known:
            near = get_close_matches(name, known, 1)
            meant = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(known) or 'none'}"
            raise BadInput(f"there is no '{shown(name)}' in the query of this path; {meant}")


class _StrictRequest(Request):
    """A request in whose JSON a key stands once (RFC 8259, section 4): of two, readers take either."""

    async def json(self) -> Any:
        """The body. Raises JSONDecodeError, and HTTPException 422 for a key that stands twice."""
        return json.loads(await self.body(), object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise HTTPException(422, f"'{shown(twice)}' stands twice in an object of the body; send it once")
    return found


def _refuse_other_kinds(request: Request, kinds: tuple[str, ...]) -> None:
    """Raises HTTPException 415 for a body of another kind, or one that is compressed."""
    if not kinds or request.headers.get("content-length") == "0":
        return
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise HTTPException(415, "send the body without Content-Encoding", {"Accept-Encoding": "identity"})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds and ("content-length" in request.headers or "transfer-encoding" in request.headers):
        accept = "Accept-Post" if request.method == "POST" else "Accept-Patch"
        raise HTTPException(415, f"send this as {' or '.join(kinds)}", {accept: ", ".join(kinds)})


def with_etag(request: Request, response: Response) -> Response:
    """An answer to GET that is complete gets an ETag (RFC 9110, section 8.8.3); 304 without a body where the caller has it."""
    body = getattr(response, "body", None)
    if request.method != "GET" or response.status_code != 200 or not isinstance(body, bytes):
        return response
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    response.headers["ETag"] = tag
    response.headers.setdefault("Cache-Control", "private, no-cache")
    response.headers["Vary"] = "Authorization, Cookie"
    if not _has(request.headers.get("if-none-match"), tag):
        return response
    kept = {name: response.headers[name] for name in ("ETag", "Cache-Control", "Vary")}
    return Response(status_code=304, headers=kept)


def _has(header: str | None, tag: str) -> bool:
    """Whether If-None-Match names the tag; compared weakly, as section 13.1.2 says."""
    if header is None:
        return False
    return header.strip() == "*" or tag in [one.strip().removeprefix("W/") for one in header.split(",")]
