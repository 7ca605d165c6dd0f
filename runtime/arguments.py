"""The arguments of the Python interface, checked by their type hints: a wrong one is BadInput, in one sentence."""

import inspect
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache, wraps
from numbers import Integral, Real
from os import PathLike, fsencode, fspath
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from vreid.models.errors import BadInput, shown

LONGEST_PATH, LONGEST_PART = 4095, 255  # bytes of a path and of one name in it, on Linux
_P = ParamSpec("_P")
_T = TypeVar("_T")
_PLAIN: dict[Any, tuple[tuple[type, ...], str]] = {  # what a hint lets through, and what a message calls it
    int: ((Integral,), "a whole number"),
    float: ((Real,), "a number"),
    bool: ((bool, np.bool_), "True or False"),
    str: ((str,), "a text"),
    PathLike: ((PathLike,), "a path"),
    datetime: ((datetime,), "a datetime"),
    NoneType: ((NoneType,), "None"),
}


def checked(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """`function` with its arguments checked by their hints; numbers of NumPy become Python's.

    Only plain types, paths, literals, classes of vreid and sequences of them are checked; crops are checked where they are
    read. Raises BadInput.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        bound = signature.bind(*args, **kwargs)
        for name, hint in _hints(function).items():
            if name in bound.arguments:
                bound.arguments[name] = _value(name, bound.arguments[name], hint)
        return function(*bound.args, **bound.kwargs)

    return call


def path_text(path: str | PathLike[str], name: str) -> str:
    """A path or an address as text. Raises BadInput for one that no file system takes: bytes, a NUL, too long, not encodable."""
    text = plain_text(fspath(path), name)
    parts = [] if "://" in text else text.split("/")
    if len(text) > LONGEST_PATH or any(len(fsencode(part)) > LONGEST_PART for part in parts):
        raise BadInput(f"{name} is longer than a path can be: {shown(text)}; correct the argument")
    return text


def plain_text(text: object, name: str) -> str:
    """`text`. Raises BadInput for bytes, a NUL, and half of a surrogate pair, which cannot be written as UTF-8."""
    try:
        if isinstance(text, str) and "\0" not in text and fsencode(text) is not None:
            return text
    except UnicodeEncodeError:
        pass
    raise BadInput(
        f"{name} must be text without NUL characters and lone surrogates, not {_shown(text)}; correct the argument"
    )


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The hints that are checked, by parameter; when it is called first, as classes may be defined later than functions."""
    hints = {name: hint for name, hint in get_type_hints(function).items() if name != "return"}
    return {name: hint for name, hint in hints.items() if not any(map(_is_array, _members(hint)))}


def _is_array(hint: Any) -> bool:
    origin = get_origin(hint)
    return np.ndarray in (
        origin,
        get_origin(getattr(origin, "__value__", None)),
    )  # NDArray is a named type since NumPy 2.5


def _members(hint: Any) -> tuple[Any, ...]:
    """The parts of a union, or the hint itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _value(name: str, value: Any, hint: Any) -> Any:
    """`value` as the function gets it. Raises BadInput where it does not fit the hint."""
    if not any(_fits(value, member) for member in _members(hint)):
        expected = " or ".join(filter(None, (_called(member) for member in _members(hint))))
        raise BadInput(f"{name} must be {expected}, not {_shown(value)}; correct the argument")
    check = path_text if "PathLike" in str(hint) else plain_text
    for text in value if isinstance(value, list | tuple) else [value]:
        if isinstance(text, str | PathLike):
            check(text, name)
    return value.item() if isinstance(value, np.generic) else value


def _fits(value: Any, hint: Any) -> bool:
    kind = get_origin(hint) or hint
    if kind is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if kind is Sequence:
        (each,) = get_args(hint)
        members = _members(each)
        return isinstance(value, list | tuple) and all(any(_fits(one, member) for member in members) for one in value)
    types = _PLAIN[kind][0] if kind in _PLAIN else (kind,)
    return isinstance(value, types) and not (isinstance(value, bool) and kind in (int, float))


def _called(hint: Any) -> str:
    kind = get_origin(hint) or hint
    if kind is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if kind is Sequence:
        return "a list of these" if len(_members(get_args(hint)[0])) > 1 else "a list"
    return _PLAIN[kind][1] if kind in _PLAIN else f"a vreid.{kind.__name__}"


def _shown(value: object) -> str:
    """A value as a message repeats it, with its type where the value does not show it."""
    if isinstance(value, str | int | float | None):
        return shown(repr(value))
    return f"{type(value).__name__} ({shown(repr(value))})"
