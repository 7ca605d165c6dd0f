"""Seams: one dict of "module:function" strings each, imported on opening: a missing wheel costs only its own member."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from vreid.models.errors import MissingExtra, Refused, shown


def open_seam(kind: str, table: Mapping[str, str], name: str, extra: str = "") -> Callable[..., Any]:
    """The function that `table` names for `name`; `kind` and `extra` (a pip extra) serve the error's wording.

    Raises Refused when the name is unknown, MissingExtra when the member's own dependency is not installed.
    """
    if name not in table:
        raise Refused(f"there is no {kind} '{shown(name)}'; choose one of: {', '.join(sorted(table))}")
    module, _, function = table[name].partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vreid"):
            raise
        fix = f"pip install 'vreid[{extra}]'" if extra else f"pip install {error.name}"
        raise MissingExtra(f"the {kind} '{name}' needs the package '{error.name}': {fix}") from error
