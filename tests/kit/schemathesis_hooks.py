"""What schemathesis sends where it means to send valid requests: real pictures of kinds that the API takes, printable names, and
a key of its own with each write, since one key stands for one request."""

import itertools
from typing import Any

import cv2
import numpy as np
import schemathesis
from hypothesis import strategies

_KEY, _NUMBERS = "Idempotency-Key", itertools.count()
_PICTURE = np.random.default_rng(5).integers(0, 255, (64, 96, 3)).astype(np.uint8)
_REAL = [cv2.imencode(ending, _PICTURE)[1].tobytes() for ending in (".jpg", ".png", ".webp")]
_SIGNS = strategies.characters(categories=["L", "N", "P", "S"])
schemathesis.openapi.format("binary", strategies.sampled_from(_REAL))
schemathesis.openapi.format("vehicle-name", strategies.text(_SIGNS, min_size=1, max_size=200))


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Another key than any request before had, where a valid request has one; no invented cursor of vehicles."""
    if (
        case.meta is not None
        and case.meta.generation.mode.is_positive
        and case.path.endswith("/vehicles")
        and case.query
    ):
        case.query.pop("cursor", None)
    if case.meta is not None and case.meta.generation.mode.is_positive and case.headers and _KEY in case.headers:
        case.headers[_KEY] = f"{case.headers[_KEY][:100]}-{next(_NUMBERS)}"
