"""Problem documents (RFC 9457), by status: their titles, what each means in the API, and how pages head them."""

from typing import Any, NamedTuple

MEDIA_TYPE = "application/problem+json"


class Meaning(NamedTuple):
    """What is said of a status: `text` in the API's description, `heading` on a page, for people."""

    title: str
    text: str = ""
    heading: str = "That did not work"


PROBLEMS = {
    400: Meaning("Bad Request", "The body cannot be read."),
    401: Meaning("Unauthorized", "No token, or one that is not known here.", "Sign in first"),
    403: Meaning(
        "Forbidden", "The token may not do this, or a page of another site has sent it.", "This is not for you to do"
    ),
    404: Meaning("Not Found", "It is not there, or not for this token.", "There is no such page"),
    405: Meaning("Method Not Allowed"),
    408: Meaning("Request Timeout", "The body did not come in time."),
    409: Meaning("Conflict", "It contradicts what is there, such as a name that is taken."),
    412: Meaning("Precondition Failed", "If-Match is not supported here."),
    413: Meaning("Content Too Large", "The body, or the picture in it, is too large."),
    415: Meaning("Unsupported Media Type", "The body, or a picture in it, is of another kind."),
    416: Meaning("Range Not Satisfiable"),
    421: Meaning("Misdirected Request", "This name is not served here."),
    422: Meaning("Unprocessable Content", "The request is not valid, or its Idempotency-Key stands for another one."),
    429: Meaning("Too Many Requests", "Too many requests; see Retry-After."),
    500: Meaning("Internal Server Error", "The server failed; its log says where.", "The server failed"),
    503: Meaning("Service Unavailable", "It cannot be done now; see Retry-After.", "Not at the moment"),
    507: Meaning("Insufficient Storage", "The disk of the gallery is full.", "The disk is full"),
}


def meaning_of(status: int) -> Meaning:
    """What is said of a status, also of one that the server itself never gives."""
    return PROBLEMS.get(status, Meaning("Error"))


def document(status: int, detail: str) -> dict[str, Any]:
    """A problem as JSON has it."""
    return {"type": "about:blank", "title": meaning_of(status).title, "status": status, "detail": detail}
